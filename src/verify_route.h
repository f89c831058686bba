/*
 * verify_route: which way a message would go, told on stdout from the config alone.
 */
#ifndef MAILDRAIN_VERIFY_ROUTE_H
#define MAILDRAIN_VERIFY_ROUTE_H

#include <stddef.h>
#include <stdint.h>

#include "config.h"
#include "error.h"

/* What is known of a message. */
struct verify_letter {
	const char *sender; /* "" or "<>": the null sender */
	const char *recipient;
	const char *wish;	   /* NULL: none */
	const char *const *header; /* "NAME: VALUE", its only fields; NULL: they are not known */
	size_t header_count;
	uint64_t size; /* or ROUTE_SIZE_UNKNOWN */
};

/* Tells the relays of LETTER and why. 0; or -1 with ERR when it can't be one. */
int verify_route(const struct config *config, struct verify_letter *letter, struct error *err);

/* Tells of each route where it leads, and whether any mail can come there. */
void verify_routes(const struct config *config);

#endif
