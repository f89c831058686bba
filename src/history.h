/*
 * history: what runs have come to, in the records of state/, for those who watch the queue.
 *
 *	totals,D=attempts,F=messages,S=messages        deferred, failed and sent since the spool is
 *	run,D=milliseconds,T=time                      the last run that had results
 *	relay-NAME,B=time,F=n,P=time,S=time,U=1        U: up when last tried, and B since when that
 *	                                               is so; F: in how many runs it was down since,
 *	                                               and P: it is left alone until then where mail
 *	                                               has another way; S: when it last accepted a
 *	                                               message
 *
 * A run adds to them at its end, so one that is killed is not in them.
 */
#ifndef MAILDRAIN_HISTORY_H
#define MAILDRAIN_HISTORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config.h"
#include "error.h"
#include "spool.h"

struct history_totals {
	int64_t sent;	  /* messages */
	int64_t deferred; /* attempts that ended so */
	int64_t failed;	  /* messages that went to failed/ */
};

struct history_run {
	int64_t ended; /* epoch seconds; 0: there was none */
	int64_t took;  /* milliseconds */
	int status;    /* exit status; -1: not known */
};

struct history_relay {
	const char *name; /* the config's */
	bool tried;	  /* else the rest means nothing */
	bool up;	  /* it was when last tried */
	int64_t since;	  /* epoch seconds, since when that is so */
	int64_t accepted; /* when it last took a message; 0: never */
	int64_t retry_at; /* down: when it is tried again, epoch seconds; up: 0 */
	struct relay_limit rate;
	struct relay_limit quota;
	int64_t used; /* of the quota, recipients in 24 hours */
};

struct history {
	struct history_totals totals;
	struct history_run run;
	size_t relay_count;
	struct history_relay relay[CONFIG_RELAYS_MAX]; /* those of the config, in its order */
};

/* Whether RELAY could not be used when it was last tried. */
bool history_is_down(const struct history_relay *relay);

/* Reads all records. HISTORY points into CONFIG. 0, or -1 with ERR. */
int history_load(const struct spool *spool, const struct config *config, struct history *history,
    struct error *err);

/* Adds MORE to the totals, and notes RUN, which had these results. 0, or -1 with ERR. */
int history_add(struct spool *spool, const struct history_totals *more,
    const struct history_run *run, struct error *err);

/* What a run has learnt of a relay, at NOW; written only when that makes a difference. */
struct history_seen {
	bool up;
	bool accepted; /* it has taken a message */
	int64_t now;   /* epoch seconds */
};

int history_saw(
    struct spool *spool, const char *relay, const struct history_seen *seen, struct error *err);

#endif
