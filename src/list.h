/*
 * list: a line for each message, for a person.
 */
#ifndef MAILDRAIN_LIST_H
#define MAILDRAIN_LIST_H

#include <stdbool.h>

#include "error.h"
#include "spool.h"

/* Shows the messages that are not sent (and those too with SENT), on stdout. 0, or -1 with ERR. */
int list_show(const struct spool *spool, bool sent, struct error *err);

#endif
