/* The SMTP transport, and that of LMTP: as many sessions as the relay allows, in one thread. */
#include "transport.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sysexits.h>

#include "clock.h"
#include "multi.h"
#include "results.h"
#include "session.h"

#define STRIKES_MAX 3 /* sessions in a row that were lost before they settled a message */
#define HEAD_START_MS                                                                              \
	1000		/* the first session opens alone: a relay that is down, or a wrong         \
			   password, is met once and not once per connection */
#define FDS_RUN	    64	/* descriptors that a run may need besides */
#define FDS_WAITING 128 /* that its messages between two batches may */
#define FDS_SLOT    4	/* that a connection may: the socket, and the file being read */
#define FDS_MESSAGE 2	/* that a message in flight may: the file for a partial result, its own */

struct slot {
	struct session session;
	unsigned strikes;
	bool spent; /* not to be opened again in this run */
	bool waits; /* at this place among the waits, for more to read, and to write if WRITES */
	bool writes;
	size_t place;
};

struct transport {
	const struct relay_config *relay;
	const struct credential *credential;
	struct multi multi;
	struct slot *slot;
	unsigned count;
	size_t depth;	  /* of what is in flight by BDAT on each connection */
	bool no_chunking; /* the relay announces it and chokes on it, or the config forbids it */
	bool was_up;
	bool refused;
	bool slow_down; /* said with no message under way: the next result tells of it */
	bool finishing;
	int64_t first_opened_ms; /* 0: nothing has been opened yet */
	struct results done;
	char why[REPLY_TEXT_MAX];
	const char *advice; /* on that, or NULL */
};

static const char *smtp_version(void)
{
	return curl_version();
}

static void close_slot(struct transport *transport, struct slot *slot)
{
	session_close(&slot->session, transport->multi.curl);
}

/* Takes over what the session has finished. */
static void collect(struct transport *transport, struct slot *slot)
{
	struct message *message;

	while ((message = smtp_finished(&slot->session.smtp)) != NULL) {
		results_add(&transport->done, message);
	}
}

static void give_up_opening(struct transport *transport, struct slot *slot)
{
	slot->spent = true;
	if (slot->session.refused)
		transport->refused = true;
	(void)snprintf(transport->why, sizeof transport->why, "%s", slot->session.why);
	transport->advice = slot->session.advice;
	close_slot(transport, slot);
}

/* A session that has ended is closed; one that ends again and again without a result is spent. */
static void end_session(struct transport *transport, struct slot *slot)
{
	const struct smtp *smtp = &slot->session.smtp;

	collect(transport, slot);
	if (smtp->end == SMTP_OPEN)
		return;
	if (smtp->choked)
		transport->no_chunking = true;
	transport->slow_down = transport->slow_down || smtp->slow_down;
	if (smtp->settled > 0)
		slot->strikes = 0;
	else if (!smtp->choked && smtp->end == SMTP_LOST && ++slot->strikes >= STRIKES_MAX)
		slot->spent = true;
	if (smtp->end == SMTP_RELAY_FAULT)
		transport->refused = true;
	if (smtp->end != SMTP_CLOSED)
		(void)snprintf(transport->why, sizeof transport->why, "%s", smtp->why);
	close_slot(transport, slot);
}

static bool is_open(const struct slot *slot)
{
	return slot->session.state == SESSION_OPEN;
}

static bool is_opening(const struct slot *slot)
{
	return slot->session.state == SESSION_OPENING || slot->session.state == SESSION_HELLO;
}

static void open_slot(struct transport *transport, struct slot *slot, int64_t now_ms)
{
	const size_t depth = transport->no_chunking ? 0 : transport->depth;

	if (session_open(&slot->session, transport->multi.curl, transport->relay,
		transport->credential, depth, now_ms) == -1)
		give_up_opening(transport, slot);
	if (transport->first_opened_ms == 0)
		transport->first_opened_ms = now_ms;
}

/*
 * Whether a session is open or may yet be. Where none has opened and one has failed, the others
 * would fail as well.
 */
static bool has_prospects(const struct transport *transport)
{
	bool unspent = false;

	for (unsigned i = 0; i < transport->count; i++) {
		if (is_open(&transport->slot[i]) || is_opening(&transport->slot[i]))
			return true;
		unspent = unspent || !transport->slot[i].spent;
	}
	return unspent && (transport->was_up || transport->first_opened_ms == 0);
}

/*
 * Whether the first session is still to be alone. One that logs in is, until it is through: servers
 * hold back the answer to a wrong password, and lock out who guesses four times a minute.
 */
static bool has_head_start(const struct transport *transport, int64_t now_ms)
{
	if (transport->was_up || transport->first_opened_ms == 0)
		return false;
	return transport->relay->user != NULL ||
	       now_ms - transport->first_opened_ms < HEAD_START_MS;
}

/* Opens sessions until there are as many as messages WAITING, or no more may be opened. */
static void open_more(struct transport *transport, size_t waiting)
{
	const int64_t now_ms = clock_monotonic();
	size_t sessions = 0;

	if (transport->refused || transport->finishing || !has_prospects(transport))
		return;
	for (unsigned i = 0; i < transport->count; i++)
		sessions += transport->slot[i].session.state != SESSION_CLOSED;
	for (unsigned i = 0; i < transport->count && sessions < waiting; i++) {
		struct slot *slot = &transport->slot[i];

		if (has_head_start(transport, now_ms))
			return;
		if (slot->session.state != SESSION_CLOSED || slot->spent)
			continue;
		open_slot(transport, slot, now_ms);
		sessions++;
	}
}

static void smtp_close(struct transport *transport)
{
	if (transport == NULL)
		return;
	for (unsigned i = 0; transport->slot != NULL && i < transport->count; i++)
		session_free(&transport->slot[i].session, transport->multi.curl);
	multi_close(&transport->multi);
	free(transport->slot);
	free(transport);
	curl_global_cleanup();
}

/* How many descriptors there may be, if possible as many as WANTED. */
static size_t raise_limit(size_t wanted)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == -1)
		return 0;
	if (limit.rlim_cur >= wanted)
		return wanted;
	limit.rlim_cur = limit.rlim_max < wanted ? limit.rlim_max : wanted;
	/* Where it can't be raised there is less in flight. */
	(void)setrlimit(RLIMIT_NOFILE, &limit);
	return getrlimit(RLIMIT_NOFILE, &limit) == -1 ? 0 : (size_t)limit.rlim_cur;
}

/*
 * What the relay's "pipeline" allows, as far as its share of the descriptors suffices; 1 at least.
 */
static size_t bounded_depth(const struct relay_config *relay)
{
	const size_t shares = (size_t)relay->others + 1;
	const bool in_parts = relay->others > 0 || relay->recipients_per_message > 0;
	const size_t waiting = in_parts ? FDS_WAITING : 0;
	const size_t others = FDS_RUN + waiting + (size_t)relay->connections * FDS_SLOT;
	const size_t each = (size_t)relay->connections * FDS_MESSAGE;
	const size_t limit = raise_limit((others + relay->pipeline * each) * shares) / shares;
	const size_t most = limit < others + each ? 1 : (limit - others) / each;

	return most < relay->pipeline ? most : relay->pipeline;
}

static struct transport *smtp_open(
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
	transport->credential = credential;
	transport->count = relay->connections;
	transport->depth = bounded_depth(relay);
	transport->no_chunking = !relay->chunking;
	transport->slot = calloc(relay->connections, sizeof *transport->slot);
	if (multi_open(&transport->multi) == -1 || transport->slot == NULL) {
		smtp_close(transport);
		error_set(
		    err, EX_OSERR, "can't start %u sessions: out of memory", relay->connections);
		return NULL;
	}
	return transport;
}

/* The one that has the fewest messages under way of those that can take another. */
static struct slot *ready_slot(struct transport *transport)
{
	struct slot *found = NULL;

	for (unsigned i = 0; i < transport->count; i++) {
		struct slot *slot = &transport->slot[i];
		const struct smtp *smtp = &slot->session.smtp;

		if (is_open(slot) && smtp_ready(smtp) &&
		    (found == NULL || smtp->count < found->session.smtp.count))
			found = slot;
	}
	return found;
}

static bool smtp_transport_ready(struct transport *transport, size_t waiting)
{
	if (transport->refused)
		return false;
	if (ready_slot(transport) != NULL)
		return true;
	open_more(transport, waiting);
	return false;
}

static void smtp_transport_submit(struct transport *transport, struct message *message)
{
	const unsigned most = transport->relay->messages_per_connection;
	struct slot *slot = ready_slot(transport);

	smtp_submit(&slot->session.smtp, message);
	if (most > 0 && slot->session.smtp.begun >= most)
		smtp_quit(&slot->session.smtp);
	collect(transport, slot);
	session_fill(&slot->session);
}

static void smtp_withdraw(struct transport *transport, struct message *message)
{
	for (unsigned i = 0; i < transport->count; i++) {
		struct slot *slot = &transport->slot[i];

		if (!is_open(slot) || !smtp_may_stop(&slot->session.smtp, message))
			continue;
		smtp_lost(&slot->session.smtp, "another run has taken over the message");
		end_session(transport, slot);
	}
}

static void take_opening(struct transport *transport, struct slot *slot)
{
	if (is_open(slot))
		transport->was_up = true;
	else if (!is_opening(slot))
		give_up_opening(transport, slot);
}

/* Learns which openings have ended. */
static void take_openings(struct transport *transport)
{
	CURLcode result;
	CURL *easy;

	while ((easy = multi_ended(&transport->multi, &result)) != NULL) {
		char *found = NULL;
		struct slot *slot;

		if (curl_easy_getinfo(easy, CURLINFO_PRIVATE, &found) != CURLE_OK)
			continue;
		slot = (struct slot *)(void *)found;
		session_opened(&slot->session, result, clock_monotonic());
		take_opening(transport, slot);
	}
}

static void watch_openings(struct transport *transport)
{
	const int64_t now_ms = clock_monotonic();

	for (unsigned i = 0; i < transport->count; i++)
		session_watch(&transport->slot[i].session, now_ms);
}

/* Whether a session has ended by that. */
static bool write_all(struct transport *transport)
{
	bool ended = false;

	for (unsigned i = 0; i < transport->count; i++) {
		struct slot *slot = &transport->slot[i];

		if (!is_open(slot) || slot->session.blocked)
			continue;
		session_write(&slot->session, clock_monotonic());
		end_session(transport, slot);
		ended = ended || !is_open(slot);
	}
	return ended;
}

/* Gives up what has waited too long; returns the milliseconds that may pass until the next. */
static int64_t check_times(struct transport *transport, int64_t most)
{
	const int64_t now_ms = clock_monotonic();

	for (unsigned i = 0; i < transport->count; i++) {
		struct slot *slot = &transport->slot[i];
		int64_t left;

		if (slot->session.state == SESSION_CLOSED)
			continue;
		left = session_time_left(&slot->session, now_ms);
		if (left <= 0 && is_opening(slot)) {
			session_opening_expired(&slot->session);
			give_up_opening(transport, slot);
		} else if (left <= 0) {
			smtp_lost(&slot->session.smtp, "the relay did not answer in time");
			end_session(transport, slot);
		}
		if (left < most)
			most = left > 0 ? left : 0;
	}
	return most;
}

static void add_waits(struct transport *transport, struct waits *waits)
{
	for (unsigned i = 0; i < transport->count; i++) {
		struct slot *slot = &transport->slot[i];
		const struct session *session = &slot->session;

		slot->waits = is_open(slot) || session->state == SESSION_HELLO;
		if (!slot->waits)
			continue;
		slot->writes = session->out_pos < session->out_len;
		slot->place = waits_add(
		    waits, session->socket, (short)(slot->writes ? POLLIN | POLLOUT : POLLIN));
	}
}

/*
 * Who was not found ready for more bytes gets none: the system might still take some, and a peer
 * that has stopped reading would look alive for as long as that goes on.
 */
static void note_blocked(struct transport *transport, const struct waits *waits)
{
	for (unsigned i = 0; i < transport->count; i++) {
		struct slot *slot = &transport->slot[i];
		short got;

		if (!slot->waits)
			continue;
		got = waits_got(waits, slot->place);
		slot->session.blocked = slot->writes && (got & POLLOUT) == 0;
		slot->session.heard = (got & POLLIN) == 0;
	}
}

static void read_all(struct transport *transport, const struct waits *waits)
{
	for (unsigned i = 0; i < transport->count; i++) {
		struct slot *slot = &transport->slot[i];

		if (!slot->waits || waits_got(waits, slot->place) == 0)
			continue;
		if (is_opening(slot)) {
			session_greet(&slot->session, clock_monotonic());
			take_opening(transport, slot);
			continue;
		}
		session_read(&slot->session, clock_monotonic());
		session_fill(&slot->session);
		end_session(transport, slot);
	}
}

static bool any_opening(const struct transport *transport)
{
	for (unsigned i = 0; i < transport->count; i++)
		if (is_opening(&transport->slot[i]))
			return true;
	return false;
}

static bool any_open(const struct transport *transport)
{
	for (unsigned i = 0; i < transport->count; i++)
		if (is_open(&transport->slot[i]))
			return true;
	return false;
}

static unsigned count_ready(const struct transport *transport)
{
	unsigned n = 0;

	for (unsigned i = 0; i < transport->count; i++)
		n += is_open(&transport->slot[i]) && smtp_ready(&transport->slot[i].session.smtp);
	return n;
}

static void smtp_prepare(struct transport *transport, struct waits *waits)
{
	const unsigned ready = count_ready(transport);
	const bool ended = write_all(transport);

	/* Others may be let go when the head start is over. */
	if (any_opening(transport) && !transport->was_up)
		waits_within(waits, HEAD_START_MS);
	waits_within(waits, check_times(transport, INT64_MAX));
	/* Who can take a message now gets it before the rest of its buffer is written. */
	if (ended || transport->done.first != NULL || count_ready(transport) > ready)
		waits_within(waits, 0);
	add_waits(transport, waits);
	multi_prepare(&transport->multi, waits);
}

static void smtp_work(struct transport *transport, const struct waits *waits)
{
	multi_work(&transport->multi, waits);
	take_openings(transport);
	watch_openings(transport);
	note_blocked(transport, waits);
	read_all(transport, waits);
}

/* Where there is nothing beside this transport to wait for. 0, or -1 with ERR. */
static int smtp_wait(
    struct transport *transport, struct waits *waits, int64_t most_ms, struct error *err)
{
	waits_begin(waits, most_ms);
	smtp_prepare(transport, waits);
	if (waits_wait(waits, err) == -1)
		return -1;
	smtp_work(transport, waits);
	return 0;
}

static struct message *smtp_result(struct transport *transport)
{
	struct message *message = results_take(&transport->done);

	if (message == NULL)
		return NULL;
	message->slow_down = message->slow_down || transport->slow_down;
	transport->slow_down = false;
	return message;
}

static enum transport_state smtp_state(struct transport *transport, const char **why)
{
	*why = transport->why;
	if (transport->refused)
		return TRANSPORT_MISCONFIGURED;
	if (transport->first_opened_ms == 0)
		return TRANSPORT_OPENING;
	if (!has_prospects(transport))
		return TRANSPORT_DOWN;
	return any_open(transport) || !any_opening(transport) ? TRANSPORT_UP : TRANSPORT_OPENING;
}

static void smtp_finish(struct transport *transport)
{
	const int64_t until = clock_monotonic() + SESSION_QUIT_MS;
	struct waits waits = {.fd = NULL};
	int64_t left = SESSION_QUIT_MS;
	struct error err;

	transport->finishing = true;
	for (unsigned i = 0; i < transport->count; i++) {
		struct slot *slot = &transport->slot[i];

		if (is_opening(slot))
			close_slot(transport, slot);
		else if (is_open(slot))
			smtp_quit(&slot->session.smtp);
	}
	while (any_open(transport) && left > 0 && smtp_wait(transport, &waits, left, &err) == 0)
		left = until - clock_monotonic();
	waits_free(&waits);
	for (unsigned i = 0; i < transport->count; i++)
		if (is_open(&transport->slot[i])) {
			smtp_lost(
			    &transport->slot[i].session.smtp, "the relay did not answer in time");
			end_session(transport, &transport->slot[i]);
		}
}

static void tell_security(const struct session *session, FILE *out)
{
	const char *user = session->relay->user;

	curltls_tell(session->easy, session->tls, out);
	if (user != NULL)
		(void)fprintf(out, "  AUTH: logged in as %s\n", user);
	else
		(void)fprintf(out, "  AUTH: not used, no user is configured\n");
}

static void tell_session(const struct transport *transport, FILE *out)
{
	const struct relay_config *relay = transport->relay;
	const struct session *session = &transport->slot[0].session;
	const struct smtp_offer *offer = &session->offer;

	if (relay->kind == RELAY_LMTP)
		(void)fprintf(out, "  LMTP: %s\n",
		    relay->path != NULL ? "by a socket of this host"
					: "the connection is not encrypted");
	else
		tell_security(session, out);
	(void)fprintf(out, "  offers:%s%s%s%s", offer->pipelining ? " PIPELINING" : "",
	    offer->chunking ? " CHUNKING" : "", offer->eightbit ? " 8BITMIME" : "",
	    offer->smtputf8 ? " SMTPUTF8" : "");
	if (offer->size_max > 0)
		(void)fprintf(out, " SIZE (up to %.1f MB)", (double)offer->size_max / 1e6);
	(void)fprintf(out, "\n");
	if (!offer->pipelining)
		(void)fprintf(out, "  note: without PIPELINING a message takes 4 round trips\n");
}

/* Opens one session. 0, or -1 with ERR. */
static int try_session(struct transport *transport, struct error *err)
{
	struct waits waits = {.fd = NULL};
	const char *why;
	int result = 0;

	open_more(transport, 1);
	while (result == 0 && smtp_state(transport, &why) == TRANSPORT_OPENING)
		result = smtp_wait(transport, &waits, HEAD_START_MS, err);
	waits_free(&waits);
	if (result == -1 || smtp_state(transport, &why) == TRANSPORT_UP)
		return result;
	error_set(err, EX_TEMPFAIL, "%s%s%s", why, transport->advice != NULL ? "\n" : "",
	    transport->advice != NULL ? transport->advice : "");
	return -1;
}

static int smtp_probe(const struct relay_config *relay, const struct credential *credential,
    FILE *out, struct error *err)
{
	struct transport *transport = smtp_open(relay, credential, err);
	int result;

	if (transport == NULL)
		return -1;
	transport->slot[0].session.trace = out;
	result = try_session(transport, err);
	if (result == 0) {
		tell_session(transport, out);
		smtp_finish(transport);
	}
	smtp_close(transport);
	return result;
}

__attribute__((visibility("default"))) const struct transport_kind transport_kind = {
    .made_for = MAILDRAIN_VERSION,
    .version = smtp_version,
    .open = smtp_open,
    .ready = smtp_transport_ready,
    .submit = smtp_transport_submit,
    .withdraw = smtp_withdraw,
    .prepare = smtp_prepare,
    .work = smtp_work,
    .result = smtp_result,
    .state = smtp_state,
    .finish = smtp_finish,
    .close = smtp_close,
    .probe = smtp_probe,
};
