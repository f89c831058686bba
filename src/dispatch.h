/*
 * dispatch: the way of messages in a run: from a name in new/ to a relay, and from its results to
 *the next state.
 *
 *	while dispatch_feed:
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

#include "delivery.h"
#include "memo.h"
#include "waits.h"

struct dispatch {
	struct delivery delivery;
	const struct config *config;
	struct scan *scan;
	struct lane *lane;	 /* one for each relay of the config, in its order */
	struct memo memo;	 /* which lane a name was parked in */
	size_t progress_at_scan; /* progress when the last scan began */
	size_t memo_at_scan;	 /* and how many names the memo had */
	size_t share;		 /* so many names for one relay does the queue keep */
	int64_t next_scan_ms;	 /* from when on, monotonic, another may look for newcomers */
	int64_t routing_ms;	 /* since the last scan, what it has cost to find where names go */
	bool more; /* names whose way is not known are left, and a relay may want them */
};

/* What delivery points to is set by the caller and outlives DISPATCH. 0, or -1 with trouble's err.
 */
int dispatch_open(struct dispatch *dispatch);
void dispatch_free(struct dispatch *dispatch);

/* Reads which relays were down lately: where mail has another way they are left alone for a while.
 */
void dispatch_recall(struct dispatch *dispatch);

/* Reads new/ afresh. */
void dispatch_scan(struct dispatch *dispatch);

/* Gives the relays what they can take; false when nothing is left to give, and nothing under way.
 */
bool dispatch_feed(struct dispatch *dispatch);

/* How many names are still to be seen to. */
size_t dispatch_left(const struct dispatch *dispatch);

/* How many messages are claimed and not recorded. */
size_t dispatch_under_way(const struct dispatch *dispatch);

void dispatch_prepare(struct dispatch *dispatch, struct waits *waits);

/* Moves bytes and records results. */
void dispatch_work(struct dispatch *dispatch, const struct waits *waits);

/* Says goodbye to all relays and records what they still bring. */
void dispatch_finish(struct dispatch *dispatch);

#endif
