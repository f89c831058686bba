#include "meter.h"

#include <string.h>

#define AHEAD_MAX 1000000 /* slots that any reservation takes, and any envelope has recipients */

int64_t meter_length(const struct meter_limits *limits, int64_t slots)
{
	if (limits->rate == 0)
		return 0;
	return (slots * limits->seconds * METER_SECOND + limits->rate - 1) / limits->rate;
}

int64_t meter_bucket(int64_t now)
{
	return now / (METER_BUCKET_SECONDS * METER_SECOND);
}

/* What one reservation can explain, from NOW on. */
static int64_t latest(const struct meter *meter, const struct meter_limits *limits, int64_t now)
{
	return now + meter_length(limits, meter->ahead);
}

static bool settle_slots(
    struct meter *meter, const struct meter_limits *limits, int64_t now, int64_t slack)
{
	if (meter->ahead > AHEAD_MAX)
		meter->ahead = AHEAD_MAX;
	if (meter->next <= latest(meter, limits, now) + slack)
		return false;
	meter->next = latest(meter, limits, now);
	return true;
}

/* Counts that no quota allows are no reason to wait longer than for a full one. */
static bool cap_counts(struct meter *meter)
{
	int64_t room = METER_QUOTA_MAX;
	bool capped = false;

	for (int i = 0; i < METER_BUCKETS; i++) {
		capped = capped || meter->count[i] > room;
		if (meter->count[i] > room)
			meter->count[i] = room;
		room -= meter->count[i];
	}
	return capped;
}

/* All that was counted counts as if it were now. */
static void redate(struct meter *meter, int64_t newest)
{
	const int64_t used = meter_used(meter);

	memset(meter->count, 0, sizeof meter->count);
	meter->newest = newest;
	meter_count(meter, newest, used);
}

/* Empties the buckets that begin up to NEWEST: they are those of a day ago. */
static void advance(struct meter *meter, int64_t newest)
{
	int64_t number = meter->newest;

	if (number < newest - METER_BUCKETS)
		number = newest - METER_BUCKETS;
	while (number < newest)
		meter->count[++number % METER_BUCKETS] = 0;
	if (meter->newest < newest)
		meter->newest = newest;
}

bool meter_settle(
    struct meter *meter, const struct meter_limits *limits, int64_t now, int64_t slack)
{
	const int64_t newest = meter_bucket(now);
	bool mended = settle_slots(meter, limits, now, slack);

	mended = cap_counts(meter) || mended;
	/* One ahead is a clock that differs; what is counted there is forgotten later, not earlier.
	 */
	if (meter->newest > newest + 1) {
		redate(meter, newest);
		return true;
	}
	advance(meter, newest);
	return mended;
}

int64_t meter_used(const struct meter *meter)
{
	int64_t used = 0;

	for (int i = 0; i < METER_BUCKETS; i++)
		used += meter->count[i];
	return used;
}

int64_t meter_room_at(
    const struct meter *meter, const struct meter_limits *limits, int64_t recipients)
{
	int64_t over = meter_used(meter) + recipients - limits->quota;
	int64_t number = meter->newest - METER_BUCKETS;

	if (limits->quota == 0 || over <= 0)
		return 0;
	while (over > 0 && number < meter->newest)
		over -= meter->count[++number % METER_BUCKETS];
	return (number + METER_BUCKETS) * METER_BUCKET_SECONDS * METER_SECOND;
}

void meter_count(struct meter *meter, int64_t number, int64_t recipients)
{
	int64_t *count = &meter->count[number % METER_BUCKETS];

	if (number > meter->newest || number <= meter->newest - METER_BUCKETS)
		return;
	*count = *count + recipients > 0 ? *count + recipients : 0;
}
