/*
 * The transport of HTTP APIs: many requests under way at a time, in one thread, over as few
 * connections as libcurl needs for them. With HTTP/2 that is one for many requests.
 *
 * One request hands over one message, and its answer counts for all of its recipients.
 */
#include "transport.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#include "clock.h"
#include "http_api.h"
#include "http_mask.h"
#include "http_probe.h"
#include "http_transfer.h"
#include "multi.h"
#include "results.h"

#define STRIKES_MAX 3 /* requests in a row that were lost without an answer */
#define HEAD_START_MS                                                                              \
	1000		  /* the first request is alone for so long, or until its answer: a relay  \
			     that is down, or a wrong password, is met once */
#define UNDER_WAY_MAX 100 /* requests: each may hold two descriptors, and 100 KB */
#define BYTES_MAX     (UINT64_C(32) << 20) /* bytes under way behind which none is begun */
#define FINISH_MS     3000		   /* for the answers that are due at the end */

static const char LATE[] = "the relay did not answer in time";

struct transport {
	const struct relay_config *relay;
	const struct credential *credential;
	struct credential own; /* where the caller has none */
	const struct http_api *api;
	struct multi multi;
	struct http_transfer *transfer;
	size_t room;	  /* of that */
	size_t count;	  /* under way */
	uint64_t bytes;	  /* of those */
	int64_t first_ms; /* when the first request began, monotonic; 0: none has */
	bool answered;
	bool multiplexed; /* it speaks HTTP/2 */
	bool refused;
	bool down;
	unsigned strikes;
	struct results done;
	char why[REPLY_TEXT_MAX];
};

static const char *http_version(void)
{
	return curl_version();
}

static void hand_back(struct transport *transport, struct message *message)
{
	results_add(&transport->done, message);
}

static void set_why(struct transport *transport, const char *text)
{
	(void)snprintf(transport->why, sizeof transport->why, "%.*s", REPLY_TEXT_MAX - 1, text);
	http_mask(transport->credential, transport->why);
}

/* ---- what becomes of a request ---- */

/* Takes the message back from TRANSFER, which is through. */
static void leave(
    struct transport *transport, struct http_transfer *transfer, enum message_verdict verdict)
{
	struct message *message = transfer->message;

	message->verdict = verdict;
	transport->count--;
	transport->bytes -= transfer->body.size;
	http_transfer_end(transfer, transport->multi.curl);
	hand_back(transport, message);
}

/* Each recipient that is served now has been asked for, and has the one answer. */
static void settle(struct message *message, const struct http_result *result)
{
	static const enum recipient_state states[] = {
	    [HTTP_SENT] = RECIPIENT_DONE,
	    [HTTP_DEFERRED] = RECIPIENT_DEFERRED,
	    [HTTP_FAILED] = RECIPIENT_FAILED,
	};
	struct envelope *envelope = &message->envelope;

	for (size_t i = 0; i < envelope->count; i++)
		if (envelope->recipient[i].state == RECIPIENT_TODO)
			envelope->recipient[i].asked = true;
	message->slow_down = result->slow_down;
	message->retry_after = result->retry_after;
	if (result->outcome == HTTP_FAILED && result->refuses_sender)
		message->refused_at_mail = 550;
	message_settle(message, states[result->outcome], result->status, result->text);
}

static void take_answer(
    struct transport *transport, struct http_transfer *transfer, const struct http_answer *answer)
{
	struct http_result result;
	long version = 0;

	http_result_begin(&result, answer);
	if (transport->api->judge != NULL)
		transport->api->judge(&result, answer);
	http_result_end(&result, answer);
	http_mask(transport->credential, result.text);
	http_result_cut(&result);
	transport->answered = true;
	transport->strikes = 0;
	if (curl_easy_getinfo(transfer->easy, CURLINFO_HTTP_VERSION, &version) == CURLE_OK)
		transport->multiplexed = version == CURL_HTTP_VERSION_2_0;
	if (result.outcome == HTTP_RELAY_FAULT) {
		transport->refused = true;
		set_why(transport, result.text);
		leave(transport, transfer, MESSAGE_UNTRIED);
		return;
	}
	settle(transfer->message, &result);
	leave(transport, transfer, MESSAGE_SETTLED);
}

/*
 * No answer. What was not begun costs nothing; what was is charged, as the message itself may be
 * what the relay does not survive; and what was given out whole may have arrived.
 */
static void lose(struct transport *transport, struct http_transfer *transfer, const char *why)
{
	const enum http_extent extent = http_transfer_extent(transfer);
	struct message *message = transfer->message;

	set_why(transport, why);
	if (++transport->strikes >= STRIKES_MAX || (extent == HTTP_NOTHING && !transport->answered))
		transport->down = true;
	if (extent == HTTP_NOTHING) {
		leave(transport, transfer, MESSAGE_UNTRIED);
		return;
	}
	message->in_doubt = extent == HTTP_WHOLE;
	message_settle(message, RECIPIENT_DEFERRED, "4.4.2", transport->why);
	leave(transport, transfer, MESSAGE_SETTLED);
}

/* The message's own file is at fault. */
static void give_up_file(struct transport *transport, struct http_transfer *transfer)
{
	message_settle(transfer->message, RECIPIENT_DEFERRED, "4.3.0",
	    "the message file changed while it was sent");
	leave(transport, transfer, MESSAGE_SETTLED);
}

/* Libcurl's own words name the cause, say an expired certificate. */
static const char *cause(const struct http_transfer *transfer, CURLcode code)
{
	if (code == CURLE_ABORTED_BY_CALLBACK || code == CURLE_SEND_FAIL_REWIND)
		return "the connection was lost";
	return transfer->error[0] != '\0' ? transfer->error : curl_easy_strerror(code);
}

/*
 * WHY says what has ended it. An answer that has begun counts, also where its end is missing, late
 * or more than we read. But who says yes to a part, and leaves, has not got the message.
 */
static void take_ended(struct transport *transport, struct http_transfer *transfer, const char *why)
{
	const bool whole = http_transfer_extent(transfer) == HTTP_WHOLE;
	struct http_answer answer;

	if (transfer->body.broken) {
		give_up_file(transport, transfer);
		return;
	}
	if (!http_transfer_answer(transfer, &answer))
		lose(transport, transfer, why);
	else if (answer.code / 100 == 2 && !whole)
		lose(transport, transfer, "it answered before it had the whole message");
	else
		take_answer(transport, transfer, &answer);
	http_answer_free(&answer);
}

/* ---- how much may be under way ---- */

static bool has_head_start(const struct transport *transport)
{
	if (transport->answered || transport->first_ms == 0)
		return false;
	return clock_monotonic() - transport->first_ms < HEAD_START_MS;
}

static size_t allowed(const struct transport *transport)
{
	if (has_head_start(transport))
		return 1;
	return transport->multiplexed ? transport->room : transport->relay->connections;
}

static bool http_ready(struct transport *transport, size_t waiting)
{
	(void)waiting;
	return !transport->refused && !transport->down && transport->count < allowed(transport) &&
	       transport->count < transport->room && transport->bytes < BYTES_MAX;
}

static struct http_transfer *idle_transfer(struct transport *transport)
{
	for (size_t i = 0; i < transport->room; i++)
		if (transport->transfer[i].message == NULL)
			return &transport->transfer[i];
	return NULL;
}

/* What the request can't be made for is settled at once, without a word to the relay. */
static bool make_request(
    struct transport *transport, struct http_transfer *transfer, struct message *message)
{
	struct http_request *request = &transfer->request;

	http_request_begin(request);
	transport->api->make(request, transport->relay, transport->credential, message);
	if (request->status[0] == '\0')
		return true;
	message_settle(message, RECIPIENT_FAILED, request->status, request->text);
	message->verdict = MESSAGE_SETTLED;
	hand_back(transport, message);
	return false;
}

static void http_submit(struct transport *transport, struct message *message)
{
	struct http_transfer *transfer = idle_transfer(transport);
	CURLcode code;

	message->next = NULL;
	if (!make_request(transport, transfer, message))
		return;
	code = http_transfer_begin(transfer, transport->multi.curl, transport->relay, message);
	transfer->message = message;
	transport->count++;
	transport->bytes += transfer->body.size;
	if (transport->first_ms == 0)
		transport->first_ms = clock_monotonic();
	if (transfer->body.broken)
		give_up_file(transport, transfer);
	else if (code != CURLE_OK)
		lose(transport, transfer, cause(transfer, code));
}

/* Once it is out as a whole there is nothing left to stop. */
static void http_withdraw(struct transport *transport, struct message *message)
{
	for (size_t i = 0; i < transport->room; i++) {
		struct http_transfer *transfer = &transport->transfer[i];

		if (transfer->message == message && http_transfer_extent(transfer) != HTTP_WHOLE)
			leave(transport, transfer, MESSAGE_UNTRIED);
	}
}

/* ---- waiting ---- */

static void check_times(struct transport *transport, struct waits *waits)
{
	const int64_t now_ms = clock_monotonic();

	for (size_t i = 0; i < transport->room; i++) {
		struct http_transfer *transfer = &transport->transfer[i];
		int64_t left;

		if (transfer->message == NULL)
			continue;
		left = http_transfer_time_left(transfer, now_ms);
		if (left <= 0)
			take_ended(transport, transfer, LATE);
		else
			waits_within(waits, left);
	}
}

static void add_waits(struct transport *transport, struct waits *waits)
{
	check_times(transport, waits);
	/* Others may be let go when the head start is over. */
	if (has_head_start(transport))
		waits_within(waits, HEAD_START_MS);
	multi_prepare(&transport->multi, waits);
}

static void http_prepare(struct transport *transport, struct waits *waits)
{
	add_waits(transport, waits);
	if (transport->done.first != NULL)
		waits_within(waits, 0);
}

static struct http_transfer *find_transfer(struct transport *transport, CURL *easy)
{
	for (size_t i = 0; i < transport->room; i++)
		if (transport->transfer[i].easy == easy)
			return &transport->transfer[i];
	return NULL;
}

static void http_work(struct transport *transport, const struct waits *waits)
{
	CURLcode code;
	CURL *easy;

	multi_work(&transport->multi, waits);
	while ((easy = multi_ended(&transport->multi, &code)) != NULL) {
		struct http_transfer *transfer = find_transfer(transport, easy);

		take_ended(transport, transfer, cause(transfer, code));
	}
}

static struct message *http_result(struct transport *transport)
{
	return results_take(&transport->done);
}

static enum transport_state http_state(struct transport *transport, const char **why)
{
	*why = transport->why;
	if (transport->refused)
		return TRANSPORT_MISCONFIGURED;
	if (transport->down)
		return TRANSPORT_DOWN;
	return transport->answered ? TRANSPORT_UP : TRANSPORT_OPENING;
}

/* ---- beginning and end ---- */

/* What has not gone out stays here. */
static void drop_unsent(struct transport *transport)
{
	for (size_t i = 0; i < transport->room; i++) {
		struct http_transfer *transfer = &transport->transfer[i];

		if (transfer->message != NULL && http_transfer_extent(transfer) == HTTP_NOTHING)
			leave(transport, transfer, MESSAGE_UNTRIED);
	}
}

static void http_finish(struct transport *transport)
{
	const int64_t until = clock_monotonic() + FINISH_MS;
	struct waits waits = {.fd = NULL};
	int64_t left = FINISH_MS;
	struct error err;

	drop_unsent(transport);
	while (transport->count > 0 && left > 0) {
		waits_begin(&waits, left);
		add_waits(transport, &waits);
		if (waits_wait(&waits, &err) == -1)
			break;
		http_work(transport, &waits);
		left = until - clock_monotonic();
	}
	waits_free(&waits);
	for (size_t i = 0; i < transport->room; i++)
		if (transport->transfer[i].message != NULL)
			take_ended(transport, &transport->transfer[i], LATE);
}

static void http_close(struct transport *transport)
{
	if (transport == NULL)
		return;
	for (size_t i = 0; transport->transfer != NULL && i < transport->room; i++)
		http_transfer_free(&transport->transfer[i]);
	multi_close(&transport->multi);
	free(transport->transfer);
	free(transport);
	curl_global_cleanup();
}

static CURLMcode set_limits(CURLM *multi, const struct relay_config *relay)
{
	CURLMcode code = curl_multi_setopt(multi, CURLMOPT_PIPELINING, CURLPIPE_MULTIPLEX);

	if (code == CURLM_OK)
		code = curl_multi_setopt(
		    multi, CURLMOPT_MAX_TOTAL_CONNECTIONS, (long)relay->connections);
	if (code == CURLM_OK)
		code = curl_multi_setopt(
		    multi, CURLMOPT_MAX_CONCURRENT_STREAMS, (long)relay->pipeline);
	return code;
}

static size_t room_for(const struct relay_config *relay)
{
	const size_t most = (size_t)relay->connections * relay->pipeline;

	return most < UNDER_WAY_MAX ? most : UNDER_WAY_MAX;
}

static struct transport *http_open(
    const struct relay_config *relay, const struct credential *credential, struct error *err)
{
	struct transport *transport = NULL;

	if (curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK)
		transport = calloc(1, sizeof *transport);
	if (transport == NULL) {
		error_set(err, EX_OSERR, "can't start libcurl: out of memory");
		return NULL;
	}
	transport->relay = relay;
	transport->credential = http_api_credential(relay, credential, &transport->own);
	transport->api = http_api_of(relay->kind);
	transport->room = room_for(relay);
	transport->transfer = calloc(transport->room, sizeof *transport->transfer);
	if (transport->transfer == NULL || multi_open(&transport->multi) == -1 ||
	    set_limits(transport->multi.curl, relay) != CURLM_OK) {
		http_close(transport);
		error_set(err, EX_OSERR, "can't start the requests: out of memory");
		return NULL;
	}
	return transport;
}

__attribute__((visibility("default"))) const struct transport_kind transport_kind = {
    .made_for = MAILDRAIN_VERSION,
    .version = http_version,
    .open = http_open,
    .ready = http_ready,
    .submit = http_submit,
    .withdraw = http_withdraw,
    .prepare = http_prepare,
    .work = http_work,
    .result = http_result,
    .state = http_state,
    .finish = http_finish,
    .close = http_close,
    .probe = http_probe,
};
