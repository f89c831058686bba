#include "http_transfer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "clock.h"
#include "curltls.h"

#define RETRY_AFTER_MAX 86400 /* seconds; who says more is not believed */
#define BLOCK		65536 /* octets to be taken within timeout_block */

/* ---- options ---- */

static bool is_https(const struct relay_config *relay)
{
	return strncmp(relay->endpoint, "https:", 6) == 0;
}

static CURLcode set_login(CURL *easy, const struct http_request *request)
{
	CURLcode code = CURLE_OK;

	if (request->token != NULL) {
		code = curl_easy_setopt(easy, CURLOPT_HTTPAUTH, CURLAUTH_BEARER);
		if (code == CURLE_OK)
			code = curl_easy_setopt(easy, CURLOPT_XOAUTH2_BEARER, request->token);
		return code;
	}
	if (request->sign != NULL)
		code = curl_easy_setopt(easy, CURLOPT_AWS_SIGV4, request->sign);
	else
		code = curl_easy_setopt(easy, CURLOPT_HTTPAUTH, CURLAUTH_BASIC);
	if (code == CURLE_OK && request->user != NULL)
		code = curl_easy_setopt(easy, CURLOPT_USERNAME, request->user);
	if (code == CURLE_OK && request->password != NULL)
		code = curl_easy_setopt(easy, CURLOPT_PASSWORD, request->password);
	return code;
}

static CURLcode set_connection(CURL *easy, const struct relay_config *relay)
{
	CURLcode code =
	    curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, is_https(relay) ? "https" : "http");

	/* Without TLS it is for this host alone, and no proxy may get to see it. */
	if (code == CURLE_OK && !is_https(relay))
		code = curl_easy_setopt(easy, CURLOPT_NOPROXY, "*");
	if (code == CURLE_OK)
		code = curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_2TLS);
	if (code == CURLE_OK)
		code = curl_easy_setopt(easy, CURLOPT_PIPEWAIT, 1L);
	if (code == CURLE_OK)
		code = curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
	if (code == CURLE_OK)
		code = curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT, (long)relay->timeout.connect);
	if (code == CURLE_OK)
		code = curl_easy_setopt(easy, CURLOPT_USERAGENT, "maildrain/" MAILDRAIN_VERSION);
	if (code == CURLE_OK)
		code = curltls_set(easy, relay);
	return code;
}

/* The lines of the request; NULL without memory. */
static struct curl_slist *header_of(const struct http_request *request)
{
	struct curl_slist *header = curl_slist_append(NULL, "Accept: application/json, */*;q=0.5");

	for (size_t i = 0; i < request->header_count && header != NULL; i++) {
		struct curl_slist *more = curl_slist_append(header, request->header[i]);

		if (more == NULL)
			curl_slist_free_all(header);
		header = more;
	}
	return header;
}

/* ---- what libcurl asks of us ---- */

/*
 * Before each try. Libcurl tries again by itself where a connection breaks that was used before:
 * once something of the message is out it must not.
 */
static int on_request(void *context, char *remote, char *local, int remote_port, int local_port)
{
	struct http_transfer *transfer = context;
	const bool again = transfer->begun && (transfer->whole != NULL || transfer->body.given > 0);

	(void)remote;
	(void)local;
	(void)remote_port;
	(void)local_port;
	transfer->begun = true;
	transfer->progress_ms = clock_monotonic();
	return again ? CURL_PREREQFUNC_ABORT : CURL_PREREQFUNC_OK;
}

static size_t on_body(char *out, size_t size, size_t count, void *context)
{
	struct http_transfer *transfer = context;
	const ssize_t n = http_body_read(&transfer->body, out, size * count);

	return n == -1 ? CURL_READFUNC_ABORT : (size_t)n;
}

/*
 * Of a body that libcurl has as a whole nothing else tells that it goes out. Less than a block is
 * no progress, so that nobody can take octet after octet for days.
 */
static int on_progress(
    void *context, curl_off_t in_all, curl_off_t in, curl_off_t out_all, curl_off_t out)
{
	struct http_transfer *transfer = context;

	(void)in_all;
	(void)in;
	(void)out_all;
	if (out == transfer->sent)
		return 0;
	if (out / BLOCK != transfer->sent / BLOCK || (uint64_t)out >= transfer->body.size)
		transfer->progress_ms = clock_monotonic();
	transfer->sent = out;
	return 0;
}

/* Of a long answer its start will do. */
static size_t on_answer(char *bytes, size_t size, size_t count, void *context)
{
	struct http_transfer *transfer = context;
	const size_t room = HTTP_ANSWER_MAX - transfer->answer_len;
	const size_t len = size * count < room ? size * count : room;
	char *more = realloc(transfer->answer, transfer->answer_len + len + 1);

	if (more == NULL)
		return 0;
	transfer->answer = more;
	memcpy(more + transfer->answer_len, bytes, len);
	transfer->answer_len += len;
	return len;
}

static CURLcode set_callbacks(struct http_transfer *transfer)
{
	CURL *easy = transfer->easy;
	CURLcode code = curl_easy_setopt(easy, CURLOPT_PREREQFUNCTION, on_request);

	if (code == CURLE_OK)
		code = curl_easy_setopt(easy, CURLOPT_PREREQDATA, transfer);
	if (code == CURLE_OK)
		code = curl_easy_setopt(easy, CURLOPT_XFERINFOFUNCTION, on_progress);
	if (code == CURLE_OK)
		code = curl_easy_setopt(easy, CURLOPT_XFERINFODATA, transfer);
	if (code == CURLE_OK)
		code = curl_easy_setopt(easy, CURLOPT_NOPROGRESS, 0L);
	if (code == CURLE_OK)
		code = curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_answer);
	if (code == CURLE_OK)
		code = curl_easy_setopt(easy, CURLOPT_WRITEDATA, transfer);
	if (code == CURLE_OK)
		code = curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, transfer->error);
	if (code == CURLE_OK)
		code = curl_easy_setopt(easy, CURLOPT_PRIVATE, transfer);
	return code;
}

/* ---- bodies ---- */

static CURLcode set_streamed(struct http_transfer *transfer)
{
	CURL *easy = transfer->easy;
	CURLcode code = curl_easy_setopt(easy, CURLOPT_POST, 1L);

	if (code == CURLE_OK)
		code = curl_easy_setopt(
		    easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)transfer->body.size);
	if (code == CURLE_OK)
		code = curl_easy_setopt(easy, CURLOPT_READFUNCTION, on_body);
	if (code == CURLE_OK)
		code = curl_easy_setopt(easy, CURLOPT_READDATA, transfer);
	return code;
}

/* What is signed must be there as a whole before its first byte goes out. */
static CURLcode set_whole(struct http_transfer *transfer)
{
	const size_t size = (size_t)transfer->body.size;
	size_t len = 0;
	CURLcode code;

	transfer->whole = malloc(size + 1);
	if (transfer->whole == NULL)
		return CURLE_OUT_OF_MEMORY;
	while (len < size) {
		const ssize_t n =
		    http_body_read(&transfer->body, transfer->whole + len, size - len);

		if (n <= 0)
			return CURLE_READ_ERROR;
		len += (size_t)n;
	}
	code = curl_easy_setopt(transfer->easy, CURLOPT_POSTFIELDS, transfer->whole);
	if (code == CURLE_OK)
		code =
		    curl_easy_setopt(transfer->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)len);
	return code;
}

static CURLcode add_recipient(struct http_transfer *transfer, const char *address)
{
	curl_mimepart *part = curl_mime_addpart(transfer->form);
	CURLcode code;

	if (part == NULL)
		return CURLE_OUT_OF_MEMORY;
	code = curl_mime_name(part, transfer->request.recipients);
	return code == CURLE_OK ? curl_mime_data(part, address, CURL_ZERO_TERMINATED) : code;
}

static CURLcode add_message(struct http_transfer *transfer)
{
	curl_mimepart *part = curl_mime_addpart(transfer->form);
	CURLcode code;

	if (part == NULL)
		return CURLE_OUT_OF_MEMORY;
	code = curl_mime_name(part, transfer->request.part);
	if (code == CURLE_OK)
		code = curl_mime_filename(part, "message.eml");
	if (code == CURLE_OK)
		code = curl_mime_type(part, "message/rfc822");
	if (code == CURLE_OK)
		code = curl_mime_data_cb(
		    part, (curl_off_t)transfer->body.size, on_body, NULL, NULL, transfer);
	return code;
}

static CURLcode set_form(struct http_transfer *transfer)
{
	const struct envelope *envelope = &transfer->message->envelope;
	CURLcode code = CURLE_OK;

	transfer->form = curl_mime_init(transfer->easy);
	if (transfer->form == NULL)
		return CURLE_OUT_OF_MEMORY;
	for (size_t i = 0; i < envelope->count && code == CURLE_OK; i++)
		if (envelope->recipient[i].state == RECIPIENT_TODO)
			code = add_recipient(transfer, envelope->recipient[i].address);
	if (code == CURLE_OK)
		code = add_message(transfer);
	if (code == CURLE_OK)
		code = curl_easy_setopt(transfer->easy, CURLOPT_MIMEPOST, transfer->form);
	return code;
}

static CURLcode set_body(struct http_transfer *transfer)
{
	const struct http_request *request = &transfer->request;

	http_body_begin(&transfer->body, request, transfer->message);
	if (request->recipients != NULL)
		return set_form(transfer);
	return request->sign != NULL ? set_whole(transfer) : set_streamed(transfer);
}

/* All but the body, which verify has none of. */
static CURLcode set_request(struct http_transfer *transfer)
{
	const struct http_request *request = &transfer->request;
	CURL *easy = transfer->easy;
	CURLcode code;

	transfer->header = header_of(request);
	if (request->failed || transfer->header == NULL)
		return CURLE_OUT_OF_MEMORY;
	code = curl_easy_setopt(easy, CURLOPT_URL, request->url);
	if (code == CURLE_OK)
		code = curl_easy_setopt(easy, CURLOPT_HTTPHEADER, transfer->header);
	if (code == CURLE_OK)
		code = set_connection(easy, transfer->relay);
	if (code == CURLE_OK)
		code = set_login(easy, request);
	if (code == CURLE_OK)
		code = set_callbacks(transfer);
	return code;
}

static CURLcode set_all(struct http_transfer *transfer)
{
	CURLcode code = set_request(transfer);

	if (code == CURLE_OK && transfer->message != NULL)
		return set_body(transfer);
	if (code == CURLE_OK && transfer->request.post)
		code = curl_easy_setopt(transfer->easy, CURLOPT_COPYPOSTFIELDS, "");
	return code;
}

CURLcode http_transfer_begin(struct http_transfer *transfer, CURLM *multi,
    const struct relay_config *relay, struct message *message)
{
	CURLcode code;

	if (transfer->easy == NULL)
		transfer->easy = curl_easy_init();
	if (transfer->easy == NULL)
		return CURLE_OUT_OF_MEMORY;
	transfer->relay = relay;
	transfer->message = message;
	transfer->body = (struct http_body){.message = message};
	transfer->begun = false;
	transfer->sent = 0;
	transfer->answer_len = 0;
	transfer->error[0] = '\0';
	code = set_all(transfer);
	if (code == CURLE_OK && multi != NULL &&
	    curl_multi_add_handle(multi, transfer->easy) != CURLM_OK)
		code = CURLE_OUT_OF_MEMORY;
	return code;
}

enum http_extent http_transfer_extent(const struct http_transfer *transfer)
{
	const struct http_body *body = &transfer->body;
	uint64_t given = body->given;
	curl_off_t sent = 0;

	if (!transfer->begun)
		return HTTP_NOTHING;
	/* Of what libcurl has as a whole it tells how much is out; if not, it may be all. */
	if (transfer->whole != NULL &&
	    curl_easy_getinfo(transfer->easy, CURLINFO_SIZE_UPLOAD_T, &sent) == CURLE_OK &&
	    sent > 0)
		given = (uint64_t)sent;
	if (given == 0)
		return HTTP_NOTHING;
	return given < body->size ? HTTP_PART : HTTP_WHOLE;
}

int64_t http_transfer_time_left(const struct http_transfer *transfer, int64_t now_ms)
{
	const struct relay_timeouts *timeout = &transfer->relay->timeout;
	int64_t seconds;

	if (!transfer->begun)
		return INT64_MAX;
	seconds = http_transfer_extent(transfer) == HTTP_WHOLE ? timeout->dot : timeout->block;
	return transfer->progress_ms + seconds * 1000 - now_ms;
}

/* The last one of that NAME in the answer proper; "" without. */
static const char *header_value_of(const struct http_transfer *transfer, const char *name)
{
	struct curl_header *found;

	if (curl_easy_header(transfer->easy, name, 0, CURLH_HEADER, -1, &found) != CURLHE_OK)
		return "";
	return found->value;
}

/* RFC 9110 section 10.2.3: seconds, or a date. */
static int64_t retry_after(const char *value)
{
	const size_t digits = strspn(value, "0123456789");
	int64_t seconds;

	if (value[0] == '\0')
		return 0;
	if (value[digits] == '\0')
		seconds = digits > 9 ? RETRY_AFTER_MAX : strtol(value, NULL, 10);
	else {
		const time_t then = curl_getdate(value, NULL);

		seconds = then == -1 ? 0 : (int64_t)then - clock_now();
	}
	if (seconds > RETRY_AFTER_MAX)
		return RETRY_AFTER_MAX;
	return seconds > 0 ? seconds : 0;
}

bool http_transfer_answer(const struct http_transfer *transfer, struct http_answer *answer)
{
	*answer = (struct http_answer){
	    .body = transfer->answer != NULL ? transfer->answer : "",
	    .len = transfer->answer_len,
	    .error = header_value_of(transfer, "x-amzn-errortype"),
	    .id = header_value_of(transfer, "request-id"),
	    .location = header_value_of(transfer, "location"),
	    .retry_after = retry_after(header_value_of(transfer, "retry-after")),
	};
	if (curl_easy_getinfo(transfer->easy, CURLINFO_RESPONSE_CODE, &answer->code) != CURLE_OK ||
	    answer->code < 200)
		return false;
	answer->json = json_loadb(answer->body, answer->len, JSON_ALLOW_NUL, NULL);
	return true;
}

void http_answer_free(struct http_answer *answer)
{
	json_decref(answer->json);
	answer->json = NULL;
}

/*
 * For the next request. Newer versions of libcurl remember in a handle that a body was to be sent
 * again, through its reset, and then refuse the next one: who got no answer is not used again.
 */
static void put_handle_back(struct http_transfer *transfer)
{
	long code = 0;

	if (transfer->easy == NULL)
		return;
	if (curl_easy_getinfo(transfer->easy, CURLINFO_RESPONSE_CODE, &code) == CURLE_OK &&
	    code >= 200) {
		curl_easy_reset(transfer->easy);
		return;
	}
	curl_easy_cleanup(transfer->easy);
	transfer->easy = NULL;
}

void http_transfer_end(struct http_transfer *transfer, CURLM *multi)
{
	/* Removing a handle that is not in the multi is no error worth a word. */
	if (transfer->easy != NULL && multi != NULL)
		(void)curl_multi_remove_handle(multi, transfer->easy);
	put_handle_back(transfer);
	curl_mime_free(transfer->form);
	curl_slist_free_all(transfer->header);
	free(transfer->whole);
	transfer->form = NULL;
	transfer->header = NULL;
	transfer->whole = NULL;
	transfer->message = NULL;
}

void http_transfer_free(struct http_transfer *transfer)
{
	curl_easy_cleanup(transfer->easy);
	http_request_free(&transfer->request);
	free(transfer->answer);
	*transfer = (struct http_transfer){.easy = NULL};
}
