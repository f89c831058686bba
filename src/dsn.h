/*
 * dsn: a report that a message has failed or is late, as mail readers and programs know it: a
 * delivery status notification, RFC 3464, in a multipart/report, RFC 6522. Pure.
 *
 * It has three parts: a text for a person; the status of each recipient that it is about, for
 * programs; and the header of the message. It is about recipients who have failed or still wait,
 * not about those who are served.
 */
#ifndef MAILDRAIN_DSN_H
#define MAILDRAIN_DSN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "envelope.h"
#include "notice.h"

#define DSN_HEADER_MAX 65536 /* bytes of the message's header that are repeated */

struct dsn {
	struct notice notice; /* its subject is the report's own affair */
	bool delayed;	      /* not failed: it will be tried again */
	const char *id;	      /* of the message */
	const struct envelope *envelope;
	const char *status; /* in the name of the message, RFC 3463 */
	unsigned attempts;
	int64_t arrival;    /* epoch seconds, as all times here; -1: not known */
	int64_t last;	    /* attempt; or when it was given up without one */
	int64_t until;	    /* when it is given up, for a delayed one */
	const char *header; /* of the message, without its envelope lines and Bcc; lines may end in
			       LF, CRLF or CR */
	size_t header_len;
};

/* Whether a report of a failure, or of a delay, is about RECIPIENT. */
bool dsn_concerns(const struct recipient *recipient, bool delayed);
size_t dsn_count(const struct envelope *envelope, bool delayed);

/* The status of RECIPIENT of a message that has STATUS in its name. */
const char *dsn_status(const struct recipient *recipient, const char *status);

/* The server's words on RECIPIENT, or a sentence in their place. Never empty. */
const char *dsn_words(const struct recipient *recipient, const char *status);

/* Both, for a person: "550 5.1.1 No such user", "5.1.3: it has no @". */
void dsn_say(FILE *out, const struct recipient *recipient, const char *status);

/* Writes the mail, envelope lines and all. 0, or -1 with errno when there is no memory for it. */
int dsn_write(FILE *out, const struct dsn *dsn);

#endif
