/*
 * notify: tells the sender of a message, and whom the configuration names, that it has failed or is
 * late.
 *
 * What is still to be told stands in the names: N in failed/ for a failure, N in new/ for a delay.
 * A notification is a message of its own in new/, with the null sender, so nobody is ever told
 * that one has failed. First it is durable there, then N goes, by a rename. A run that ends between
 * the two leaves N to a later one, which finds the notification by its name: that is made from the
 * failed message's and N.
 *
 * Where there is more to tell than the limits for a run and an hour allow, one digest tells it all
 * to the configured addresses. If there are none, each sender gets one, as far as the limits allow,
 * and what is left keeps its N for later.
 */
#ifndef MAILDRAIN_NOTIFY_H
#define MAILDRAIN_NOTIFY_H

#include <stdint.h>

#include "config.h"
#include "log.h"
#include "spool.h"
#include "trouble.h"

/*
 * Tells what is to be told. SINCE is when this run began, epoch seconds: what an earlier one has
 * left may have been told. Nothing but reading two directories when there is nothing. What the
 * spool refuses is TROUBLE's, and a later run tells.
 */
void notify_all(const struct config *config, struct spool *spool, struct log *log,
    struct trouble *trouble, int64_t since);

#endif
