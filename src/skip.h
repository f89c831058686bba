/*
 * skip: the names that this run has looked at and will not look at again. Pure.
 *
 * Only 64-bit hashes are kept, seeded per run: should two names share one, the second waits for
 * the next run.
 */
#ifndef MAILDRAIN_SKIP_H
#define MAILDRAIN_SKIP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SKIP_MAX ((size_t)1 << 19) /* names; further ones are not remembered */

struct skip {
	uint64_t *hash; /* 0: free */
	size_t room;	/* a power of two, or 0 */
	size_t count;
	uint64_t seed;
};

/* A zeroed skip, with any seed, is empty. */
void skip_free(struct skip *skip);

/* Remembers NAME; true when it is new (or could not be remembered). */
bool skip_add(struct skip *skip, const char *name);
bool skip_has(const struct skip *skip, const char *name);

#endif
