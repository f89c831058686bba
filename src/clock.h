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

#endif
