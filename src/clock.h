/*
 * clock: the two clocks. Wall time for what stands in names, monotonic time for waits.
 */
#ifndef MAILDRAIN_CLOCK_H
#define MAILDRAIN_CLOCK_H

#include <stdint.h>

#define CLOCK_SLACK 3600 /* seconds by which the clocks of two hosts may differ */

int64_t clock_now(void);       /* epoch seconds, UTC */
int64_t clock_now_us(void);    /* epoch microseconds, UTC */
int64_t clock_monotonic(void); /* milliseconds since some start */

/*
 * When that which began at BEGAN_MS and ends now may be done again, all monotonic: AT_LEAST_MS from
 * now, and so late that it takes no more than a twentieth of the time.
 */
int64_t clock_again(int64_t began_ms, int64_t at_least_ms);

#endif
