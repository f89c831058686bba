/*
 * http_answer: what an API has answered, and what that means for the message. Pure.
 */
#ifndef MAILDRAIN_HTTP_ANSWER_H
#define MAILDRAIN_HTTP_ANSWER_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "reply.h"

#define HTTP_ANSWER_MAX ((size_t)64 * 1024) /* bytes of its body that are looked at */
#define HTTP_NAME_MAX	128
#define HTTP_TEXT_MAX	(REPLY_TEXT_MAX + 32 * 1024) /* see http_result_cut */
#define HTTP_SLOW_DOWN	"4.4.5" /* the status that asks for less at a time, RFC 3463 section 3.5 */

struct http_answer {
	long code; /* 200 to 599 */
	const char *body;
	size_t len;
	json_t *json;	      /* BODY as that, or NULL */
	const char *error;    /* x-amzn-errortype; "" when absent, as the next three */
	const char *id;	      /* request-id */
	const char *location; /* of a redirection */
	int64_t retry_after;  /* seconds, of Retry-After; 0: not given */
};

enum http_outcome {
	HTTP_SENT,
	HTTP_DEFERRED,
	HTTP_FAILED,	 /* it is the message's fault */
	HTTP_RELAY_FAULT /* a person must look: no message is charged */
};

struct http_result {
	enum http_outcome outcome;
	char status[12]; /* RFC 3463 */
	bool slow_down;
	int64_t retry_after;
	bool refuses_sender;	  /* failed, and so will all mail of this sender */
	char name[HTTP_NAME_MAX]; /* of the error, as the provider calls it; or "" */
	char text[HTTP_TEXT_MAX]; /* "400 5.0.0 Name: words", as fit to be shown as reply.h's */
};

/*
 * What the code says, RFC 9110 section 15, and the name of the error. An API may know better, and
 * change it before the text is made.
 */
void http_result_begin(struct http_result *result, const struct http_answer *answer);

/* It is OUTCOME, whatever the code says, with STATUS. */
void http_result_set(struct http_result *result, enum http_outcome outcome, const char *status);

/* Makes the text, as far as it fits. */
void http_result_end(struct http_result *result, const struct http_answer *answer);

/*
 * Cuts the text to what is kept of a reply. It is longer until then, so that a secret that begins
 * in what is kept is there as a whole to be found and masked.
 */
void http_result_cut(struct http_result *result);

/* The string at PATH of JSON, keys with dots between, "error.message"; NULL when there is none. */
const char *http_json_text(const json_t *json, const char *path);

/*
 * Appends TEXT[0..LEN) to OUT, of SIZE bytes, as far as it fits: control characters and what is no
 * UTF-8 as "?", white space as one space.
 */
void http_words_add(char *out, size_t size, const char *text, size_t len);

#endif
