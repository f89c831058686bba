#include "waits.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <sysexits.h>

#define ROOM_FIRST   16
#define NOWHERE	     SIZE_MAX
#define NO_MEMORY_MS 100 /* so it is looked after, and is no busy loop */

void waits_begin(struct waits *waits, int64_t most_ms)
{
	waits->count = 0;
	waits->most_ms = most_ms;
}

void waits_free(struct waits *waits)
{
	free(waits->fd);
	*waits = (struct waits){.fd = NULL};
}

static int grow(struct waits *waits)
{
	const size_t room = waits->room == 0 ? ROOM_FIRST : waits->room * 2;
	struct pollfd *fd = realloc(waits->fd, room * sizeof *fd);

	if (fd == NULL)
		return -1;
	waits->fd = fd;
	waits->room = room;
	return 0;
}

size_t waits_add(struct waits *waits, int fd, short events)
{
	if (waits->count == waits->room && grow(waits) == -1) {
		waits_within(waits, NO_MEMORY_MS);
		return NOWHERE;
	}
	waits->fd[waits->count] = (struct pollfd){.fd = fd, .events = events};
	return waits->count++;
}

void waits_within(struct waits *waits, int64_t ms)
{
	if (ms < waits->most_ms)
		waits->most_ms = ms > 0 ? ms : 0;
}

int waits_wait(struct waits *waits, struct error *err)
{
	const int most = waits->most_ms < INT_MAX ? (int)waits->most_ms : INT_MAX;

	if (poll(waits->fd, (nfds_t)waits->count, most) != -1 || errno == EINTR)
		return 0;
	error_set_errno(err, "can't wait for the relays");
	err->status = EX_OSERR;
	return -1;
}

short waits_got(const struct waits *waits, size_t place)
{
	if (place == NOWHERE)
		return (short)(POLLIN | POLLOUT);
	return waits->fd[place].revents;
}
