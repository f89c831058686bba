/*
 * queue: the names that are due, the first of them in their order, in bounded memory. Pure.
 *
 * A scan offers every due name in whatever order the directory gives them; the queue keeps the
 * first QUEUE_KEEP by entry_compare (fewer when they take too much room) and forgets the rest,
 * which the next scan finds again.
 *
 * Each scan of a long queue costs as much as many messages, so what counts is how many names fit.
 * Those that Django's backend makes, and nobody has tried yet, are kept as numbers; others as text.
 */
#ifndef MAILDRAIN_QUEUE_H
#define MAILDRAIN_QUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "entry.h"

#define QUEUE_KEEP  196608
#define QUEUE_BYTES ((size_t)4 << 20) /* of names kept as text, at most */
#define QUEUE_ENDS  127 /* how many different ends, ".HOST" and more, are shared; 2^n - 1 */

struct queue_item {
	uint64_t order; /* priority, retried, the time in the name or 0; and which end it has */
	uint64_t rest;	/* process and count in the name; or where the name stands in text */
};

struct queue_text {
	char *bytes;
	size_t used;
	size_t room;
};

/* Until the first name is taken, item is a heap with the last name in order on top. */
struct queue {
	struct queue_item *item;
	size_t count;
	size_t room;
	size_t next; /* the first item not taken yet */
	struct queue_text text;
	struct queue_text ends;
	uint32_t end[QUEUE_ENDS]; /* where each begins in ends */
	size_t end_count;
	bool truncated; /* names were forgotten */
	bool sorted;
	char name[ENTRY_NAME_MAX + 1]; /* the one that queue_next gave */
};

/* A zeroed queue is empty. Empties it for the next scan; keeps its memory. */
void queue_clear(struct queue *queue);
void queue_free(struct queue *queue);

/* Offers ENTRY, of which the name is copied. False: out of memory. */
bool queue_add(struct queue *queue, const struct entry *entry);

/* The next name in order, valid until the next call; NULL when all are taken. */
const char *queue_next(struct queue *queue);

/* The name that queue_next gave last is the next one again. */
void queue_put_back(struct queue *queue);

/* The name at place I of those that are kept, in order, valid until the next call. */
const char *queue_at(struct queue *queue, size_t i);

/* How many are left to take. */
size_t queue_left(const struct queue *queue);

#endif
