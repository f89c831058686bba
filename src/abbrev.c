#include "abbrev.h"

#include <stdlib.h>
#include <string.h>

#include "entry.h"

void abbrev_free(struct abbrev *abbrev)
{
	free(abbrev->text);
	free(abbrev->id);
	*abbrev = (struct abbrev){0};
}

/* Room in *BYTES for NEED, by doubling; false: out of memory. */
static bool grow(void **bytes, size_t *room, size_t need)
{
	size_t more = *room == 0 ? 4096 : *room;
	void *grown;

	while (more < need)
		more *= 2;
	if (more == *room)
		return true;
	grown = realloc(*bytes, more);
	if (grown == NULL)
		return false;
	*bytes = grown;
	*room = more;
	return true;
}

bool abbrev_add(struct abbrev *abbrev, const char *id, size_t len)
{
	void *text = abbrev->text;
	void *ids = abbrev->id;
	bool fits;

	abbrev->longest = len > abbrev->longest ? len : abbrev->longest;
	abbrev->full = abbrev->full || abbrev->used + len + 1 > ABBREV_BYTES;
	if (abbrev->full)
		return true;
	fits = grow(&text, &abbrev->room, abbrev->used + len + 1);
	abbrev->text = text;
	fits = grow(&ids, &abbrev->id_room, (abbrev->count + 1) * sizeof *abbrev->id) && fits;
	abbrev->id = ids;
	if (!fits)
		return false;
	memcpy(abbrev->text + abbrev->used, id, len);
	abbrev->text[abbrev->used + len] = '\0';
	abbrev->id[abbrev->count++] = (uint32_t)abbrev->used;
	abbrev->used += len + 1;
	return true;
}

static int compare(const void *a, const void *b, void *text)
{
	const char *ids = text;
	const uint32_t *x = a;
	const uint32_t *y = b;

	return strcmp(ids + *x, ids + *y);
}

static void tell_apart(struct abbrev *abbrev, const char *a, const char *b)
{
	size_t same = 0;

	while (a[same] != '\0' && a[same] == b[same])
		same++;
	/* No length tells two of one id apart. */
	if (a[same] != b[same] && same + 1 > abbrev->enough)
		abbrev->enough = same + 1;
}

void abbrev_sort(struct abbrev *abbrev)
{
	abbrev->enough = ABBREV_LEAST;
	if (abbrev->count < 2)
		return;
	qsort_r(abbrev->id, abbrev->count, sizeof *abbrev->id, compare, abbrev->text);
	for (size_t i = 1; i < abbrev->count; i++)
		tell_apart(abbrev, abbrev->text + abbrev->id[i - 1], abbrev->text + abbrev->id[i]);
}

void abbrev_meet(struct abbrev *abbrev, const char *id, size_t len)
{
	char other[ENTRY_NAME_MAX + 1];
	size_t low = 0, high = abbrev->count;

	if (abbrev->full || abbrev->count == 0 || len >= sizeof other)
		return;
	memcpy(other, id, len);
	other[len] = '\0';
	while (low < high) {
		const size_t middle = low + (high - low) / 2;

		if (strcmp(abbrev->text + abbrev->id[middle], other) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	/* None has more in common with it than those between which it would stand. */
	if (low < abbrev->count)
		tell_apart(abbrev, abbrev->text + abbrev->id[low], other);
	if (low > 0)
		tell_apart(abbrev, abbrev->text + abbrev->id[low - 1], other);
}

size_t abbrev_len(const struct abbrev *abbrev, const char *id, size_t len)
{
	size_t shown = abbrev->enough;

	if (abbrev->full || shown >= len)
		return len;
	while (shown < len && ((unsigned char)id[shown] & 0xc0) == 0x80)
		shown++;
	return shown;
}

size_t abbrev_most(const struct abbrev *abbrev)
{
	return abbrev->full || abbrev->enough > abbrev->longest ? abbrev->longest : abbrev->enough;
}
