/*
 * route: which relays a message goes to, for one of its recipients. Pure.
 *
 * Patterns are those of fnmatch(3), in either case. One for addresses that has no "@" is compared
 * with the domain alone.
 */
#ifndef MAILDRAIN_ROUTE_H
#define MAILDRAIN_ROUTE_H

#include <stdbool.h>

#include "config.h"

/* Whether mail may go to ADDRESS, by allow_recipients. */
bool route_allows(const struct config *config, const char *address);

#endif
