#include "memo.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "hash.h"

#define ROOM_FIRST 1024
#define ROOM_MAX   ((size_t)1 << 20)
#define VALUE_MASK UINT64_C(0xff)

/* The value is kept as one more, so that no slot in use is 0. */
static uint64_t key_of(const char *name)
{
	return hash_bytes(0, name, strlen(name)) & ~VALUE_MASK;
}

/* Where KEY stands, or the free place where it belongs; there is always one. */
static size_t place_of(const uint64_t *slot, size_t room, uint64_t key)
{
	size_t place = (size_t)(key >> 8) & (room - 1);

	while (slot[place] != 0 && (slot[place] & ~VALUE_MASK) != key)
		place = (place + 1) & (room - 1);
	return place;
}

static bool grow(struct memo *memo)
{
	const size_t room = memo->room == 0 ? ROOM_FIRST : memo->room * 2;
	uint64_t *slot;

	if (memo->count * 2 < memo->room)
		return true;
	slot = room <= ROOM_MAX ? calloc(room, sizeof *slot) : NULL;
	if (slot == NULL)
		return false;
	for (size_t i = 0; i < memo->room; i++)
		if (memo->slot[i] != 0)
			slot[place_of(slot, room, memo->slot[i] & ~VALUE_MASK)] = memo->slot[i];
	free(memo->slot);
	memo->slot = slot;
	memo->room = room;
	return true;
}

void memo_put(struct memo *memo, const char *name, size_t value)
{
	const uint64_t key = key_of(name);
	size_t place;

	if (!grow(memo))
		return;
	place = place_of(memo->slot, memo->room, key);
	memo->count += memo->slot[place] == 0;
	memo->slot[place] = key | (value + 1);
}

size_t memo_get(const struct memo *memo, const char *name)
{
	uint64_t found;

	if (memo->count == 0)
		return MEMO_UNKNOWN;
	found = memo->slot[place_of(memo->slot, memo->room, key_of(name))];
	return found == 0 ? MEMO_UNKNOWN : (size_t)(found & VALUE_MASK) - 1;
}

void memo_clear(struct memo *memo)
{
	if (memo->count > 0)
		memset(memo->slot, 0, memo->room * sizeof *memo->slot);
	memo->count = 0;
}

void memo_free(struct memo *memo)
{
	free(memo->slot);
	*memo = (struct memo){.slot = NULL};
}
