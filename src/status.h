/*
 * status: counts and ages of the messages in each state, and how the relays are.
 */
#ifndef MAILDRAIN_STATUS_H
#define MAILDRAIN_STATUS_H

#include "config.h"
#include "error.h"
#include "spool.h"

/* Each writes them to stdout, with the records of state/. 0, or -1 with ERR. */
typedef int status_writer(
    const struct spool *spool, const struct config *config, struct error *err);

status_writer status_show;
status_writer status_json;	 /* as an object */
status_writer status_prometheus; /* as metrics */

#endif
