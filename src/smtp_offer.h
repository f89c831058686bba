/*
 * smtp_offer: what a server offers in its reply to EHLO or LHLO, and what it therefore can't take.
 * Pure.
 */
#ifndef MAILDRAIN_SMTP_OFFER_H
#define MAILDRAIN_SMTP_OFFER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "message.h"

struct smtp_offer {
	bool pipelining;   /* RFC 2920 */
	bool chunking;	   /* RFC 3030 */
	bool eightbit;	   /* 8BITMIME, RFC 6152 */
	bool smtputf8;	   /* RFC 6531 */
	bool size;	   /* RFC 1870 */
	uint64_t size_max; /* 0: not limited or not told */
	bool lmtp;	   /* RFC 2033: behind the final dot each recipient gets a reply */
};

/* Reads one line of that reply, "250-SIZE 1000"; others are ignored. */
void smtp_offer_line(struct smtp_offer *offer, const char *line, size_t len);

/*
 * Gives each recipient of MESSAGE that the server can't serve (for its address, or the message's
 * size or kind) the result that says so. *UTF8: MAIL has to declare SMTPUTF8 for the rest.
 */
void smtp_offer_refuse(const struct smtp_offer *offer, struct message *message, bool *utf8);

#endif
