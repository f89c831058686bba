/*
 * http_request: one request to an API for mail, as its texts, and its body as a stream. No I/O but
 * of the message's file.
 *
 * The body is BEFORE, then FRONT and the message (as they are or in base64), then AFTER; or a form
 * of several parts, of which the message is the last.
 */
#ifndef MAILDRAIN_HTTP_REQUEST_H
#define MAILDRAIN_HTTP_REQUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "arena.h"
#include "message.h"

#define HTTP_HEADERS_MAX 64 /* lines of one request */
#define HTTP_BODY_LEAST	 64 /* bytes in which a body is read */

struct http_request {
	struct arena arena; /* owns the texts */
	const char *url;
	const char *header[HTTP_HEADERS_MAX]; /* "Name: value" */
	size_t header_count;
	const char *user; /* for Basic, or of the keys that sign; NULL: none */
	const char *password;
	const char *token; /* for Bearer, in place of both; NULL: none */
	const char *sign;  /* CURLOPT_AWS_SIGV4; NULL: not signed */
	const char *before;
	const char *front; /* header fields that stand before the message's own */
	const char *after;
	bool base64;		/* FRONT and the message are encoded */
	const char *recipients; /* a form: the name of a part for each recipient; NULL: no form */
	const char *part;	/* and that of the message */
	bool post;		/* of a request without a message: not GET */
	bool failed;		/* out of memory, or too many lines */
	char status[12];	/* it can't go this way: why, for the recipients' results; or "" */
	char text[1024];
};

/* Forgets all; REQUEST is zeroed before its first use. */
void http_request_begin(struct http_request *request);
void http_request_free(struct http_request *request);

/* A text in the arena; "" without memory, and then the request is failed. */
const char *http_request_text(struct http_request *request, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* One line "Name: value" more. */
void http_request_header(struct http_request *request, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* TEXT[0..LEN) as it may stand in a URL or a header, RFC 3986 section 2.1. */
const char *http_request_escaped(struct http_request *request, const char *text, size_t len);

/* ENDPOINT without slashes at its end, and PATH. */
void http_request_url(struct http_request *request, const char *endpoint, const char *path);

/* The message must not go this way. */
void http_request_refuse(struct http_request *request, const char *status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* How far the body is read. */
struct http_body {
	const struct http_request *request;
	struct message *message;
	unsigned piece;	 /* 0 to 3: before, front, message, after */
	size_t pos;	 /* in a text */
	char carried[3]; /* bytes that wait for a third one */
	size_t carried_len;
	char spare[HTTP_BODY_LEAST]; /* bytes that were more than was asked for */
	size_t spare_pos;
	size_t spare_len;
	bool message_ended;
	uint64_t given;
	uint64_t size; /* in all */
	bool broken;   /* the message's file is not what it was */
};

/* REQUEST and MESSAGE, loaded and not read from yet, outlive BODY. */
void http_body_begin(
    struct http_body *body, const struct http_request *request, struct message *message);

/* The next bytes, up to SIZE, 1 or more. 0 at the end; -1 when the message can't be read. */
ssize_t http_body_read(struct http_body *body, char *out, size_t size);

/* Whether every byte has been given out. */
bool http_body_is_given(const struct http_body *body);

#endif
