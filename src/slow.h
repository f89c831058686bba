/*
 * slow: how a run slows down for a relay that asks for it, and recovers. Pure.
 *
 * Asked to slow down, it goes on at half its pace, and each further time at half of what it has got
 * back to. Without a complaint it is back in a minute, by equal steps. All of that ends with the
 * run: the next one tries the full pace again.
 *
 * Times are in microseconds of a clock that goes on; slow_shift when it was set back.
 */
#ifndef MAILDRAIN_SLOW_H
#define MAILDRAIN_SLOW_H

#include <stdbool.h>
#include <stdint.h>

#define SLOW_SECONDS 10 /* over which the pace is measured */

/* A zeroed one is not slowed. Paces are in recipients in a million seconds. */
struct slow {
	int64_t full;  /* the pace that it comes back to; 0: not slowed, any pace will do */
	int64_t low;   /* the pace at SINCE */
	int64_t since; /* when it was last slowed */
	int64_t next;  /* from when on the next recipient may go */
	int64_t pause; /* until then none may */
	int64_t first; /* the second in which the first one went */
	int64_t last;  /* the newest second in SEEN */
	int64_t seen[SLOW_SECONDS]; /* recipients in second N, at N % SLOW_SECONDS */
};

/* The clock was set back by SHIFT. */
void slow_shift(struct slow *slow, int64_t shift);

/* From when on a recipient may go; a time in the past when it may now. */
int64_t slow_until(const struct slow *slow);

/* RECIPIENTS go at NOW. */
void slow_take(struct slow *slow, int64_t recipients, int64_t now);

/* How many recipients may go in a second, INT64_MAX when it is not slowed; 1 for less. */
int64_t slow_per_second(const struct slow *slow, int64_t now);

/*
 * The relay asks for less, and for none in the next RETRY_AFTER seconds. RATE is the configured
 * pace, or 0: then that of the last seconds counts. Whether the pace was halved: not twice in a
 * second, as complaints about what is under way already come in swarms.
 */
bool slow_down(struct slow *slow, int64_t rate, int64_t retry_after, int64_t now);

#endif
