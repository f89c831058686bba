/*
 * route: which relays take a message, for one of its recipients, and why. Pure.
 *
 * The message's own wish goes first: it names a route, or else a relay. Then the first route of
 * the file counts of which every condition that it has is met; of a list one pattern is enough. A
 * route without conditions takes all. Where no route matches, each relay is a rank of its own.
 *
 * Patterns are those of fnmatch(3), in either case. One for addresses that has no "@" is compared
 * with the domain alone.
 */
#ifndef MAILDRAIN_ROUTE_H
#define MAILDRAIN_ROUTE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config.h"

#define ROUTE_SIZE_UNKNOWN UINT64_MAX
#define ROUTE_REASON_MAX   512

/*
 * The value of the first header field NAME, folded as it stands, and its length at LEN; NULL when
 * there is none. It is used before the next call.
 */
typedef const char *route_header(void *context, const char *name, size_t *len);

/* Of a message. Nothing that is asked of what is not known is met. */
struct route_facts {
	const char *sender; /* of the envelope; "" is the null sender */
	const char *from;   /* the address in the header's From; NULL: none */
	const char *recipient;
	uint64_t size;	      /* bytes of the file; or ROUTE_SIZE_UNKNOWN */
	const char *wish;     /* the block's X-Maildrain-Relay; NULL: none */
	route_header *header; /* NULL: the header is not known */
	void *context;	      /* of header */
};

/* What a route asked and a message met: a pattern, or NULL where nothing was asked. */
struct route_match {
	const char *sender;
	const char *from;
	const char *recipient;
	const struct route_header_pattern *header;
};

struct route_choice {
	const struct route_config *route; /* NULL: no route */
	const struct route_ranks *ranks;
	bool wished; /* the message asks for this route, or for the only relay in RANKS */
	struct route_match match; /* of a route that is not wished for */
};

/* Chooses; CHOICE points into CONFIG. False when the wish names neither a route nor a relay. */
bool route_choose(
    const struct config *config, const struct route_facts *facts, struct route_choice *choice);

/* Why that was chosen, for a person, in BUF, which is returned. */
const char *route_reason(const struct route_choice *choice, char buf[ROUTE_REASON_MAX]);

enum route_answer {
	ROUTE_NO,
	ROUTE_YES,
	ROUTE_UNKNOWN /* that depends on what is not known, and on nothing else */
};

/* What ROUTE says to a message without a wish; MATCH is set to what was met. */
enum route_answer route_ask(
    const struct route_config *route, const struct route_facts *facts, struct route_match *match);

/* Whether the relays of a message depend on anything that stands in its file. */
bool route_needs_content(const struct config *config);

/* Whether a route asks for something in the header. */
bool route_needs_header(const struct config *config);

/* The route before route I of CONFIG that takes all mail, so that I only serves wishes; or NULL. */
const struct route_config *route_hiding(const struct config *config, size_t i);

/* Whether mail may go to ADDRESS, by allow_recipients. */
bool route_allows(const struct config *config, const char *address);

#endif
