/*
 * http_transfer: one request to an API and its answer, through libcurl.
 *
 * A request goes out once and never again. Libcurl would send it a second time where a connection
 * breaks that was used before; but once a byte of the body has gone out nobody knows what became of
 * it, and mail is not sent twice for that.
 */
#ifndef MAILDRAIN_HTTP_TRANSFER_H
#define MAILDRAIN_HTTP_TRANSFER_H

#include <curl/curl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config.h"
#include "http_answer.h"
#include "http_request.h"
#include "message.h"

struct http_transfer {
	const struct relay_config *relay; /* the caller's */
	CURL *easy;			  /* kept from one request to the next if it may be */
	struct message *message;	  /* the caller's; NULL: none is under way here */
	struct http_request request;
	struct http_body body;
	struct curl_slist *header;
	curl_mime *form;
	char *whole;	 /* the body, where it is signed; NULL: it is streamed */
	bool begun;	 /* a connection is there, and the request goes out */
	curl_off_t sent; /* octets of the body that are out */
	int64_t progress_ms;
	char *answer; /* the body of it */
	size_t answer_len;
	char error[CURL_ERROR_SIZE]; /* libcurl's words */
};

/* How much of a request has gone out, or may have. */
enum http_extent { HTTP_NOTHING, HTTP_PART, HTTP_WHOLE };

/*
 * Readies TRANSFER for its request, which is made, and puts it into MULTI, unless that is NULL;
 * with MESSAGE, or without one, for verify. What can be wrong is memory, TLS options and the
 * message's file; then it has not begun, and is to be ended all the same.
 */
CURLcode http_transfer_begin(struct http_transfer *transfer, CURLM *multi,
    const struct relay_config *relay, struct message *message);

/* The milliseconds that it may still take as it is; INT64_MAX while libcurl counts by itself. */
int64_t http_transfer_time_left(const struct http_transfer *transfer, int64_t now_ms);

enum http_extent http_transfer_extent(const struct http_transfer *transfer);

/*
 * What has been answered, for as long as TRANSFER is under way; false when nothing has. To be given
 * back by http_answer_free.
 */
bool http_transfer_answer(const struct http_transfer *transfer, struct http_answer *answer);
void http_answer_free(struct http_answer *answer);

/* Takes it out of MULTI and forgets it; what is still going out stops. */
void http_transfer_end(struct http_transfer *transfer, CURLM *multi);
void http_transfer_free(struct http_transfer *transfer);

#endif
