#include <assert.h>

#include "retry.h"

bool retry_exhausted(const struct retry *retry, unsigned attempts)
{
	return attempts > retry->count;
}

int64_t retry_next(const struct retry *retry, unsigned attempts, int64_t now, uint32_t random)
{
	int64_t delay, spread;

	assert(attempts > 0 && !retry_exhausted(retry, attempts));
	delay = retry->delay[attempts - 1];
	spread = delay / 10;
	return now + delay - spread + random % (2 * spread + 1);
}
