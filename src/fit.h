/*
 * fit: a line for a person, cut at the edge of the terminal.
 *
 * Columns are counted, not bytes: a wide character takes two and a combining one none, and no
 * character is cut in two. That needs the locale that term_open sets; without it each takes one.
 */
#ifndef MAILDRAIN_FIT_H
#define MAILDRAIN_FIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#define FIT_BYTES 4096 /* that a line with an edge may have */

struct fit {
	FILE *out;	/* the caller's */
	size_t columns; /* of the terminal; 0: there is no edge */
	size_t used;	/* columns that the text so far takes */
	bool over;	/* it has reached the edge, what follows is dropped */
	size_t len;
	size_t cut; /* so many bytes leave a column for the mark */
	char text[FIT_BYTES];
};

void fit_begin(struct fit *fit, FILE *out, size_t columns);

/* Adds TEXT[0..LEN); what a terminal would obey becomes "?". */
void fit_put(struct fit *fit, const char *text, size_t len);

/* Adds blanks up to COLUMN, and one at least. */
void fit_pad(struct fit *fit, size_t column);

/* Adds CODE, which the terminal obeys and which takes no column. */
void fit_code(struct fit *fit, const char *code);

/* Writes the line; where something was dropped it ends with "…". */
void fit_end(struct fit *fit);

#endif
