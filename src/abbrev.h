/*
 * abbrev: how much of an id tells a message from all others, for find_message to find it. Pure.
 *
 *	abbrev_add for each id that is to be shown
 *	abbrev_sort
 *	abbrev_meet for each id that there is
 */
#ifndef MAILDRAIN_ABBREV_H
#define MAILDRAIN_ABBREV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ABBREV_LEAST 12		       /* bytes, however few would do */
#define ABBREV_BYTES ((size_t)8 << 20) /* of ids; with more they are shown whole */

struct abbrev {
	char *text; /* the ids, each with its NUL */
	size_t used;
	size_t room;
	uint32_t *id; /* where each begins */
	size_t count;
	size_t id_room;
	size_t enough;	/* bytes that tell each from the others met so far */
	size_t longest; /* bytes of the longest id */
	bool full;	/* there were too many */
};

/* A zeroed abbrev is empty. */
void abbrev_free(struct abbrev *abbrev);

/* False: out of memory. */
bool abbrev_add(struct abbrev *abbrev, const char *id, size_t len);
void abbrev_sort(struct abbrev *abbrev);
void abbrev_meet(struct abbrev *abbrev, const char *id, size_t len);

/* The bytes of ID[0..LEN) to show, never part of a character of UTF-8. */
size_t abbrev_len(const struct abbrev *abbrev, const char *id, size_t len);

/* What abbrev_len gives at most, but for such a character. */
size_t abbrev_most(const struct abbrev *abbrev);

#endif
