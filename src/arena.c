#include "arena.h"

#include <stdalign.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK_SIZE ((size_t)2048) /* for a message with few recipients */

struct arena_block {
	struct arena_block *next;
	size_t size;
	size_t used;
	alignas(max_align_t) char bytes[];
};

static struct arena_block *block_new(size_t size)
{
	size_t room = size > BLOCK_SIZE ? size : BLOCK_SIZE;
	struct arena_block *block = malloc(sizeof *block + room);

	if (block != NULL) {
		block->next = NULL;
		block->size = room;
		block->used = 0;
	}
	return block;
}

static void blocks_free(struct arena_block *block)
{
	while (block != NULL) {
		struct arena_block *next = block->next;

		free(block);
		block = next;
	}
}

void *arena_alloc(struct arena *arena, size_t size)
{
	struct arena_block *block = arena->last;
	char *piece;

	if (size > ARENA_MAX - arena->given)
		return NULL;
	size = (size + alignof(max_align_t) - 1) & ~(alignof(max_align_t) - 1);
	if (block == NULL || size > block->size - block->used) {
		block = block_new(size);
		if (block == NULL)
			return NULL;
		if (arena->last != NULL)
			arena->last->next = block;
		else
			arena->first = block;
		arena->last = block;
	}
	piece = block->bytes + block->used;
	block->used += size;
	arena->given += size;
	return piece;
}

char *arena_copy(struct arena *arena, const char *text, size_t len)
{
	char *copy = arena_alloc(arena, len + 1);

	if (copy != NULL) {
		memcpy(copy, text, len);
		copy[len] = '\0';
	}
	return copy;
}

void arena_reset(struct arena *arena)
{
	struct arena_block *kept = arena->first;

	arena->given = 0;
	if (kept == NULL)
		return;
	blocks_free(kept->next);
	kept->next = NULL;
	kept->used = 0;
	arena->last = kept;
}

void arena_free(struct arena *arena)
{
	blocks_free(arena->first);
	*arena = (struct arena){0};
}
