#include <assert.h>

#include "retry.h"

bool retry_exhausted(const struct retry *retry, unsigned attempts)
{
	return attempts > retry->count;
}

int64_t retry_latest(const struct retry *retry, int64_t now)
{
	int64_t longest = 0;

	for (size_t i = 0; i < retry->count; i++)
		if (retry->delay[i] > longest)
			longest = retry->delay[i];
	return now + longest + longest / 10;
}

int64_t retry_next(const struct retry *retry, unsigned attempts, int64_t now, uint32_t random)
{
	int64_t delay, spread;

	assert(attempts > 0 && !retry_exhausted(retry, attempts));
	delay = retry->delay[attempts - 1];
	spread = delay / 10;
	return now + delay - spread + random % (2 * spread + 1);
}

int64_t retry_last(const struct retry *retry, unsigned attempts, int64_t next)
{
	/* A name may say anything: what is that far ahead is told as it stands. */
	for (size_t i = attempts; i < retry->count && next < INT64_MAX / 2; i++)
		next += retry->delay[i];
	return next;
}
