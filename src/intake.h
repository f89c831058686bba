/*
 * intake: what a program writes to sendmail, up to where it ends, and where its header ends. Pure.
 */
#ifndef MAILDRAIN_INTAKE_H
#define MAILDRAIN_INTAKE_H

#include <stdbool.h>
#include <stddef.h>

/* Takes what stands before a line with nothing but a dot; zeroed, it is ready. */
struct intake_dot {
	enum { INTAKE_LINE_START, INTAKE_DOT, INTAKE_DOT_CR, INTAKE_MID_LINE } at;
	bool ended; /* that line was there: what follows it does not count */
};

#define INTAKE_SPARE 2 /* bytes that a call may give more than it got */

/*
 * Copies what counts of IN[0..LEN) to OUT, of LEN + INTAKE_SPARE bytes; returns how much. A line
 * ends in LF or CRLF here. A dot is held back until the next byte is known; one that is the very
 * last was the end.
 */
size_t intake_dot_take(struct intake_dot *dot, const char *in, size_t len, char *out);

/* Where things are in a message; zeroed, it is ready. */
struct intake_head {
	size_t start; /* of the header, behind the "From " lines of a mailbox file */
	size_t end;   /* of its last field; equal to start without one */
	size_t body;
};

/*
 * Looks for the end of the header in TEXT[0..LEN), which starts as it did in the last call; WHOLE
 * says that it is all. True when HEAD is set; false to be called again with more. An empty line
 * ends the header and counts to neither side, and so does the first line that can't be of a header,
 * which counts to the body: many programs write no header at all.
 */
bool intake_head_find(struct intake_head *head, const char *text, size_t len, bool whole);

#endif
