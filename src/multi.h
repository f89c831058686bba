/*
 * multi: libcurl's transfers beside other waits. For the modules that link libcurl.
 *
 * A multi handle that is told when its sockets are ready, so that these stand in one poll(2) with
 * all else.
 */
#ifndef MAILDRAIN_MULTI_H
#define MAILDRAIN_MULTI_H

#include <curl/curl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "waits.h"

struct multi_socket {
	curl_socket_t fd;
	short events;
	size_t place; /* in the waits */
	short got;
};

struct multi {
	CURLM *curl; /* for curl_multi_add_handle and options */
	struct multi_socket *socket;
	size_t count;
	size_t room;
	int64_t due_ms; /* when libcurl wants to be called, monotonic; -1: not by the clock */
};

/* MULTI must not move as long as it is open. 0, or -1 without memory. */
int multi_open(struct multi *multi);

/* All easy handles are out of it. */
void multi_close(struct multi *multi);

void multi_prepare(struct multi *multi, struct waits *waits);

/* Moves the bytes; WAITS is the one of multi_prepare, waited for. */
void multi_work(struct multi *multi, const struct waits *waits);

/* The next transfer that has ended, with its RESULT; NULL: none. */
CURL *multi_ended(struct multi *multi, CURLcode *result);

#endif
