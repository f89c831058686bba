/*
 * digest: one mail about many messages that have failed or are late, in place of a flood. Pure.
 *
 * It counts all of them by status, and lists the first DIGEST_LISTED with what is known of each.
 */
#ifndef MAILDRAIN_DIGEST_H
#define MAILDRAIN_DIGEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "entry.h"
#include "envelope.h"
#include "notice.h"

#define DIGEST_LISTED	100
#define DIGEST_STATUSES 40 /* that are told apart */

struct digest {
	size_t messages;
	size_t statuses;
	struct digest_count {
		char status[12];
		size_t messages;
	} count[DIGEST_STATUSES];
	size_t other; /* messages whose status had no room in count */
};

/* A zeroed digest is empty. Counts a message of STATUS; true when it is among those to be listed.
 */
bool digest_add(struct digest *digest, const char *status);

/*
 * Writes to LIST, a stream that collects them, the lines of ENTRY's message with its ENVELOPE; or,
 * when that is NULL, why it has none.
 */
void digest_list(
    FILE *list, const struct entry *entry, const struct envelope *envelope, const char *why);

/*
 * Writes the mail, envelope lines and all, with LIST, the text that was collected; the subject is
 * the digest's own affair. 0, or -1 with errno when there is no memory for it.
 */
int digest_write(
    FILE *out, const struct digest *digest, const struct notice *notice, const char *list);

#endif
