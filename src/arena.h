/*
 * arena: memory that is given in pieces and taken back all at once, with an upper bound.
 *
 * Texts of one message (addresses, replies) live here, so that a loop over messages allocates
 * nothing once it is warm. A zeroed struct arena is empty and ready. Pieces never move.
 */
#ifndef MAILDRAIN_ARENA_H
#define MAILDRAIN_ARENA_H

#include <stddef.h>

#define ARENA_MAX (8u << 20) /* bytes that one arena gives between two resets */

struct arena_block;

struct arena {
	struct arena_block *first;
	struct arena_block *last;
	size_t given; /* since the last reset */
};

/* SIZE bytes, aligned for any object; NULL when memory or ARENA_MAX is used up. */
void *arena_alloc(struct arena *arena, size_t size);

/* A NUL-terminated copy of TEXT[0..LEN), or NULL as above. */
char *arena_copy(struct arena *arena, const char *text, size_t len);

/* Takes all pieces back; keeps one block for the next user. */
void arena_reset(struct arena *arena);
void arena_free(struct arena *arena);

#endif
