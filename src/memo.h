/*
 * memo: which relay a name of the queue was found to be for, so that its file need not be read
 * again while that relay is busy. Pure.
 *
 * Kept in few bytes per name, so it may be wrong, though hardly ever: whoever sends the message
 * looks into its file all the same.
 */
#ifndef MAILDRAIN_MEMO_H
#define MAILDRAIN_MEMO_H

#include <stddef.h>
#include <stdint.h>

#define MEMO_UNKNOWN SIZE_MAX
#define MEMO_VALUES  255 /* a value is less than that */

struct memo {
	uint64_t *slot; /* 0: free; else the hash of a name, with its value in the lowest byte */
	size_t room;	/* a power of two, or 0 */
	size_t count;
};

/* A zeroed memo is empty. */
void memo_free(struct memo *memo);

/* Remembers VALUE for NAME, if there is memory for that. */
void memo_put(struct memo *memo, const char *name, size_t value);

/* MEMO_UNKNOWN: nothing is remembered. */
size_t memo_get(const struct memo *memo, const char *name);

/* Forgets all. */
void memo_clear(struct memo *memo);

#endif
