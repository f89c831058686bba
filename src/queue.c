#include "queue.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ITEMS_MAX ((size_t)QUEUE_KEEP + QUEUE_KEEP / 2)

static int compare_order(const void *a, const void *b, void *names)
{
	const struct queue_item *x = a;
	const struct queue_item *y = b;
	const size_t shorter = x->unique_len < y->unique_len ? x->unique_len : y->unique_len;
	int order;

	if (x->priority != y->priority)
		return x->priority < y->priority ? -1 : 1;
	if (x->retried != y->retried)
		return x->retried ? 1 : -1;
	order = memcmp((char *)names + x->offset, (char *)names + y->offset, shorter);
	return order != 0 ? order : (int)x->unique_len - (int)y->unique_len;
}

static int compare_offset(const void *a, const void *b)
{
	const struct queue_item *x = a;
	const struct queue_item *y = b;

	return x->offset < y->offset ? -1 : x->offset > y->offset;
}

static void put_in_order(struct queue *queue)
{
	qsort_r(queue->item, queue->count, sizeof *queue->item, compare_order, queue->names);
}

static void sort(struct queue *queue)
{
	put_in_order(queue);
	if (queue->count > QUEUE_KEEP) {
		queue->count = QUEUE_KEEP;
		queue->truncated = true;
	}
	queue->sorted = true;
}

/*
 * Forgets the last third in order and closes the gaps between the names. Whatever is offered later
 * and goes behind those kept is forgotten too, or it would overtake those forgotten now.
 */
static void prune(struct queue *queue)
{
	size_t bytes = 0;

	put_in_order(queue);
	queue->count -= queue->count / 3;
	queue->truncated = true;
	(void)snprintf(queue->bound, sizeof queue->bound, "%s",
	    queue->names + queue->item[queue->count - 1].offset);
	qsort(queue->item, queue->count, sizeof *queue->item, compare_offset);
	for (size_t i = 0; i < queue->count; i++) {
		const char *name = queue->names + queue->item[i].offset;
		const size_t size = strlen(name) + 1;

		memmove(queue->names + bytes, name, size);
		queue->item[i].offset = (uint32_t)bytes;
		bytes += size;
	}
	queue->bytes = bytes;
	queue->sorted = false;
}

static bool grow_items(struct queue *queue)
{
	const size_t room = queue->room == 0 ? 256 : queue->room * 2;
	struct queue_item *item;

	if (queue->count < queue->room)
		return true;
	item = realloc(queue->item, room * sizeof *item);
	if (item == NULL)
		return false;
	queue->item = item;
	queue->room = room;
	return true;
}

static bool grow_names(struct queue *queue, size_t size)
{
	size_t room = queue->bytes_room == 0 ? 16384 : queue->bytes_room;
	char *names;

	while (room < queue->bytes + size)
		room *= 2;
	if (room == queue->bytes_room)
		return true;
	if (room > QUEUE_BYTES)
		room = QUEUE_BYTES;
	names = realloc(queue->names, room);
	if (names == NULL)
		return false;
	queue->names = names;
	queue->bytes_room = room;
	return true;
}

static bool is_forgotten(const struct queue *queue, const struct entry *entry)
{
	struct entry bound;

	return queue->bound[0] != '\0' && entry_parse(queue->bound, &bound) &&
	       entry_compare(entry, &bound) > 0;
}

bool queue_add(struct queue *queue, const struct entry *entry)
{
	const size_t size = strlen(entry->name) + 1;

	if (queue->count == ITEMS_MAX || queue->bytes + size > QUEUE_BYTES)
		prune(queue);
	if (is_forgotten(queue, entry))
		return true;
	if (!grow_items(queue) || !grow_names(queue, size))
		return false;
	queue->item[queue->count++] = (struct queue_item){
	    .offset = (uint32_t)queue->bytes,
	    .priority = (uint8_t)entry->priority,
	    .retried = entry->attempts > 0,
	    .unique_len = (uint8_t)entry->unique_len,
	};
	memcpy(queue->names + queue->bytes, entry->name, size);
	queue->bytes += size;
	queue->sorted = false;
	return true;
}

const char *queue_next(struct queue *queue)
{
	if (queue->next == queue->count)
		return NULL;
	if (!queue->sorted)
		sort(queue);
	return queue->names + queue->item[queue->next++].offset;
}

void queue_put_back(struct queue *queue)
{
	queue->next--;
}

size_t queue_left(const struct queue *queue)
{
	return queue->count - queue->next;
}

void queue_clear(struct queue *queue)
{
	queue->bytes = 0;
	queue->count = 0;
	queue->next = 0;
	queue->truncated = false;
	queue->sorted = true;
	queue->bound[0] = '\0';
}

void queue_free(struct queue *queue)
{
	free(queue->names);
	free(queue->item);
	*queue = (struct queue){0};
}
