#include "multi.h"

#include <stdlib.h>

#include "clock.h"

#define ROOM_FIRST 8

static struct multi_socket *find(struct multi *multi, curl_socket_t fd)
{
	for (size_t i = 0; i < multi->count; i++)
		if (multi->socket[i].fd == fd)
			return &multi->socket[i];
	return NULL;
}

static struct multi_socket *add(struct multi *multi, curl_socket_t fd)
{
	struct multi_socket *added;

	if (multi->count == multi->room) {
		const size_t room = multi->room == 0 ? ROOM_FIRST : multi->room * 2;
		struct multi_socket *more = realloc(multi->socket, room * sizeof *more);

		if (more == NULL)
			return NULL;
		multi->socket = more;
		multi->room = room;
	}
	added = &multi->socket[multi->count++];
	*added = (struct multi_socket){.fd = fd};
	return added;
}

static void drop(struct multi *multi, curl_socket_t fd)
{
	struct multi_socket *found = find(multi, fd);

	if (found != NULL)
		*found = multi->socket[--multi->count];
}

/* Libcurl says what it waits for; -1 ends its transfers, as there is no memory for that. */
static int on_socket(CURL *easy, curl_socket_t fd, int what, void *context, void *unused)
{
	struct multi *multi = context;
	struct multi_socket *socket;

	(void)easy;
	(void)unused;
	if (what == CURL_POLL_REMOVE) {
		drop(multi, fd);
		return 0;
	}
	socket = find(multi, fd);
	if (socket == NULL)
		socket = add(multi, fd);
	if (socket == NULL)
		return -1;
	socket->events = 0;
	if (what & CURL_POLL_IN)
		socket->events |= POLLIN;
	if (what & CURL_POLL_OUT)
		socket->events |= POLLOUT;
	return 0;
}

static int on_timer(CURLM *curl, long timeout_ms, void *context)
{
	struct multi *multi = context;

	(void)curl;
	multi->due_ms = timeout_ms < 0 ? -1 : clock_monotonic() + timeout_ms;
	return 0;
}

int multi_open(struct multi *multi)
{
	*multi = (struct multi){.curl = curl_multi_init(), .due_ms = -1};
	if (multi->curl == NULL)
		return -1;
	if (curl_multi_setopt(multi->curl, CURLMOPT_SOCKETFUNCTION, on_socket) == CURLM_OK &&
	    curl_multi_setopt(multi->curl, CURLMOPT_SOCKETDATA, multi) == CURLM_OK &&
	    curl_multi_setopt(multi->curl, CURLMOPT_TIMERFUNCTION, on_timer) == CURLM_OK &&
	    curl_multi_setopt(multi->curl, CURLMOPT_TIMERDATA, multi) == CURLM_OK)
		return 0;
	multi_close(multi);
	return -1;
}

void multi_close(struct multi *multi)
{
	if (multi->curl != NULL)
		(void)curl_multi_cleanup(multi->curl);
	free(multi->socket);
	*multi = (struct multi){.due_ms = -1};
}

void multi_prepare(struct multi *multi, struct waits *waits)
{
	for (size_t i = 0; i < multi->count; i++)
		multi->socket[i].place =
		    waits_add(waits, multi->socket[i].fd, multi->socket[i].events);
	if (multi->due_ms != -1)
		waits_within(waits, multi->due_ms - clock_monotonic());
}

static int mask_of(short got)
{
	int mask = 0;

	if (got & POLLIN)
		mask |= CURL_CSELECT_IN;
	if (got & POLLOUT)
		mask |= CURL_CSELECT_OUT;
	if (got & (POLLERR | POLLHUP | POLLNVAL))
		mask |= CURL_CSELECT_ERR;
	return mask;
}

/* One that something has come for, and libcurl has not been told of yet. */
static struct multi_socket *next_got(struct multi *multi)
{
	for (size_t i = 0; i < multi->count; i++)
		if (multi->socket[i].got != 0)
			return &multi->socket[i];
	return NULL;
}

/* What libcurl makes of it is told by multi_ended: an error of a transfer is that transfer's. */
static void act(struct multi *multi, curl_socket_t fd, int mask)
{
	int running;

	(void)curl_multi_socket_action(multi->curl, fd, mask, &running);
}

void multi_work(struct multi *multi, const struct waits *waits)
{
	struct multi_socket *socket;

	for (size_t i = 0; i < multi->count; i++)
		multi->socket[i].got = waits_got(waits, multi->socket[i].place);
	/* Each call may add sockets and take some away. */
	while ((socket = next_got(multi)) != NULL) {
		const short got = socket->got;

		socket->got = 0;
		act(multi, socket->fd, mask_of(got));
	}
	if (multi->due_ms != -1 && multi->due_ms <= clock_monotonic()) {
		multi->due_ms = -1;
		act(multi, CURL_SOCKET_TIMEOUT, 0);
	}
}

CURL *multi_ended(struct multi *multi, CURLcode *result)
{
	CURLMsg *info;
	int left;

	while ((info = curl_multi_info_read(multi->curl, &left)) != NULL) {
		if (info->msg != CURLMSG_DONE)
			continue;
		*result = info->data.result;
		return info->easy_handle;
	}
	return NULL;
}
