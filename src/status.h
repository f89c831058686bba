/*
 * status: counts and ages of the messages in each state, for a person.
 */
#ifndef MAILDRAIN_STATUS_H
#define MAILDRAIN_STATUS_H

#include "error.h"
#include "spool.h"

/* Shows them on stdout. 0, or -1 with ERR. */
int status_show(const struct spool *spool, struct error *err);

/* The same as a JSON object. */
int status_json(const struct spool *spool, struct error *err);

#endif
