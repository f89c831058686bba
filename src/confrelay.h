/*
 * confrelay: a section "relay" of the configuration, checked.
 */
#ifndef MAILDRAIN_CONFRELAY_H
#define MAILDRAIN_CONFRELAY_H

#include "config.h"
#include "confparse.h"

/* Fills RELAY, all zero before. Returns 0; or -1 with the fault reported, and RELAY to be freed. */
int confrelay_fill(const struct confparse_section *section, struct relay_config *relay);

/* Frees what RELAY holds, and clears its password in memory. */
void confrelay_free(struct relay_config *relay);

#endif
