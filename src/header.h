/*
 * header: lines and fields of a message's header, RFC 5322 section 2.2. Pure.
 *
 * Lines end in LF, CRLF or CR, as on the wire (see body.h): nobody behind us shall see a field that
 * was not seen here.
 */
#ifndef MAILDRAIN_HEADER_H
#define MAILDRAIN_HEADER_H

#include <stdbool.h>
#include <stddef.h>

/* A line, or a field with its folded lines. */
struct header_line {
	const char *text;
	size_t len;  /* without its end */
	size_t next; /* offset of what follows its end */
};

/* The line of HEAD[0..LEN) at OFFSET. */
struct header_line header_line_at(const char *head, size_t len, size_t offset);

/* Whether the line at OFFSET goes on with the field before it. */
bool header_is_folded(const char *head, size_t len, size_t offset);

/* The field that starts at OFFSET; an empty line is one of no length. */
struct header_line header_field_at(const char *head, size_t len, size_t offset);

/*
 * The length of the field name that LINE, or a whole field, starts with, or 0. White space before
 * the colon is obsolete, folded it is not even that; but who takes it for a name must not find Bcc
 * there.
 */
size_t header_name_len(const struct header_line *line);

/* Whether that name is NAME, in whatever case. */
bool header_is(const struct header_line *line, const char *name);

/* What stands behind the colon of FIELD, which has a name. */
struct header_line header_value(const struct header_line *field);

/* That of the first field NAME in HEAD[0..LEN), folded as it stands; false when there is none. */
bool header_find(const char *head, size_t len, const char *name, struct header_line *value);

#endif
