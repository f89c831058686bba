/*
 * smtp_hello: the start of a session by LMTP, RFC 2033 section 4: greeting and LHLO, as bytes in
 * and bytes out. No I/O. For SMTP libcurl does this.
 *
 *	smtp_hello_init
 *	while state is one of the first two:
 *		write what smtp_hello_output gives
 *		read from the peer, and smtp_hello_input
 */
#ifndef MAILDRAIN_SMTP_HELLO_H
#define MAILDRAIN_SMTP_HELLO_H

#include <stdbool.h>
#include <stddef.h>

#include "reply.h"
#include "smtp_offer.h"

enum smtp_hello_state {
	SMTP_HELLO_GREETING, /* its 220 is due */
	SMTP_HELLO_LHLO,     /* its reply to LHLO is due, or LHLO itself */
	SMTP_HELLO_DONE,     /* offer says what it can do */
	SMTP_HELLO_FAILED    /* fault says in what */
};

struct smtp_hello {
	enum smtp_hello_state state;
	const char *name; /* what we call ourselves */
	struct reply_parser parser;
	char line[REPLY_LINE_MAX]; /* of the server, so far */
	size_t line_len;
	bool said; /* LHLO is given out */
	struct smtp_offer offer;
	const char *fault;

	/* Gets each line of the server, with its end unless it is too long. Set it after init. */
	void (*on_line)(void *context, const char *line, size_t len);
	void *context;
};

/* NAME, checked, is the caller's and outlives it. */
void smtp_hello_init(struct smtp_hello *hello, const char *name);

/* Puts into BUF the bytes to write now, as many as fit in SIZE, enough for NAME; 0: none. */
size_t smtp_hello_output(struct smtp_hello *hello, char *buf, size_t size);

/* Takes bytes from the peer. One that says more than it was asked has failed. */
void smtp_hello_input(struct smtp_hello *hello, const char *bytes, size_t len);

#endif
