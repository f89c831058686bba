#include "skip.h"

#include <stdlib.h>
#include <string.h>

#include "hash.h"

/* Never 0. */
static uint64_t hash_of(const struct skip *skip, const char *name)
{
	const uint64_t hash = hash_bytes(skip->seed, name, strlen(name));

	return hash != 0 ? hash : 1;
}

/* Where HASH stands, or the free place where it belongs; there is always one. */
static size_t place_of(const uint64_t *table, size_t room, uint64_t hash)
{
	size_t place = (size_t)hash & (room - 1);

	while (table[place] != 0 && table[place] != hash)
		place = (place + 1) & (room - 1);
	return place;
}

static bool grow(struct skip *skip)
{
	const size_t room = skip->room == 0 ? 64 : skip->room * 2;
	uint64_t *table;

	if (skip->count * 2 < skip->room)
		return true;
	if (skip->count >= SKIP_MAX)
		return false;
	table = calloc(room, sizeof *table);
	if (table == NULL)
		return false;
	for (size_t i = 0; i < skip->room; i++)
		if (skip->hash[i] != 0)
			table[place_of(table, room, skip->hash[i])] = skip->hash[i];
	free(skip->hash);
	skip->hash = table;
	skip->room = room;
	return true;
}

bool skip_has(const struct skip *skip, const char *name)
{
	return skip->count > 0 &&
	       skip->hash[place_of(skip->hash, skip->room, hash_of(skip, name))] != 0;
}

bool skip_add(struct skip *skip, const char *name)
{
	const uint64_t hash = hash_of(skip, name);
	size_t place;

	if (!grow(skip))
		return true;
	place = place_of(skip->hash, skip->room, hash);
	if (skip->hash[place] != 0)
		return false;
	skip->hash[place] = hash;
	skip->count++;
	return true;
}

void skip_free(struct skip *skip)
{
	free(skip->hash);
	*skip = (struct skip){0};
}
