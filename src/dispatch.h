/*
 * dispatch: the way of messages in a run: from a name in new/ to a relay, and from its results to
 *the next state.
 *
 *	while dispatch_feed or anything is under way:
 *		dispatch_prepare, waits_wait, dispatch_work
 *	dispatch_finish
 *
 * Names are taken in the order of the queue. One whose relay is busy is parked there, so that mail
 * for the others goes on; nothing is claimed before its relay has room for it.
 */
#ifndef MAILDRAIN_DISPATCH_H
#define MAILDRAIN_DISPATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "account.h"
#include "claims.h"
#include "config.h"
#include "lane.h"
#include "log.h"
#include "memo.h"
#include "message.h"
#include "record.h"
#include "scan.h"
#include "spool.h"
#include "trouble.h"
#include "waits.h"

struct dispatch {
	const struct config *config;
	struct spool *spool;
	struct log *log;
	struct record *record;
	struct account *account;
	struct trouble *trouble;
	struct claims *claims;
	struct scan *scan;
	struct lane *lane;	 /* one for each relay of the config, in its order */
	struct memo memo;	 /* which lane a name was parked in */
	struct message *unused;	 /* a list */
	size_t untried;		 /* messages that came back untried */
	size_t progress_at_scan; /* progress when the last scan began */
	int64_t next_scan_ms;	 /* from when on, monotonic, another may look for newcomers */
	int64_t routing_ms;	 /* since the last scan, what it has cost to find where names go */
	bool more;	/* names whose way is not known are left, and a relay may want them */
	bool lane_lost; /* so what was parked has to find its way again */
	bool stranded;	/* there is mail due whose relays are all of no use */
	bool stopped;	/* somebody wants the run to end: claim no more */
};

/* What DISPATCH needs besides is set by the caller and outlives it. 0, or -1 with trouble->err. */
int dispatch_open(struct dispatch *dispatch);
void dispatch_free(struct dispatch *dispatch);

/* Reads new/ afresh. */
void dispatch_scan(struct dispatch *dispatch);

/* Gives the relays what they can take; false when there is nothing more to give. */
bool dispatch_feed(struct dispatch *dispatch);

/* How many names are still to be seen to. */
size_t dispatch_left(const struct dispatch *dispatch);

/* How many messages are claimed and not recorded. */
size_t dispatch_under_way(const struct dispatch *dispatch);

void dispatch_prepare(struct dispatch *dispatch, struct waits *waits);

/* Moves bytes and records results. */
void dispatch_work(struct dispatch *dispatch, const struct waits *waits);

/* Keeps the claims of what is in hand. What others have taken over is not completed here. */
void dispatch_renew(struct dispatch *dispatch);

/* Says goodbye to all relays and records what they still bring. */
void dispatch_finish(struct dispatch *dispatch);

#endif
