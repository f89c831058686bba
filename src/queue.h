/*
 * queue: the names that are due, the first of them in their order, in bounded memory. Pure.
 *
 * A scan offers every due name in whatever order the directory gives them; the queue keeps the
 * first QUEUE_KEEP by entry_compare (fewer when names are long) and forgets the rest, which the
 * next scan finds again.
 */
#ifndef MAILDRAIN_QUEUE_H
#define MAILDRAIN_QUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "entry.h"

#define QUEUE_KEEP  65536
#define QUEUE_BYTES ((size_t)6 << 20) /* of names, at most */

struct queue_item {
	uint32_t offset; /* of the name in names */
	uint8_t priority;
	bool retried;
	uint8_t unique_len;
};

struct queue {
	char *names;
	size_t bytes;
	size_t bytes_room;
	struct queue_item *item;
	size_t count;
	size_t room;
	size_t next;	/* the first item not taken yet */
	bool truncated; /* names were forgotten */
	bool sorted;
	char bound[ENTRY_NAME_MAX + 1]; /* what goes behind it is forgotten; "": nothing yet */
};

/* A zeroed queue is empty. Empties it for the next scan; keeps its memory. */
void queue_clear(struct queue *queue);
void queue_free(struct queue *queue);

/* Offers ENTRY, of which the name is copied. False: out of memory. */
bool queue_add(struct queue *queue, const struct entry *entry);

/* The next name in order, valid until the queue is cleared; NULL when all are taken. */
const char *queue_next(struct queue *queue);

/* The name that queue_next gave last is the next one again. */
void queue_put_back(struct queue *queue);

/* How many are left to take. */
size_t queue_left(const struct queue *queue);

#endif
