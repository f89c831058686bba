/*
 * list: a line for each message.
 *
 * On a terminal the line fits: ids are shortened to what tells them from all others in the spool,
 * and the recipients are cut at the edge. Elsewhere nothing is left out.
 */
#ifndef MAILDRAIN_LIST_H
#define MAILDRAIN_LIST_H

#include "error.h"
#include "spool.h"
#include "walk.h"

/* Shows the messages in STATES, a set of walk.h, on stdout. 0, or -1 with ERR. */
int list_show(const struct spool *spool, unsigned states, struct error *err);

/* The same as a JSON array, an element on each line. After -1 it is not complete. */
int list_json(const struct spool *spool, unsigned states, struct error *err);

#endif
