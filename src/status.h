/*
 * status: what people read: counts and ages, and a line per message. From names alone where
 * possible.
 */
#ifndef MAILDRAIN_STATUS_H
#define MAILDRAIN_STATUS_H

#include <stdbool.h>

#include "error.h"
#include "spool.h"

/* Counts and oldest ages of each state, on stdout. 0, or -1 with ERR. */
int status_show(const struct spool *spool, struct error *err);

/* A line per message that is not sent (and those too with SENT), on stdout. 0, or -1 with ERR. */
int status_list(const struct spool *spool, bool sent, struct error *err);

#endif
