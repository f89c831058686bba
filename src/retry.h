/*
 * retry: when a deferred message is due again. Pure.
 */
#ifndef MAILDRAIN_RETRY_H
#define MAILDRAIN_RETRY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RETRY_DELAYS_MAX 64

struct retry {
	int64_t delay[RETRY_DELAYS_MAX]; /* seconds after the first, second, … attempt */
	size_t count;			 /* attempts allowed are count + 1 */
};

/* Whether a message that has had ATTEMPTS attempts gets no further one. */
bool retry_exhausted(const struct retry *retry, unsigned attempts);

/* The latest time that retry_next can name at NOW, whichever the attempt. */
int64_t retry_latest(const struct retry *retry, int64_t now);

/*
 * The time of the attempt after ATTEMPTS (1 or more, not exhausted), NOW plus its delay spread by
 * up to 10 % either way with RANDOM, any number: a backlog must not return as one wave.
 */
int64_t retry_next(const struct retry *retry, unsigned attempts, int64_t now, uint32_t random);

/*
 * When a message with ATTEMPTS attempts (not exhausted), of which the next is at NEXT, has its last
 * one, as far as it can be known now.
 */
int64_t retry_last(const struct retry *retry, unsigned attempts, int64_t next);

#endif
