/*
 * confroute: a section "route" of the configuration, checked, and what holds without one.
 */
#ifndef MAILDRAIN_CONFROUTE_H
#define MAILDRAIN_CONFROUTE_H

#include "config.h"
#include "confparse.h"

/*
 * Fills ROUTE, all zero before, with indices of the relays of CONFIG, which are read. Returns 0; or
 * -1 with the fault reported, and ROUTE to be freed.
 */
int confroute_fill(const struct confparse_section *section, const struct config *config,
    struct route_config *route);
void confroute_free(struct route_config *route);

/*
 * Fills in the ranks that CONFIG has without routes: of all relays, and of each alone. Returns as
 * confroute_fill does.
 */
int confroute_fill_plain(const struct confparse *parse, struct config *config);
void confroute_free_plain(struct config *config);

#endif
