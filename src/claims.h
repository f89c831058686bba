/*
 * claims: the messages that this run has in its hands, and whose claims are over.
 *
 * A claim holds until its T. The run renews its own before half of their time is left, so a slow
 * send is not overtaken, and clocks of other hosts may be wrong by nearly as much. What it finds
 * gone has been taken over, because this process stood still for too long.
 */
#ifndef MAILDRAIN_CLAIMS_H
#define MAILDRAIN_CLAIMS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "config.h"
#include "entry.h"
#include "error.h"
#include "message.h"
#include "spool.h"

struct claims {
	struct spool *spool;
	int64_t seconds; /* that a claim holds */
	bool shared;	 /* other runs may be at work on this spool */
	LIST_HEAD(held, message) held;
	int64_t looked; /* when claims_next_old last began, epoch seconds */
};

/* CONFIG gives how long a claim holds, and whether the spool is shared. */
void claims_init(struct claims *claims, struct spool *spool, const struct config *config);

/* Until when a claim holds that is made now, epoch seconds. */
int64_t claims_until(const struct claims *claims);

/*
 * Whether the claim in ENTRY is over at NOW: its time is past, or its run, on this host, is dead.
 * MINE: this run has made claims already, and one under its pid is its own.
 */
bool claims_over(const struct claims *claims, const struct entry *entry, int64_t now, bool mine);

/* Claims MESSAGE, which gets its new name; ERR with SPOOL_ERROR. */
enum spool_moved claims_take(struct claims *claims, struct message *message, struct error *err);

/* MESSAGE is through with its claim; also when it never had one. */
void claims_drop(struct message *message);

/*
 * Renews, once a second, what needs it. Returns a message that could not be renewed, dropped, with
 * MOVED saying why, to be called again; NULL when all is well.
 */
struct message *claims_renew(struct claims *claims, enum spool_moved *moved, struct error *err);

#endif
