/*
 * utf8: characters of UTF-8, RFC 3629 section 4. Pure.
 */
#ifndef MAILDRAIN_UTF8_H
#define MAILDRAIN_UTF8_H

#include <stddef.h>

#define UTF8_MAX 4 /* bytes of a character */

/* The bytes of the character that TEXT[0..LEN) starts with, LEN being 1 or more; 0 for none. */
size_t utf8_len(const char *text, size_t len);

/*
 * The same for a character that may be shown: 0 for what a terminal or a reader of lines would obey
 * too, which is control characters (ASCII, and U+0080 to U+009F), the separators of lines and
 * paragraphs (U+2028, U+2029), and what turns the direction of a text (U+061C, U+200E, U+200F,
 * U+202A to U+202E, U+2066 to U+2069).
 */
size_t utf8_printable_len(const char *text, size_t len);

#endif
