#include "run.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "account.h"
#include "breaker.h"
#include "claims.h"
#include "clock.h"
#include "import.h"
#include "notify.h"
#include "record.h"
#include "scan.h"
#include "spool.h"
#include "state.h"
#include "transport.h"
#include "trouble.h"

#define WAIT_MS	       1000
#define SCAN_PAUSE_MS  1000 /* between two looks for newcomers while there is still mail to send */
#define PURGE_INTERVAL 600  /* seconds between purges, and other such rounds */

/* The record in state/ that has in T when a run with results has purged. */
static const char PURGE_RECORD[] = "purge";

struct run {
	const struct config *config;
	struct log *log;
	struct spool spool;
	struct record record;
	struct account account;
	struct trouble trouble;
	struct claims claims;
	struct scan scan;
	size_t untried;		 /* messages that came back untried */
	size_t progress_at_scan; /* progress when the last scan began */
	int64_t next_scan_ms;	 /* from when on, monotonic, another may look for newcomers */

	const struct relay_config *relay;
	const struct transport_kind *kind;
	struct transport *transport;
	struct breaker breaker;
	struct waits waits;
	struct message *unused;
	size_t in_flight;
};

/* Set by SIGTERM and SIGINT: finish what is under way, claim nothing more. */
static volatile sig_atomic_t stop_asked;

static void on_stop(int number)
{
	(void)number;
	stop_asked = 1;
}

/* A second signal has its usual effect. */
static void catch_signals(void)
{
	struct sigaction action = {.sa_handler = on_stop, .sa_flags = (int)SA_RESETHAND};

	(void)sigaction(SIGTERM, &action, NULL);
	(void)sigaction(SIGINT, &action, NULL);
	(void)signal(SIGPIPE, SIG_IGN);
}

static size_t results(const struct run *run)
{
	return run->record.sent + run->record.deferred + run->record.failed;
}

/*
 * What another scan may find changed. Messages that come back untried count, as the transport ends
 * a relay that goes on like that.
 */
static size_t progress(const struct run *run)
{
	return results(run) + run->untried;
}

static void read_spool(struct run *run)
{
	const int64_t began_ms = clock_monotonic();

	run->progress_at_scan = progress(run);
	scan_read(&run->scan);
	run->next_scan_ms = clock_again(began_ms, SCAN_PAUSE_MS);
}

/* Whether the spool is to be read again: the list is used up, or newcomers may go before it. */
static bool is_scan_due(const struct run *run)
{
	if (progress(run) == run->progress_at_scan)
		return false;
	if (queue_left(&run->scan.queue) == 0)
		return run->scan.queue.truncated || run->in_flight == 0;
	return clock_monotonic() >= run->next_scan_ms;
}

/* The next name to send. */
static const char *next_due(struct run *run)
{
	if (is_scan_due(run))
		read_spool(run);
	return queue_next(&run->scan.queue);
}

/* ---- from a name to a message under way ---- */

static struct message *message_get(struct run *run)
{
	struct message *message = run->unused;

	if (message != NULL) {
		run->unused = message->next;
		message->next = NULL;
		return message;
	}
	message = malloc(sizeof *message);
	if (message != NULL)
		message_init(message);
	return message;
}

static void message_put(struct run *run, struct message *message)
{
	claims_drop(message);
	record_unreserve(&run->record, message);
	message_close(message);
	message->next = run->unused;
	run->unused = message;
}

static void record_checked(struct run *run, int result)
{
	if (result == -1)
		trouble_stop(&run->trouble);
}

static void settle(struct run *run, struct message *message)
{
	if (!message->withdrawn)
		record_checked(run,
		    record_settled(&run->record, message, run->relay->name, &run->trouble.err));
	message_put(run, message);
}

/* Reads MESSAGE from NAME; false when it is not to be sent, and all is said and done. */
static bool load(struct run *run, struct message *message, const char *name)
{
	struct envelope_fault fault;

	switch (message_load(message, run->spool.dir[SPOOL_NEW], name, &fault)) {
	case MESSAGE_LOADED:
		return true;
	case MESSAGE_GONE:
		return false;
	case MESSAGE_INVALID:
		scan_give_up(&run->scan, &message->entry, fault.status, fault.text);
		return false;
	case MESSAGE_ERROR:
		trouble_fault(&run->trouble, name, fault.text);
		return false;
	case MESSAGE_FOREIGN:
		break;
	}
	if (!scan_is_settled(&run->scan, &message->entry))
		trouble_file(&run->trouble, name, fault.text);
	return false;
}

/* Claims MESSAGE; false when somebody else was first or its name has no room. */
static bool claim(struct run *run, struct message *message)
{
	const enum spool_moved moved = claims_take(&run->claims, message, &run->trouble.err);

	if (moved != SPOOL_MOVED)
		trouble_move(&run->trouble, message->name, moved);
	return moved == SPOOL_MOVED;
}

/* MESSAGE was put back by a person: its failures are forgotten; false when they can't be. */
static bool begin_anew(struct run *run, struct message *message)
{
	if (record_restart(&run->record, message, &run->trouble.err) == 0)
		return true;
	trouble_fault(&run->trouble, message->name, run->trouble.err.text);
	record_checked(run, record_untried(&run->record, message, &run->trouble.err));
	return false;
}

/* Makes MESSAGE ready for the relay; false when that came to an end before. */
static bool prepare(struct run *run, struct message *message, const char *name)
{
	bool restart;

	if (!load(run, message, name))
		return false;
	if (scan_has_expired(&message->entry)) {
		scan_give_up(
		    &run->scan, &message->entry, "5.4.7", "it expired before it could be sent");
		return false;
	}
	if (record_reserve(&run->record, message, &run->trouble.err) == -1) {
		trouble_fault(&run->trouble, name, run->trouble.err.text);
		return false;
	}
	restart = entry_has_class(&message->entry, '5') ||
		  !scan_has_attempts(&run->scan, &message->entry);
	if (restart)
		message->entry.attempts = 0;
	if (!claim(run, message) || (restart && !begin_anew(run, message)))
		return false;
	envelope_refuse_faulty(&message->envelope);
	return true;
}

/* Takes NAME on: to the transport, or to its end when there is nothing to send. */
static void take_on(struct run *run, const char *name)
{
	struct message *message = message_get(run);

	if (message == NULL) {
		error_set(&run->trouble.err, EX_OSERR, "out of memory for another message");
		trouble_stop(&run->trouble);
		return;
	}
	if (!prepare(run, message, name)) {
		message_put(run, message);
		return;
	}
	if (envelope_count(&message->envelope, RECIPIENT_TODO) == 0) {
		settle(run, message);
		return;
	}
	run->in_flight++;
	run->kind->submit(run->transport, message);
}

/* ---- from a result to a state ---- */

static void untry(struct run *run, struct message *message)
{
	if (!message->withdrawn)
		record_checked(run, record_untried(&run->record, message, &run->trouble.err));
	run->untried++;
	message_put(run, message);
}

/* Messages whose results were held back: failures if the relay is well, untried if it is not. */
static void release_held(struct run *run, bool relay_works)
{
	struct message *held;

	while ((held = breaker_take(&run->breaker)) != NULL) {
		if (relay_works)
			settle(run, held);
		else
			untry(run, held);
	}
}

/* Records what came of MESSAGE; false when the relay has shown itself to be misconfigured. */
static bool take_result(struct run *run, struct message *message)
{
	run->in_flight--;
	account_result(&run->account, message);
	if (message->verdict == MESSAGE_UNTRIED) {
		untry(run, message);
		return true;
	}
	switch (breaker_see(&run->breaker, message)) {
	case BREAKER_RECORD_HELD:
		release_held(run, true);
		break;
	case BREAKER_RECORD:
		break;
	case BREAKER_HOLD:
		return true;
	case BREAKER_TRIP:
		return false;
	}
	settle(run, message);
	return true;
}

/* What is in the log is on the disk. */
static void sync_when_due(struct run *run)
{
	if (spool_sync_left(&run->spool, clock_monotonic()) > 0)
		return;
	if (spool_sync(&run->spool, &run->trouble.err) == -1)
		trouble_stop(&run->trouble);
	log_flush(run->log);
}

/* What is told to those who watch is not worth ending a run that can send. */
static void note(struct run *run, int result)
{
	if (result == -1)
		trouble_note(&run->trouble);
}

/* Milliseconds until there is something to do even if no relay says a word. */
static int may_wait(const struct run *run)
{
	const int64_t left = spool_sync_left(&run->spool, clock_monotonic());

	return left < WAIT_MS ? (int)left : WAIT_MS;
}

static void show_progress(struct run *run)
{
	const struct record *record = &run->record;

	log_progress(run->log, "%zu sent, %zu deferred, %zu failed, %zu to go", record->sent,
	    record->deferred, record->failed, queue_left(&run->scan.queue) + run->in_flight);
}

/*
 * Keeps the claims of what is in hand. What is gone has been taken over, so it must not be
 * completed here: its session is given up.
 */
static void renew_claims(struct run *run)
{
	struct message *message;
	enum spool_moved moved;

	while ((message = claims_renew(&run->claims, &moved, &run->trouble.err)) != NULL) {
		if (moved != SPOOL_GONE) {
			trouble_move(&run->trouble, message->name, moved);
			continue;
		}
		record_vanished(&run->record, &message->entry);
		message->withdrawn = true;
		run->kind->withdraw(run->transport, message);
	}
}

/* ---- one relay ---- */

static bool may_claim(const struct run *run)
{
	return !run->trouble.stop && stop_asked == 0;
}

/* Gives the transport what it can take; false when there is nothing more to give. */
static bool feed(struct run *run)
{
	while (may_claim(run)) {
		const char *name = next_due(run);

		if (name == NULL)
			return false;
		if (!run->kind->ready(run->transport, queue_left(&run->scan.queue) + 1)) {
			queue_put_back(&run->scan.queue);
			return true;
		}
		take_on(run, name);
	}
	return false;
}

static const char TRIPPED[] =
    "the first messages were all refused with the same reply at MAIL FROM";

static void wait_for_relay(struct run *run)
{
	waits_begin(&run->waits, may_wait(run));
	run->kind->prepare(run->transport, &run->waits);
	if (waits_wait(&run->waits, &run->trouble.err) == -1)
		trouble_stop(&run->trouble);
	run->kind->work(run->transport, &run->waits);
}

/* Feeds and records until nothing is due and nothing under way, or the relay is of no use. */
static enum transport_state pump(struct run *run, const char **why)
{
	bool works = true;

	while (feed(run) || run->in_flight > 0) {
		const enum transport_state state = run->kind->state(run->transport, why);
		struct message *message;

		if ((state == TRANSPORT_DOWN || state == TRANSPORT_MISCONFIGURED) &&
		    run->in_flight == 0)
			return state;
		renew_claims(run);
		show_progress(run);
		note(run, account_go_on(&run->account, &run->trouble.err));
		wait_for_relay(run);
		while ((message = run->kind->result(run->transport)) != NULL) {
			works = take_result(run, message) && works;
			sync_when_due(run);
		}
		sync_when_due(run);
		if (!works) {
			*why = TRIPPED;
			return TRANSPORT_MISCONFIGURED;
		}
	}
	return TRANSPORT_UP;
}

static void log_relay(struct run *run, enum transport_state state, const char *why)
{
	const bool down = state == TRANSPORT_DOWN;
	const bool last = run->relay == &run->config->relay[run->config->relay_count - 1];

	log_begin(run->log, LOG_LEVEL_ERROR, down ? "relay-down" : "relay-misconfigured");
	log_text(run->log, "relay", run->relay->name);
	log_text(run->log, "url", run->relay->url);
	log_text(run->log, "reply", why);
	log_text(run->log, "text", last ? "mail waits" : "mail goes to the next relay");
	log_end(run->log);
}

/* Drains over RELAY. True when all that is due has been seen to. */
static bool drain(struct run *run, const struct relay_config *relay)
{
	enum transport_state state;
	struct message *message;
	const char *why = "";

	run->relay = relay;
	run->breaker = (struct breaker){0};
	account_begin_relay(&run->account, relay->name);
	run->kind = transport_load(relay, &run->trouble.err);
	if (run->kind != NULL)
		run->transport = run->kind->open(relay, NULL, &run->trouble.err);
	if (run->kind == NULL || run->transport == NULL) {
		trouble_stop(&run->trouble);
		return false;
	}
	state = pump(run, &why);
	run->kind->finish(run->transport);
	while ((message = run->kind->result(run->transport)) != NULL) {
		(void)take_result(run, message);
		sync_when_due(run);
	}
	/* Stopped before the relay could show that it works, they are not known to be failures. */
	release_held(run, state == TRANSPORT_UP && stop_asked == 0);
	if (state != TRANSPORT_UP)
		log_relay(run, state, why);
	note(run, account_end_relay(&run->account, state != TRANSPORT_UP, &run->trouble.err));
	run->kind->close(run->transport);
	return state == TRANSPORT_UP;
}

/* Tries the relays in their order. The exit status. */
static int drain_all(struct run *run)
{
	if (spool_movable(&run->spool, &run->trouble.err) == -1)
		trouble_stop(&run->trouble);
	for (size_t i = 0; i < run->config->relay_count && may_claim(run); i++) {
		if (i > 0)
			read_spool(run);
		scan_skip_foreign(&run->scan);
		if (queue_left(&run->scan.queue) == 0 || drain(run, &run->config->relay[i]))
			return EX_OK;
	}
	return run->trouble.stop || stop_asked != 0 ? EX_OK : EX_TEMPFAIL;
}

/* ---- the whole run ---- */

static void note_dump(void *context, const char *dump, const char *text)
{
	struct run *run = context;

	log_begin(run->log, LOG_LEVEL_WARNING, "dump");
	log_text(run->log, "file", dump);
	log_text(run->log, "text", text);
	log_end(run->log);
}

static void prepare_spool(struct run *run)
{
	struct import_counts counts = {0};

	/* What can't be imported, or rubbish that stays, is no reason to keep mail waiting. */
	if (import_dumps(&run->spool, &run->claims, note_dump, run, &counts, &run->trouble.err) ==
	    -1)
		trouble_note(&run->trouble);
	if (counts.imported > 0 || counts.failed > 0) {
		log_begin(run->log, LOG_LEVEL_INFO, "imported");
		log_number(run->log, "messages", (int64_t)counts.imported);
		log_number(run->log, "failed", (int64_t)counts.failed);
		log_end(run->log);
	}
	if (spool_sweep(&run->spool, clock_now(), &run->trouble.err) == -1)
		trouble_note(&run->trouble);
}

/* Where much is kept, reading cur/ or failed/ costs more than an empty run: not each minute for
 * nothing. */
static bool is_round_due(int64_t now)
{
	return now % PURGE_INTERVAL < 60;
}

/* What this run has decided; now and then also what an earlier one has left. */
static void notify(struct run *run, int64_t since)
{
	if (run->trouble.stop || stop_asked != 0)
		return;
	if (run->record.to_tell > 0 || is_round_due(clock_now()))
		notify_all(run->config, &run->spool, run->log, &run->trouble, since);
}

/*
 * Where much is kept, reading cur/ costs more than the run: not each minute. What is kept for a
 * short time only is looked at as often, so nothing stays for more than twice its time.
 */
static int64_t purge_pause(const struct run *run)
{
	const int64_t keep = run->config->keep_sent;

	return keep < PURGE_INTERVAL ? keep : PURGE_INTERVAL;
}

/* A run without results must not write, so it can't note when, and goes by the clock. */
static bool is_purge_due(struct run *run, int64_t now)
{
	struct state last;
	int64_t then;

	if (results(run) == 0)
		return is_round_due(now);
	if (state_load(&run->spool, PURGE_RECORD, &last, &run->trouble.err) == -1) {
		trouble_note(&run->trouble);
		return true;
	}
	then = *state_value(&last, 'T');
	return then > now || now - then >= purge_pause(run);
}

static void set_time(struct state *state, void *context)
{
	const int64_t *now = context;

	*state_value(state, 'T') = *now;
}

/* The number of messages removed. */
static size_t purge(struct run *run)
{
	int64_t now = clock_now();
	struct spool_purge purge = {.dir = SPOOL_CUR, .older_than = now - run->config->keep_sent};

	if (run->trouble.stop || !is_purge_due(run, now))
		return 0;
	if (spool_purge(&run->spool, &purge, &run->trouble.err) == -1)
		trouble_stop(&run->trouble);
	else if (results(run) > 0 && purge_pause(run) > 0 &&
		 state_update(&run->spool, PURGE_RECORD, set_time, &now, &run->trouble.err) == -1)
		trouble_note(&run->trouble);
	return purge.messages;
}

/* What went wrong with the records of results, and asks for an exit status. */
static void log_unrecorded(struct run *run)
{
	if (run->record.unwritten || run->record.unmoved > 0)
		run->trouble.status = EX_IOERR;
	if (run->record.unmoved == 0)
		return;
	log_begin(run->log, LOG_LEVEL_ERROR, "unmoved");
	log_number(run->log, "messages", (int64_t)run->record.unmoved);
	log_text(run->log, "text", "sent, but not moved to cur/; the next run that can does it");
	log_end(run->log);
}

/*
 * A run that found nothing to do is silent: there are 1,440 of them a day. One that failed before
 * it had results has said why.
 */
static void log_summary(struct run *run, size_t removed, int status)
{
	if (results(run) == 0 && removed == 0)
		return;
	log_begin(run->log, LOG_LEVEL_NOTICE, "run");
	log_number(run->log, "sent", (int64_t)run->record.sent);
	log_number(run->log, "deferred", (int64_t)run->record.deferred);
	log_number(run->log, "failed", (int64_t)run->record.failed);
	log_number(run->log, "removed", (int64_t)removed);
	log_tenths(run->log, "seconds", (account_took(&run->account) + 50) / 100);
	log_number(run->log, "exit", status);
	log_end(run->log);
}

static int exit_status(const struct run *run, int status)
{
	return run->trouble.status != 0 ? run->trouble.status : status;
}

/* Tells all who want to know what came of the run. The exit status. */
static int conclude(struct run *run, size_t removed, int status)
{
	trouble_summary(&run->trouble);
	log_unrecorded(run);
	note(run, account_close(&run->account, &run->trouble.err));
	note(run, account_publish(&run->account, exit_status(run, status), &run->trouble.err));
	status = exit_status(run, status);
	log_summary(run, removed, status);
	return status;
}

static int run_locked(struct run *run)
{
	const int64_t since = clock_now();
	int status = EX_OK;

	catch_signals();
	srandom((unsigned)clock_now_us());
	prepare_spool(run);
	read_spool(run);
	if (may_claim(run) && queue_left(&run->scan.queue) > 0)
		status = drain_all(run);
	notify(run, since);
	if (spool_sync_last(&run->spool, &run->trouble.err) == -1)
		trouble_stop(&run->trouble);
	return conclude(run, purge(run), status);
}

static void run_free(struct run *run)
{
	while (run->unused != NULL) {
		struct message *message = run->unused;

		run->unused = message->next;
		message_free(message);
		free(message);
	}
	queue_free(&run->scan.queue);
	waits_free(&run->waits);
	trouble_free(&run->trouble);
	spool_close(&run->spool);
}

/* Opens the spool; false with all said. */
static bool run_open(struct run *run, const struct config *config, struct log *log)
{
	*run = (struct run){.config = config, .log = log};
	run->record = (struct record){.config = config, .spool = &run->spool, .log = log};
	trouble_init(&run->trouble, log);
	account_open(&run->account, config, &run->spool, &run->record);
	claims_init(&run->claims, &run->spool, config);
	run->scan =
	    (struct scan){.record = &run->record, .trouble = &run->trouble, .claims = &run->claims};
	if (spool_open(&run->spool, config->spool, &run->trouble.err) == 0) {
		run->spool.shared = config->shared_spool;
		return true;
	}
	log_say(log, LOG_LEVEL_ERROR, "error", run->trouble.err.text);
	return false;
}

int run_spool(const struct config *config, struct log *log)
{
	struct run run;
	int status;

	if (!run_open(&run, config, log))
		return run.trouble.err.status;
	switch (config->shared_spool ? 1 : spool_lock(&run.spool, &run.trouble.err)) {
	case 1:
		status = run_locked(&run);
		break;
	case 0:
		log_say(log, LOG_LEVEL_NOTICE, "busy", "another run is at work on this spool");
		status = EX_OK;
		break;
	default:
		log_say(log, LOG_LEVEL_ERROR, "error", run.trouble.err.text);
		status = run.trouble.err.status;
	}
	run_free(&run);
	return status;
}
