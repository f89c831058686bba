/*
 * meter: counts the recipients that a relay is given, against its rate and its quota. Pure.
 *
 * The rate is kept by slots, one for a recipient: a slot that is taken moves the next one by the
 * time that the rate gives to each, and time in which nothing is sent saves up nothing. The quota
 * is kept in buckets of 90 minutes: the newest 17 of them hold any 24 hours that end now, so what
 * they add up to is never less than what these have seen.
 *
 * Times are in microseconds since the epoch, as the meter is shared by runs and hosts.
 */
#ifndef MAILDRAIN_METER_H
#define MAILDRAIN_METER_H

#include <stdbool.h>
#include <stdint.h>

#define METER_BUCKETS	     17
#define METER_BUCKET_SECONDS 5400
#define METER_SECOND	     INT64_C(1000000) /* in microseconds */

/* The most that limits may say. With these the record of a meter is no longer than a name can be.
 */
#define METER_RATE_MAX	  1000000 /* recipients */
#define METER_SECONDS_MAX 86400
#define METER_QUOTA_MAX	  9999999

struct meter_limits {
	int64_t rate;	 /* recipients in SECONDS; 0: no limit */
	int64_t seconds; /* 1 to METER_SECONDS_MAX */
	int64_t quota;	 /* recipients in any 24 hours; 0: no limit */
};

struct meter {
	int64_t next;	/* when the next slot is free; 0: none was ever taken */
	int64_t ahead;	/* slots before it that began when it was written: it was no farther off */
	int64_t newest; /* the number of the newest bucket, since the epoch */
	int64_t count[METER_BUCKETS]; /* of bucket N at N % METER_BUCKETS */
};

/* The time that the rate gives to SLOTS recipients, rounded up; 0 without a rate. */
int64_t meter_length(const struct meter_limits *limits, int64_t slots);

/* The number of the bucket at NOW. */
int64_t meter_bucket(int64_t now);

/*
 * Brings METER up to NOW, and to what can be true: true when it was not, because a clock was wrong
 * or the record was made by hand, so that what was mended must be written. SLACK is how far the
 * clocks of those who write it may differ. What lies in the future then has happened just now: a
 * wrong clock makes mail wait for what the rate can explain, and for the quota a day, not for
 * years.
 */
bool meter_settle(
    struct meter *meter, const struct meter_limits *limits, int64_t now, int64_t slack);

/* Recipients in the last 24 hours, of a meter that is settled. */
int64_t meter_used(const struct meter *meter);

/* From when on the quota has room for RECIPIENTS, no more than the quota; 0: it has. */
int64_t meter_room_at(
    const struct meter *meter, const struct meter_limits *limits, int64_t recipients);

/* Counts RECIPIENTS, who may be less than none, in bucket NUMBER, unless that is forgotten. */
void meter_count(struct meter *meter, int64_t number, int64_t recipients);

#endif
