/*
 * base64: RFC 4648 section 4, with the padding and without line ends. Pure.
 */
#ifndef MAILDRAIN_BASE64_H
#define MAILDRAIN_BASE64_H

#include <stddef.h>

/* Bytes that LEN bytes become. */
#define BASE64_LEN(len) (((len) + 2) / 3 * 4)

/*
 * Encodes IN[0..LEN) to OUT, which holds BASE64_LEN(LEN) bytes and gets no NUL; returns how many
 * were written. Pieces that are a multiple of 3 long make one text, but for the last.
 */
size_t base64_encode(const char *in, size_t len, char *out);

#endif
