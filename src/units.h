/*
 * units: numbers as people write them in the configuration and on the command line. Pure.
 *
 * All are plain decimal without sign, blanks, or leading zeros: who writes 010 may mean 8 or 10.
 */
#ifndef MAILDRAIN_UNITS_H
#define MAILDRAIN_UNITS_H

#include <stdbool.h>
#include <stdint.h>

/* A century. Any time of day plus a few of these is far from the end of int64_t. */
#define UNITS_DURATION_MAX (INT64_C(36500) * 24 * 60 * 60)

#define UNITS_SIZE_MAX (UINT64_C(1) << 50)

/* Each is false, and leaves its result alone, when TEXT is anything else or out of range. */

/* A number up to MAX. */
bool units_number(const char *text, int64_t max, int64_t *number);

/* "90s", "5m", "1h" or "7d", up to UNITS_DURATION_MAX; zero also without a unit. */
bool units_duration(const char *text, int64_t *seconds);

/* "512", "64K", "25M" or "1G" bytes, up to UNITS_SIZE_MAX; K is 1024. */
bool units_size(const char *text, uint64_t *bytes);

/* "14/s", "200/m", "2000/h" or "50000/d": a number up to MAX in so many seconds. */
bool units_rate(const char *text, int64_t max, int64_t *number, int64_t *seconds);

#endif
