/*
 * compose: the start of a spool file for a message that a program of this host hands in as to
 * sendmail: our block, then its header, made whole. Pure.
 */
#ifndef MAILDRAIN_COMPOSE_H
#define MAILDRAIN_COMPOSE_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "envelope.h"
#include "error.h"

/* What is known beside the message itself. */
struct compose {
	const char *domain;    /* for local names, and of Message-ID */
	const char *host;      /* a valid name */
	const char *unique;    /* of the file */
	const char *date;      /* RFC 5322 section 3.3 */
	unsigned long uid;     /* who hands it in */
	const char *author;    /* the address for a From that is missing */
	const char *full_name; /* the name there, in UTF-8; "" for none */
	bool extract;	       /* recipients are also those of To, Cc and Bcc: "sendmail -t" */
};

/*
 * Adds the addresses of TEXT, the value of a To field or a word on the command line, to ENVELOPE;
 * to a local name DOMAIN is added. 0; or -1 with ERR (EX_DATAERR) when TEXT is no list of usable
 * addresses, or there are too many.
 */
int compose_recipients(
    struct envelope *envelope, const char *text, size_t len, const char *domain, struct error *err);

/*
 * Begins ENVELOPE with the sender that TEXT names, which has one address, or none ("" and "<>") for
 * the null sender. 0 or -1 as above.
 */
int compose_sender(
    struct envelope *envelope, const char *text, const char *domain, struct error *err);

#define COMPOSE_NAME_MAX 200 /* bytes of a name in From */

/*
 * Whether NAME may be one: not too long, and UTF-8 without what a terminal or a reader of lines
 * would obey.
 */
bool compose_is_name(const char *name);

/*
 * Writes block and header, up to the empty line between it and the body, to OUT of
 * ENVELOPE_HEAD_MAX bytes. HEADER[0..LEN) are the fields as they came, ENVELOPE has the sender and
 * the recipients so far and gets those of the header. Returns the length; or -1 with ERR: a field
 * with recipients that can't be read or a faulty address (EX_DATAERR), no recipient (EX_USAGE).
 *
 * From the header go Bcc, Return-Path and whatever looks like a line of our block. Where From, To
 * and their like have a local name, "root", DOMAIN is added, as providers want a whole address; a
 * field that can't be read stays as it is. Words in UTF-8, as in Subject, are encoded (RFC 2047). A
 * Received field, RFC 5321 section 4.4, comes first and
 * parts the block from what follows; Date, From and Message-ID are added when missing.
 */
ssize_t compose_head(const struct compose *compose, struct envelope *envelope, const char *header,
    size_t len, char *out, struct error *err);

#endif
