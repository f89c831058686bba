/*
 * term: what standard output is. Colour and the width of the lines depend on it.
 */
#ifndef MAILDRAIN_TERM_H
#define MAILDRAIN_TERM_H

#include <stdbool.h>
#include <stddef.h>

struct term {
	bool tty;
	bool colour;
	size_t columns; /* 0 where it is no terminal: nothing has to fit */
};

#define TERM_COLUMNS 80 /* where the terminal does not tell, and COLUMNS neither */

/* On a terminal this also sets the locale that tells how wide characters are. */
void term_open(struct term *term);

enum term_colour { TERM_PLAIN, TERM_RED, TERM_GREEN, TERM_YELLOW, TERM_CYAN };

/* What turns COLOUR on, or off again; "" where there is none. */
const char *term_on(const struct term *term, enum term_colour colour);
const char *term_off(const struct term *term, enum term_colour colour);

#endif
