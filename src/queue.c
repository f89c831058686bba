#include "queue.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "decimal.h"

#define END_BITS   7
#define TIME_BITS  52 /* microseconds, up to the year 2112 */
#define COUNT_BITS 42
#define PID_BITS   22 /* as many as Linux has */

#define MILLION UINT64_C(1000000)

/* ---- text ---- */

/* Room for SIZE more bytes; false: out of memory. */
static bool text_grow(struct queue_text *text, size_t size)
{
	size_t room = text->room == 0 ? 1024 : text->room;
	char *bytes;

	while (room < text->used + size)
		room *= 2;
	if (room == text->room)
		return true;
	bytes = realloc(text->bytes, room);
	if (bytes == NULL)
		return false;
	text->bytes = bytes;
	text->room = room;
	return true;
}

/* ---- a name as two numbers ---- */

/* Reads DIGITS digits at *AT, or as many as there are when that is 0; no zeros in front then. */
static bool read_number(const char **at, size_t digits, unsigned bits, uint64_t *number)
{
	const char *begin = *at;
	size_t len = 0;

	*number = 0;
	for (; len < 19 && isdigit((unsigned char)begin[len]); len++)
		*number = *number * 10 + (uint64_t)(begin[len] - '0');
	*at += len;
	if (digits == 0)
		return len > 0 && begin[0] != '0' && *number >> bits == 0;
	return len == digits;
}

static bool read_text(const char **at, const char *text)
{
	const size_t len = strlen(text);

	if (strncmp(*at, text, len) != 0)
		return false;
	*at += len;
	return true;
}

/*
 * The microseconds that the name at *AT begins with; 0 when they are not written as the backend
 * does. Ten digits and six, so that the order of the numbers is that of the names.
 */
static uint64_t read_time(const char **at)
{
	uint64_t seconds, micros, time;

	if (**at == '0' || !read_number(at, 10, 0, &seconds) || !read_text(at, ".M") ||
	    !read_number(at, 6, 0, &micros))
		return 0;
	time = seconds * MILLION + micros;
	return time >> TIME_BITS == 0 ? time : 0;
}

/* Reads what follows, up to the host. */
static bool read_rest(const char **at, uint64_t *rest)
{
	uint64_t pid, count;

	if (!read_text(at, "P") || !read_number(at, 0, PID_BITS, &pid) || !read_text(at, "Q") ||
	    !read_number(at, 0, COUNT_BITS, &count) || **at != '.')
		return false;
	*rest = pid << COUNT_BITS | count;
	return true;
}

static size_t end_of(const struct queue_item *item)
{
	return item->order & QUEUE_ENDS;
}

static uint64_t time_of(const struct queue_item *item)
{
	return item->order >> END_BITS & ((UINT64_C(1) << TIME_BITS) - 1);
}

/* The number of END among the shared ones, from 1 on; 0 when there is no room for it. */
static uint64_t end_number(struct queue *queue, const char *end)
{
	const size_t size = strlen(end) + 1;

	for (size_t i = queue->end_count; i > 0; i--)
		if (strcmp(queue->ends.bytes + queue->end[i - 1], end) == 0)
			return i;
	if (queue->end_count == QUEUE_ENDS || !text_grow(&queue->ends, size))
		return 0;
	queue->end[queue->end_count++] = (uint32_t)queue->ends.used;
	memcpy(queue->ends.bytes + queue->ends.used, end, size);
	queue->ends.used += size;
	return queue->end_count;
}

/* ENTRY as ITEM; false when it has to be kept as text. Only the order is set then. */
static bool compact(struct queue *queue, const struct entry *entry, struct queue_item *item)
{
	const bool retried = entry->attempts > 0;
	const char *at = entry->name;
	const uint64_t time = read_time(&at);

	item->order = ((uint64_t)entry->priority << 1 | retried) << (TIME_BITS + END_BITS);
	item->order |= time << END_BITS;
	/* What is put off has an end of its own. */
	if (retried || entry->not_before > 0 || entry->expires > 0 || time == 0 ||
	    !read_rest(&at, &item->rest))
		return false;
	item->order |= end_number(queue, at);
	return end_of(item) != 0;
}

/* Writes MARK and NUMBER; returns what follows them. */
static char *put_number(char *at, const char *mark, uint64_t number, unsigned width)
{
	at = stpcpy(at, mark);
	return at + decimal_write(number, width, at);
}

/* The name of ITEM: itself, or written to BUF, which has room for any. */
static const char *name_of(const struct queue *queue, const struct queue_item *item, char *buf)
{
	const uint64_t time = time_of(item);
	const uint64_t count = item->rest & ((UINT64_C(1) << COUNT_BITS) - 1);
	const char *end;
	char *at = buf;

	if (end_of(item) == 0)
		return queue->text.bytes + item->rest;
	end = queue->ends.bytes + queue->end[end_of(item) - 1];
	at = put_number(at, "", time / MILLION, 1);
	at = put_number(at, ".M", time % MILLION, 6);
	at = put_number(at, "P", item->rest >> COUNT_BITS, 1);
	at = put_number(at, "Q", count, 1);
	memcpy(at, end, strlen(end) + 1);
	return buf;
}

/* ---- their order ---- */

/* A byte of UNIQUE; 0 behind it. */
static unsigned char unique_byte(char byte)
{
	return byte == ',' || byte == ':' ? 0 : (unsigned char)byte;
}

static bool is_name_before(
    const struct queue *queue, const struct queue_item *a, const struct queue_item *b)
{
	char buf_a[ENTRY_NAME_MAX + 1], buf_b[ENTRY_NAME_MAX + 1];
	const char *x = name_of(queue, a, buf_a);
	const char *y = name_of(queue, b, buf_b);

	for (; *x == *y && unique_byte(*x) != 0; x++)
		y++;
	return unique_byte(*x) < unique_byte(*y);
}

/* As entry_compare. A name that has no time in its order may go anywhere. */
static bool is_before(
    const struct queue *queue, const struct queue_item *a, const struct queue_item *b)
{
	const bool timed = time_of(a) != 0 && time_of(b) != 0;
	const unsigned shift = timed ? END_BITS : TIME_BITS + END_BITS;
	const uint64_t x = a->order >> shift;
	const uint64_t y = b->order >> shift;

	return x != y ? x < y : is_name_before(queue, a, b);
}

/* Lets the item at ROOT sink to its place in the heap of the first COUNT. */
static void sink(struct queue *queue, size_t root, size_t count)
{
	struct queue_item *item = queue->item;
	const struct queue_item moved = item[root];
	size_t child;

	while ((child = root * 2 + 1) < count) {
		if (child + 1 < count && is_before(queue, &item[child], &item[child + 1]))
			child++;
		if (!is_before(queue, &moved, &item[child]))
			break;
		item[root] = item[child];
		root = child;
	}
	item[root] = moved;
}

/* Lets the last item rise to its place. */
static void rise(struct queue *queue)
{
	struct queue_item *item = queue->item;
	size_t place = queue->count - 1;
	const struct queue_item moved = item[place];

	for (; place > 0 && is_before(queue, &item[(place - 1) / 2], &moved);
	     place = (place - 1) / 2)
		item[place] = item[(place - 1) / 2];
	item[place] = moved;
}

/* From the heap to the order, in place: qsort(3) would take as much memory again. */
static void sort(struct queue *queue)
{
	for (size_t i = queue->count; i > 1; i--) {
		const struct queue_item last = queue->item[0];

		queue->item[0] = queue->item[i - 1];
		queue->item[i - 1] = last;
		sink(queue, 0, i - 1);
	}
	queue->sorted = true;
}

static void make_heap(struct queue *queue)
{
	for (size_t i = queue->count / 2; i > 0; i--)
		sink(queue, i - 1, queue->count);
	queue->sorted = false;
}

/* ---- what is kept ---- */

static int compare_place(const void *a, const void *b)
{
	const struct queue_item *x = a;
	const struct queue_item *y = b;

	if ((end_of(x) == 0) != (end_of(y) == 0))
		return end_of(x) == 0 ? -1 : 1;
	return (x->rest > y->rest) - (x->rest < y->rest);
}

/* Forgets the last third in order, and closes the gaps in the text. */
static void prune(struct queue *queue)
{
	struct queue_text *text = &queue->text;

	sort(queue);
	queue->count -= queue->count / 3;
	queue->truncated = true;
	qsort(queue->item, queue->count, sizeof *queue->item, compare_place);
	text->used = 0;
	for (size_t i = 0; i < queue->count && end_of(&queue->item[i]) == 0; i++) {
		const char *name = text->bytes + queue->item[i].rest;
		const size_t size = strlen(name) + 1;

		memmove(text->bytes + text->used, name, size);
		queue->item[i].rest = text->used;
		text->used += size;
	}
	make_heap(queue);
}

/* Puts NAME behind the text; it is part of it once used tells so. */
static bool put_text(struct queue *queue, const char *name, struct queue_item *item)
{
	const size_t size = strlen(name) + 1;

	if (queue->text.used + size > QUEUE_BYTES)
		prune(queue);
	if (!text_grow(&queue->text, size))
		return false;
	memcpy(queue->text.bytes + queue->text.used, name, size);
	item->rest = queue->text.used;
	return true;
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

/*
 * Keeps ITEM, in place of the last one when there are enough. Once names were forgotten nothing
 * that goes behind all those kept may come in, or it would overtake what was forgotten.
 */
static bool keep(struct queue *queue, const struct queue_item *item, size_t text)
{
	queue->truncated = queue->truncated || queue->count == QUEUE_KEEP;
	if (queue->truncated && is_before(queue, &queue->item[0], item))
		return true;
	queue->text.used += text;
	if (queue->count == QUEUE_KEEP) {
		queue->item[0] = *item;
		sink(queue, 0, queue->count);
		return true;
	}
	if (!grow_items(queue))
		return false;
	queue->item[queue->count++] = *item;
	rise(queue);
	return true;
}

bool queue_add(struct queue *queue, const struct entry *entry)
{
	struct queue_item item;

	queue->sorted = false;
	if (compact(queue, entry, &item))
		return keep(queue, &item, 0);
	return put_text(queue, entry->name, &item) && keep(queue, &item, strlen(entry->name) + 1);
}

const char *queue_at(struct queue *queue, size_t i)
{
	if (!queue->sorted)
		sort(queue);
	return name_of(queue, &queue->item[i], queue->name);
}

const char *queue_next(struct queue *queue)
{
	return queue->next < queue->count ? queue_at(queue, queue->next++) : NULL;
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
	queue->count = 0;
	queue->next = 0;
	queue->text.used = 0;
	queue->ends.used = 0;
	queue->end_count = 0;
	queue->truncated = false;
	queue->sorted = true;
}

void queue_free(struct queue *queue)
{
	free(queue->item);
	free(queue->text.bytes);
	free(queue->ends.bytes);
	*queue = (struct queue){0};
}
