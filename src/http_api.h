/*
 * http_api: an API that takes whole messages by HTTP, as the engine of such relays knows it. Pure
 * but for the message's file.
 *
 * One file for each API: how the request for a message is made, what an answer means that HTTP does
 * not say, and how verify can try the credentials without sending. A new one is a file more and a
 * row in http_api_of.
 */
#ifndef MAILDRAIN_HTTP_API_H
#define MAILDRAIN_HTTP_API_H

#include <stdint.h>
#include <stdio.h>

#include "config.h"
#include "credential.h"
#include "http_answer.h"
#include "http_request.h"

/* What the provider says that it takes at most; 0: no such limit is known. */
struct http_limits {
	unsigned recipients; /* of one request */
	uint64_t size;	     /* octets of the message in wire form */
};

struct http_api {
	struct http_limits limits;

	/* Fills REQUEST, begun, for the recipients of MESSAGE that are to be served now. */
	void (*make)(struct http_request *request, const struct relay_config *relay,
	    const struct credential *credential, const struct message *message);

	/* Changes RESULT, begun, where the API says more than the code; NULL: it never does. */
	void (*judge)(struct http_result *result, const struct http_answer *answer);

	/* A request that sends nothing, for verify; NULL: there is none. */
	void (*make_probe)(struct http_request *request, const struct relay_config *relay,
	    const struct credential *credential);

	/*
	 * Reads the answer to that. NULL when all is well, with lines for OUT; else what to do.
	 * WHY, of SIZE bytes, may get better words than the answer's own.
	 */
	const char *(*judge_probe)(
	    const struct http_answer *answer, FILE *out, char *why, size_t size);
};

/* NULL for a kind that is no HTTP API. */
const struct http_api *http_api_of(enum relay_kind kind);

/* No limits for a kind that is no HTTP API. */
struct http_limits http_api_limits(const struct relay_config *relay);

/* CREDENTIAL; or without one OWN, filled with what the config itself has. */
const struct credential *http_api_credential(
    const struct relay_config *relay, const struct credential *credential, struct credential *own);

extern const struct http_api http_post, http_ses, http_mailgun, http_gmail, http_graph;

#endif
