/*
 * waits: what all that is under way waits for, so that one poll(2) serves several relays.
 *
 *	waits_begin
 *	each one: waits_add for its descriptors, waits_within for its times
 *	waits_wait
 *	each one: waits_got
 */
#ifndef MAILDRAIN_WAITS_H
#define MAILDRAIN_WAITS_H

#include <poll.h>
#include <stddef.h>
#include <stdint.h>

#include "error.h"

struct waits {
	struct pollfd *fd;
	size_t count;
	size_t room;
	int64_t most_ms;
};

/* Forgets all; no wait will be longer than MOST_MS. WAITS is zeroed before its first use. */
void waits_begin(struct waits *waits, int64_t most_ms);
void waits_free(struct waits *waits);

/*
 * Waits for EVENTS of FD, as in poll(2). Returns its place, for waits_got. Without memory it is not
 * waited for, and the place says that all has come.
 */
size_t waits_add(struct waits *waits, int fd, short events);

/* No longer than MS, or not at all where that is 0 or less. */
void waits_within(struct waits *waits, int64_t ms);

/* Waits; also a signal ends it. 0, or -1 with ERR when there is no way to wait. */
int waits_wait(struct waits *waits, struct error *err);

/* What has come at PLACE, as revents in poll(2). */
short waits_got(const struct waits *waits, size_t place);

#endif
