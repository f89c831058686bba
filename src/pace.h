/*
 * pace: when a relay may be given the next recipients: its rate, its quota, and what it asks for.
 *
 * Rate and quota hold across runs, and in a shared spool across hosts, by a record in state/:
 *
 *	pace-NAME,A=n,…,Q=n,R=n,T=time,Z=number        the meter's buckets, slots ahead, time of the
 *	                                               next slot (microseconds), newest bucket
 *
 * A run takes from it what it needs for about a second, in one rename, and gives back at its end
 * what it has not used; a run that is killed loses that, so the relay gets less, never more. What
 * is asked of a relay without rate and quota costs no system call. NOW is clock_now_us().
 */
#ifndef MAILDRAIN_PACE_H
#define MAILDRAIN_PACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config.h"
#include "error.h"
#include "meter.h"
#include "slow.h"
#include "spool.h"
#include "state.h"

#define PACE_STAY_MS 60000 /* a run does not stay for a slot that is farther away */

/* Why nothing may be sent now. */
enum pace_hold {
	PACE_FREE,  /* it may */
	PACE_RATE,  /* the next slot is not there yet */
	PACE_QUOTA, /* the quota has no room */
	PACE_ASKED  /* the relay has asked for less */
};

/* What a run has taken from the record, and not used. */
struct pace_stock {
	int64_t from;	 /* when the first of its slots is there */
	int64_t end;	 /* after the last: when it has to take more */
	int64_t slots;	 /* that were taken between these, the used ones included */
	int64_t credit;	 /* of the quota */
	int64_t counted; /* the bucket that the credit stands in */
	bool full;	 /* END is when the quota has room */
};

/* What was taken last, and how it was before. */
struct pace_last {
	int64_t at;
	int64_t from;	   /* of the stock */
	int64_t slow_next; /* of slow */
};

struct pace {
	struct spool *spool; /* the caller's */
	char record[STATE_NAME_MAX + 1];
	struct meter_limits limits;
	struct slow slow;
	struct pace_stock stock;
	struct pace_last last;
	bool looked; /* the record was read: STOCK says when to take from it */
	int64_t now; /* the latest that was given */
};

/* Of RELAY. Reads nothing. */
void pace_open(struct pace *pace, struct spool *spool, const struct relay_config *relay);

/*
 * Milliseconds until a recipient may be sent, 0 for now, and why it is so in HOLD; -1 with ERR.
 * With PACE_QUOTA it is until the message has room for which it was asked last.
 */
int64_t pace_wait_ms(struct pace *pace, int64_t now, enum pace_hold *hold, struct error *err);

/* How many recipients one message may have at most; larger ones must be split. */
int64_t pace_message_max(const struct pace *pace);

/*
 * Takes the slots of a message with so many RECIPIENTS, all of which may be sent at once when the
 * first slot is there. 1; 0 when they have to wait: pace_wait_ms says how long; or -1 with ERR:
 * what is sent could not be counted, so nothing may be.
 */
int pace_take(struct pace *pace, int64_t recipients, int64_t now, struct error *err);

/* Of what was taken at TAKEN, so many RECIPIENTS have not been sent: the quota has room for others.
 */
void pace_give(struct pace *pace, int64_t recipients, int64_t taken);

/*
 * The relay asks for less, and for nothing in the next RETRY_AFTER seconds (0: it names no time).
 * Whether the pace was halved, which is not done twice in a second.
 */
bool pace_slow(struct pace *pace, int64_t retry_after, int64_t now);

/* Gives back what was not used, at the end of the run. 0, or -1 with ERR. */
int pace_close(struct pace *pace, int64_t now, struct error *err);

/* How many recipients of RELAY count against its quota at NOW. 0, or -1 with ERR. */
int pace_used(const struct spool *spool, const struct relay_config *relay, int64_t now,
    int64_t *used, struct error *err);

#endif
