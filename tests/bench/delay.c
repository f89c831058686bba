/*
 * delay PORT MICROSECONDS: a relay to PORT on loopback that holds every byte for MICROSECONDS,
 * half of a round trip, in each direction. Says on stdout at which port it listens.
 *
 * The other side is called one and a half round trips after the client was accepted, as a handshake
 * over such a distance makes it. All bytes are held equally long, so one list in the order of their
 * arrival is in the order of their times. Up to HELD_MAX bytes are held in each direction of a
 * connection: at 25 ms that is 2.5 GB/s, which is no limit to what is measured here.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define HELD_MAX   ((size_t)64 << 20)
#define CHUNK_SIZE ((size_t)256 << 10)
#define EVENTS	   256
#define BACKLOG	   4096

struct link;

/* Bytes of one direction, or its end when there are none. */
struct chunk {
	STAILQ_ENTRY(chunk) next;
	int64_t due;
	struct side *to;
	size_t len;
	size_t sent;
	char bytes[];
};

STAILQ_HEAD(chunks, chunk);

/* One socket of a link: what comes from the other side goes out here. */
struct side {
	struct link *link;
	struct side *other;
	int fd;
	bool readable;	   /* there may be more to read */
	bool read_end;	   /* the peer has said all, and that is under way to the other side */
	bool write_end;	   /* nothing more goes out */
	size_t held;	   /* bytes under way to this side */
	struct chunks out; /* what is due */
};

struct link {
	STAILQ_ENTRY(link) next;
	int64_t due; /* when the other side is called */
	struct side client;
	struct side server;
	size_t chunks; /* on their way */
	bool over;
};

STAILQ_HEAD(links, link);

struct relay {
	int epoll;
	int listener;
	uint16_t port;
	int64_t delay; /* nanoseconds */
	struct chunks held;
	struct links waiting; /* for the other side to be called */
	struct links over;    /* freed when no event can name them any more */
	char *buffer;	      /* of CHUNK_SIZE */
};

static int64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void *allocated(void *memory)
{
	if (!memory) {
		fputs("delay: out of memory\n", stderr);
		exit(71);
	}
	return memory;
}

static void watch(struct relay *relay, struct side *side)
{
	struct epoll_event event = {
	    .events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = side};
	int on = 1;

	setsockopt(side->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	if (epoll_ctl(relay->epoll, EPOLL_CTL_ADD, side->fd, &event)) {
		perror("delay: epoll_ctl");
		exit(71);
	}
}

static void link_end_when_over(struct relay *relay, struct link *link)
{
	if (link->over || link->chunks || !link->client.write_end || !link->server.write_end)
		return;
	close(link->client.fd);
	close(link->server.fd);
	link->over = true;
	STAILQ_INSERT_TAIL(&relay->over, link, next);
}

static void free_what_is_over(struct relay *relay)
{
	struct link *link;

	while ((link = STAILQ_FIRST(&relay->over))) {
		STAILQ_REMOVE_HEAD(&relay->over, next);
		free(link);
	}
}

static void chunk_forget(struct chunk *chunk)
{
	chunk->to->held -= chunk->len;
	chunk->to->link->chunks--;
	free(chunk);
}

/* Nothing more goes out at SIDE, and the other one need not say more. */
static void side_end(struct side *side)
{
	if (!side->write_end)
		shutdown(side->fd, SHUT_WR);
	side->write_end = true;
}

/* Writes the first chunk that is due at SIDE. False: the peer does not take it all now. */
static bool chunk_write(struct side *side, struct chunk *chunk)
{
	while (chunk->sent < chunk->len && !side->write_end) {
		ssize_t n = send(
		    side->fd, chunk->bytes + chunk->sent, chunk->len - chunk->sent, MSG_NOSIGNAL);

		if (n < 0 && errno == EAGAIN)
			return false;
		if (n < 0) {
			side_end(side);
			shutdown(side->other->fd, SHUT_RD);
		} else {
			chunk->sent += (size_t)n;
		}
	}
	if (chunk->len == 0)
		side_end(side);
	return true;
}

static void hold(struct relay *relay, struct side *to, const char *bytes, size_t len)
{
	struct chunk *chunk = allocated(malloc(sizeof(*chunk) + len));

	chunk->due = now() + relay->delay;
	chunk->to = to;
	chunk->len = len;
	chunk->sent = 0;
	memcpy(chunk->bytes, bytes, len);
	to->held += len;
	to->link->chunks++;
	STAILQ_INSERT_TAIL(&relay->held, chunk, next);
}

/* Reads from SIDE as long as there is something, and room to hold it. */
static void side_read(struct relay *relay, struct side *side)
{
	while (side->readable && !side->read_end && side->other->held < HELD_MAX) {
		ssize_t n = recv(side->fd, relay->buffer, CHUNK_SIZE, 0);

		if (n < 0 && errno == EAGAIN) {
			side->readable = false;
		} else if (n <= 0) {
			side->read_end = true;
			hold(relay, side->other, "", 0);
		} else {
			hold(relay, side->other, relay->buffer, (size_t)n);
		}
	}
}

static void side_write(struct relay *relay, struct side *side)
{
	struct chunk *chunk;

	while ((chunk = STAILQ_FIRST(&side->out)) && chunk_write(side, chunk)) {
		STAILQ_REMOVE_HEAD(&side->out, next);
		chunk_forget(chunk);
	}
	side_read(relay, side->other);
	link_end_when_over(relay, side->link);
}

static void side_init(struct side *side, struct link *link, struct side *other, int fd)
{
	side->link = link;
	side->other = other;
	side->fd = fd;
	STAILQ_INIT(&side->out);
}

static void accept_all(struct relay *relay)
{
	int fd;

	while ((fd = accept4(relay->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
		struct link *link = allocated(calloc(1, sizeof(*link)));

		link->due = now() + 3 * relay->delay;
		side_init(&link->client, link, &link->server, fd);
		STAILQ_INSERT_TAIL(&relay->waiting, link, next);
	}
}

static int call(uint16_t port)
{
	struct sockaddr_in address = {.sin_family = AF_INET,
	    .sin_port = htons(port),
	    .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	/* On loopback it is accepted or refused at once, or when the other end has room. */
	if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof(address)) &&
	    errno != EINPROGRESS) {
		close(fd);
		return -1;
	}
	return fd;
}

static void link_call(struct relay *relay, struct link *link)
{
	int fd = call(relay->port);

	if (fd < 0) {
		close(link->client.fd);
		free(link);
		return;
	}
	side_init(&link->server, link, &link->client, fd);
	link->client.readable = true;
	watch(relay, &link->client);
	watch(relay, &link->server);
}

static void do_what_is_due(struct relay *relay)
{
	int64_t t = now();
	struct chunk *chunk;
	struct link *link;

	while ((link = STAILQ_FIRST(&relay->waiting)) && link->due <= t) {
		STAILQ_REMOVE_HEAD(&relay->waiting, next);
		link_call(relay, link);
	}
	while ((chunk = STAILQ_FIRST(&relay->held)) && chunk->due <= t) {
		STAILQ_REMOVE_HEAD(&relay->held, next);
		STAILQ_INSERT_TAIL(&chunk->to->out, chunk, next);
		side_write(relay, chunk->to);
	}
}

/* When something is due next; NULL: nothing. */
static struct timespec *next_due(const struct relay *relay, struct timespec *left)
{
	const struct chunk *chunk = STAILQ_FIRST(&relay->held);
	const struct link *link = STAILQ_FIRST(&relay->waiting);
	int64_t due = chunk ? chunk->due : INT64_MAX;

	if (link && link->due < due)
		due = link->due;
	if (due == INT64_MAX)
		return NULL;
	due -= now();
	if (due < 0)
		due = 0;
	left->tv_sec = due / 1000000000;
	left->tv_nsec = due % 1000000000;
	return left;
}

static void handle(struct relay *relay, const struct epoll_event *event)
{
	struct side *side = event->data.ptr;

	if (!side) {
		accept_all(relay);
		return;
	}
	if (event->events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) {
		side->readable = true;
		side_read(relay, side);
	}
	if (event->events & EPOLLOUT && !STAILQ_EMPTY(&side->out))
		side_write(relay, side);
}

static void serve(struct relay *relay)
{
	struct epoll_event event[EVENTS];

	for (;;) {
		struct timespec left;
		int n = epoll_pwait2(relay->epoll, event, EVENTS, next_due(relay, &left), NULL);

		for (int i = 0; i < n; i++)
			handle(relay, &event[i]);
		do_what_is_due(relay);
		free_what_is_over(relay);
	}
}

/* Returns the port, or 0 with errno. */
static uint16_t listen_anywhere(struct relay *relay)
{
	struct sockaddr_in address = {
	    .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
	socklen_t len = sizeof(address);

	relay->listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (relay->listener < 0 ||
	    bind(relay->listener, (struct sockaddr *)&address, sizeof(address)) ||
	    listen(relay->listener, BACKLOG) ||
	    getsockname(relay->listener, (struct sockaddr *)&address, &len) ||
	    epoll_ctl(relay->epoll, EPOLL_CTL_ADD, relay->listener, &event))
		return 0;
	return ntohs(address.sin_port);
}

int main(int argc, char **argv)
{
	struct relay relay = {.epoll = epoll_create1(EPOLL_CLOEXEC)};
	uint16_t port;

	if (argc != 3)
		return 64;
	relay.port = (uint16_t)atoi(argv[1]);
	relay.delay = (int64_t)atol(argv[2]) * 1000;
	relay.buffer = allocated(malloc(CHUNK_SIZE));
	STAILQ_INIT(&relay.held);
	STAILQ_INIT(&relay.waiting);
	STAILQ_INIT(&relay.over);
	port = listen_anywhere(&relay);
	if (!port) {
		perror("delay: listen");
		free(relay.buffer);
		return 71;
	}
	printf("%u\n", (unsigned)port);
	fflush(stdout);
	serve(&relay);
}
