#include "slow.h"

#define SECOND	  INT64_C(1000000)
#define MILLION	  INT64_C(1000000) /* seconds in which a pace counts recipients */
#define FLOOR	  (MILLION / 10)   /* no need to be slower than one in ten seconds */
#define RECOVERY  (60 * SECOND)
#define PAUSE_MAX INT64_C(86400) /* seconds; the run does not stay that long */

static int64_t later(int64_t a, int64_t b)
{
	return a > b ? a : b;
}

void slow_shift(struct slow *slow, int64_t shift)
{
	slow->since -= shift;
	slow->next -= shift;
	slow->pause -= shift;
	slow->first = 0; /* what is measured begins anew */
	slow->last = 0;
}

int64_t slow_until(const struct slow *slow)
{
	return later(slow->next, slow->pause);
}

/* The pace at NOW; 0: any. */
static int64_t pace_at(const struct slow *slow, int64_t now)
{
	const int64_t passed = now - slow->since;
	int64_t pace;

	if (slow->full == 0 || passed >= RECOVERY)
		return 0;
	pace = slow->low + slow->full * (passed / 1000) / (RECOVERY / 1000);
	return pace < slow->full ? pace : slow->full;
}

static int64_t second_of(int64_t now)
{
	return now / SECOND;
}

/* Counts RECIPIENTS in the second of NOW. */
static void measure(struct slow *slow, int64_t recipients, int64_t now)
{
	const int64_t second = second_of(now);

	if (slow->first == 0)
		slow->first = second;
	if (slow->last < second - SLOW_SECONDS)
		slow->last = second - SLOW_SECONDS;
	while (slow->last < second)
		slow->seen[++slow->last % SLOW_SECONDS] = 0;
	slow->seen[second % SLOW_SECONDS] += recipients;
}

/* The pace of the last seconds. */
static int64_t measured(const struct slow *slow, int64_t now)
{
	int64_t seconds = second_of(now) - slow->first + 1;
	int64_t seen = 0;

	for (int i = 0; i < SLOW_SECONDS; i++)
		seen += slow->seen[i];
	if (seconds > SLOW_SECONDS)
		seconds = SLOW_SECONDS;
	return seen * MILLION / seconds;
}

void slow_take(struct slow *slow, int64_t recipients, int64_t now)
{
	const int64_t pace = pace_at(slow, now);

	measure(slow, recipients, now);
	if (pace > 0)
		slow->next = later(slow->next, now) + recipients * SECOND * MILLION / pace;
}

int64_t slow_per_second(const struct slow *slow, int64_t now)
{
	const int64_t pace = pace_at(slow, now);

	if (pace == 0)
		return INT64_MAX;
	return later(pace / MILLION, 1);
}

bool slow_down(struct slow *slow, int64_t rate, int64_t retry_after, int64_t now)
{
	int64_t pace = pace_at(slow, now);

	if (retry_after > 0)
		slow->pause = later(slow->pause,
		    now + (retry_after < PAUSE_MAX ? retry_after : PAUSE_MAX) * SECOND);
	if (slow->full > 0 && now - slow->since < SECOND)
		return false;
	if (pace == 0) {
		measure(slow, 0, now);
		slow->full = rate > 0 ? rate : later(measured(slow, now), FLOOR);
		pace = slow->full;
	}
	slow->low = later(pace / 2, slow->full < FLOOR ? slow->full : FLOOR);
	slow->since = now;
	slow->next = later(slow->next, now + SECOND * MILLION / slow->low);
	return true;
}
