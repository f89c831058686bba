#include "clock.h"

#include <time.h>

#define SHARE 20

static int64_t microseconds(clockid_t id)
{
	struct timespec ts = {0};

	/* It can only fail for a clock that does not exist. */
	(void)clock_gettime(id, &ts);
	return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

int64_t clock_now(void)
{
	return clock_now_us() / 1000000;
}

int64_t clock_now_us(void)
{
	return microseconds(CLOCK_REALTIME);
}

int64_t clock_monotonic(void)
{
	return microseconds(CLOCK_MONOTONIC) / 1000;
}

int64_t clock_again(int64_t began_ms, int64_t at_least_ms)
{
	const int64_t now_ms = clock_monotonic();
	const int64_t pause_ms = (now_ms - began_ms) * SHARE;

	return now_ms + (pause_ms > at_least_ms ? pause_ms : at_least_ms);
}
