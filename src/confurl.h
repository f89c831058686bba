/*
 * confurl: the url of a relay, which says of what kind it is and where. Pure.
 */
#ifndef MAILDRAIN_CONFURL_H
#define MAILDRAIN_CONFURL_H

#include <stdbool.h>
#include <stddef.h>

#include "config.h"
#include "confvalue.h"

struct confurl {
	enum relay_kind kind;
	bool encrypted;			   /* TLS from the first byte: smtps:// or https:// */
	char host[CONFVALUE_HOST_MAX + 1]; /* an IPv6 address without its brackets; or "" */
	unsigned port;			   /* 0: none given */
	/* These point into the text. */
	const char *path;     /* of lmtp+unix:, command: and maildir:, absolute; else NULL */
	const char *endpoint; /* of an HTTP API: its https:// or http:// and the rest; else NULL */
};

/*
 * Reads SCHEME://HOST[:PORT][/PATH], where HOST may be an IPv6 address in brackets, or
 * SCHEME:/PATH. Returns NULL, or what is wrong and what to do, as a phrase that follows "url"; the
 * kind is set then all the same if it could be seen.
 */
const char *confurl_parse(const char *text, struct confurl *url);

/* A url of KIND as it is to be written. */
const char *confurl_example(enum relay_kind kind);

/* How urls of KIND start. */
const char *confurl_start(enum relay_kind kind);

/*
 * The region in the name of a HOST of Amazon's, such as email.eu-west-1.amazonaws.com, and its
 * length at LEN; NULL when there is none.
 */
const char *confurl_region(const char *host, size_t *len);

#endif
