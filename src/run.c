#include "run.h"

#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "breaker.h"
#include "clock.h"
#include "import.h"
#include "queue.h"
#include "record.h"
#include "skip.h"
#include "spool.h"
#include "transport.h"

/* How long a claim lasts. A dead run's claims are released by the next one of the same host, so
 * this only matters to other hosts. */
#define CLAIM_SECONDS  3600
#define WAIT_MS	       1000
#define REPORTS_MAX    100 /* lines about foreign files; the rest is counted */
#define PURGE_INTERVAL 600 /* seconds between purges when nothing is sent */

struct run {
	const struct config *config;
	struct log *log;
	struct spool spool;
	struct record record;
	struct queue queue;
	struct skip skip; /* files that are not ours to send */
	size_t reports;
	bool first_scan;
	size_t settled_at_scan; /* results when the last scan began */
	int64_t now;		/* of the present scan, epoch seconds */

	const struct relay_config *relay;
	const struct transport_kind *kind;
	struct transport *transport;
	struct breaker breaker;
	struct message *unused;
	size_t in_flight;

	bool broken; /* the spool fails: claim no more */
	struct error err;
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

/* The spool can't be written: say so, once, and claim no more. */
static void spool_broke(struct run *run)
{
	log_say(run->log, LOG_LEVEL_ERROR, "error", run->err.text);
	run->broken = true;
}

/* ---- scanning ---- */

static void report(struct run *run, const char *name, const char *why)
{
	if (!skip_add(&run->skip, name) || ++run->reports > REPORTS_MAX)
		return;
	log_begin(run->log, LOG_LEVEL_WARNING, "ignored");
	log_text(run->log, "file", name);
	log_text(run->log, "text", why);
	log_end(run->log);
}

/* What can be said of a name without a look at the file; NULL: it may be a message. */
static const char *foreign_name(const char *name, unsigned char type)
{
	if (name[0] == '.')
		return "its name starts with a dot";
	switch (type) {
	case DT_REG:
	case DT_UNKNOWN:
		return NULL;
	case DT_DIR:
		return "a directory";
	case DT_LNK:
		return "a symbolic link";
	default:
		return "not a regular file";
	}
}

static bool has_attempts_left(const struct run *run, const struct entry *entry)
{
	return !retry_exhausted(&run->config->retry, entry->attempts);
}

/*
 * Ends a claim that a dead run of this host has left, or that has run out: the attempt stays
 * charged, so a message that crashes its sender can't do so for ever. TO gets the new name; false
 * when there is nothing left to send.
 */
static bool end_claim(struct run *run, const struct entry *entry, char *to)
{
	enum spool_moved moved;

	if (!has_attempts_left(run, entry)) {
		if (record_unsendable(&run->record, entry, "5.4.7",
			"its last attempt was cut short, it may have been sent", &run->err) == -1)
			spool_broke(run);
		return false;
	}
	moved = spool_release(&run->spool, entry, true, to, &run->err);
	if (moved == SPOOL_ERROR)
		spool_broke(run);
	return moved == SPOOL_MOVED;
}

/* Whether the claim in ENTRY is over: its run is dead, or its time is past. */
static bool claim_is_over(const struct run *run, const struct entry *entry)
{
	long pid;

	/* We hold the lock, so no other run of this host lives; later claims are our own. */
	if (entry_claimed_by_host(entry, run->spool.host, &pid))
		return run->first_scan;
	return entry->not_before <= run->now;
}

static int visit(void *context, const char *name, unsigned char type)
{
	struct run *run = context;
	const char *foreign = foreign_name(name, type);
	char released[ENTRY_NAME_MAX + 1];
	struct entry entry;

	if (foreign != NULL) {
		report(run, name, foreign);
		return 0;
	}
	if (!entry_parse(name, &entry)) {
		report(run, name, "its name is none that maildrain can use");
		return 0;
	}
	if (entry.claim != NULL) {
		if (!claim_is_over(run, &entry) || !end_claim(run, &entry, released) ||
		    !entry_parse(released, &entry))
			return 0;
	}
	if (entry.not_before > run->now || skip_has(&run->skip, entry.name))
		return 0;
	if (queue_add(&run->queue, &entry))
		return 0;
	error_set(&run->err, EX_OSERR, "out of memory for the names of %s/new", run->spool.path);
	return -1;
}

static void scan(struct run *run)
{
	run->now = clock_now();
	run->settled_at_scan = results(run);
	queue_clear(&run->queue);
	if (spool_each(&run->spool, run->spool.dir[SPOOL_NEW], visit, run, &run->err) == -1)
		spool_broke(run);
	run->first_scan = false;
}

/*
 * The next name to send. When the list is used up the spool is read again, for what came in
 * meanwhile and what did not fit, as long as that gets on.
 */
static const char *next_due(struct run *run)
{
	const char *name = queue_next(&run->queue);
	const bool may_scan = run->queue.truncated || run->in_flight == 0;

	if (name != NULL || !may_scan || results(run) == run->settled_at_scan)
		return name;
	scan(run);
	return queue_next(&run->queue);
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
	message_close(message);
	message->next = run->unused;
	run->unused = message;
}

static void record_checked(struct run *run, int result)
{
	if (result == -1)
		spool_broke(run);
}

static void settle(struct run *run, struct message *message)
{
	record_checked(run, record_settled(&run->record, message, run->relay->name, &run->err));
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
		record_checked(run, record_unsendable(&run->record, &message->entry, fault.status,
					fault.text, &run->err));
		return false;
	case MESSAGE_FOREIGN:
	case MESSAGE_ERROR:
		break;
	}
	report(run, name, fault.text);
	return false;
}

/* Claims MESSAGE; false when somebody else was first or its name has no room. */
static bool claim(struct run *run, struct message *message)
{
	char to[ENTRY_NAME_MAX + 1];

	switch (
	    spool_claim(&run->spool, &message->entry, clock_now() + CLAIM_SECONDS, to, &run->err)) {
	case SPOOL_MOVED:
		message_renamed(message, to);
		return true;
	case SPOOL_GONE:
		break;
	case SPOOL_TOO_LONG:
		report(run, message->name, "its name is too long to take the fields of a claim");
		break;
	case SPOOL_ERROR:
		spool_broke(run);
		break;
	}
	return false;
}

/* Makes MESSAGE ready for the relay; false when that came to an end before. */
static bool prepare(struct run *run, struct message *message, const char *name)
{
	bool restart;

	if (!load(run, message, name))
		return false;
	restart = entry_has_class(&message->entry, '5') || !has_attempts_left(run, &message->entry);
	if (restart)
		message->entry.attempts = 0;
	if (!claim(run, message))
		return false;
	if (restart && record_restart(&run->record, message, &run->err) == -1) {
		spool_broke(run);
		return false;
	}
	envelope_refuse_faulty(&message->envelope);
	return true;
}

/* Takes NAME on: to the transport, or to its end when there is nothing to send. */
static void take_on(struct run *run, const char *name)
{
	struct message *message;
	struct entry entry;

	if (!entry_parse(name, &entry))
		return;
	if (entry.expires > 0 && entry.expires <= clock_now()) {
		record_checked(run, record_unsendable(&run->record, &entry, "5.4.7",
					"it expired before it could be sent", &run->err));
		return;
	}
	message = message_get(run);
	if (message == NULL || !prepare(run, message, name)) {
		if (message != NULL)
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
	record_checked(run, record_untried(&run->record, message, &run->err));
	message_put(run, message);
}

static void settle_held(struct run *run)
{
	struct message *held;

	while ((held = breaker_take(&run->breaker)) != NULL)
		settle(run, held);
}

/* Records what came of MESSAGE; false when the relay has shown itself to be misconfigured. */
static bool take_result(struct run *run, struct message *message)
{
	run->in_flight--;
	if (message->verdict == MESSAGE_UNTRIED) {
		untry(run, message);
		return true;
	}
	switch (breaker_see(&run->breaker, message)) {
	case BREAKER_RECORD_HELD:
		settle_held(run);
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

static void sync_when_due(struct run *run)
{
	if (spool_sync_due(&run->spool, clock_monotonic()) &&
	    spool_sync(&run->spool, &run->err) == -1)
		spool_broke(run);
}

static void show_progress(struct run *run)
{
	const struct record *record = &run->record;

	log_progress(run->log, "%zu sent, %zu deferred, %zu failed, %zu to go", record->sent,
	    record->deferred, record->failed, queue_left(&run->queue) + run->in_flight);
}

/* ---- one relay ---- */

static bool may_claim(const struct run *run)
{
	return !run->broken && stop_asked == 0;
}

/* Gives the transport what it can take; false when there is nothing more to give. */
static bool feed(struct run *run)
{
	while (may_claim(run)) {
		const char *name;

		if (queue_left(&run->queue) > 0 && !run->kind->ready(run->transport))
			return true;
		name = next_due(run);
		if (name == NULL)
			return false;
		if (!run->kind->ready(run->transport)) {
			/* It was found by a new scan: keep it for when there is room. */
			run->queue.next--;
			return true;
		}
		take_on(run, name);
	}
	return false;
}

static const char TRIPPED[] =
    "the first messages were all refused with the same reply at MAIL FROM";

/* Feeds and records until nothing is due and nothing under way, or the relay is of no use. */
static enum transport_state pump(struct run *run, const char **why)
{
	bool more = true;
	bool works = true;

	while (works && (more || run->in_flight > 0)) {
		enum transport_state state;
		struct message *message;

		more = feed(run);
		show_progress(run);
		log_flush(run->log);
		if (more || run->in_flight > 0)
			run->kind->wait(run->transport, WAIT_MS);
		while ((message = run->kind->result(run->transport)) != NULL)
			works = take_result(run, message) && works;
		sync_when_due(run);
		state = run->kind->state(run->transport, why);
		if ((state == TRANSPORT_DOWN || state == TRANSPORT_MISCONFIGURED) &&
		    run->in_flight == 0)
			return more ? state : TRANSPORT_UP;
	}
	*why = TRIPPED;
	return works ? TRANSPORT_UP : TRANSPORT_MISCONFIGURED;
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

static void log_relay(struct run *run, enum transport_state state, const char *why)
{
	const bool down = state == TRANSPORT_DOWN;

	log_begin(run->log, LOG_LEVEL_ERROR, down ? "relay-down" : "relay-misconfigured");
	log_text(run->log, "relay", run->relay->name);
	log_text(run->log, "url", run->relay->url);
	log_text(run->log, "reply", why);
	log_text(run->log, "text", "its mail stays queued");
	log_end(run->log);
}

/* Drains over RELAY. True when all that is due has been seen to. */
static bool drain(struct run *run, const struct relay_config *relay)
{
	const size_t due = queue_left(&run->queue);
	const unsigned sessions = due < relay->connections ? (unsigned)due : relay->connections;
	enum transport_state state;
	struct message *message;
	const char *why = "";

	run->relay = relay;
	run->breaker = (struct breaker){0};
	run->kind = transport_load(relay, &run->err);
	if (run->kind != NULL)
		run->transport = run->kind->open(relay, sessions, &run->err);
	if (run->kind == NULL || run->transport == NULL) {
		spool_broke(run);
		return false;
	}
	state = pump(run, &why);
	run->kind->finish(run->transport);
	while ((message = run->kind->result(run->transport)) != NULL)
		(void)take_result(run, message);
	release_held(run, state == TRANSPORT_UP);
	if (state != TRANSPORT_UP)
		log_relay(run, state, why);
	run->kind->close(run->transport);
	return state == TRANSPORT_UP;
}

/* Tries the relays in their order. The exit status. */
static int drain_all(struct run *run)
{
	for (size_t i = 0; i < run->config->relay_count && may_claim(run); i++) {
		if (i > 0)
			scan(run);
		if (queue_left(&run->queue) == 0 || drain(run, &run->config->relay[i]))
			return EX_OK;
	}
	return run->broken || stop_asked != 0 ? EX_OK : EX_TEMPFAIL;
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

	if (import_dumps(&run->spool, clock_now(), note_dump, run, &counts, &run->err) == -1)
		spool_broke(run);
	if (counts.imported > 0 || counts.failed > 0) {
		log_begin(run->log, LOG_LEVEL_INFO, "imported");
		log_number(run->log, "messages", (int64_t)counts.imported);
		log_number(run->log, "failed", (int64_t)counts.failed);
		log_end(run->log);
	}
	if (spool_sweep(&run->spool, clock_now(), &run->err) == -1)
		spool_broke(run);
}

/* Where much is kept, reading cur/ costs more than an empty run: not each minute for nothing. */
static void purge(struct run *run)
{
	const int64_t now = clock_now();
	size_t removed;

	if (results(run) == 0 && now % PURGE_INTERVAL >= 60)
		return;
	if (spool_purge(&run->spool, now - run->config->keep_sent, &removed, &run->err) == -1)
		spool_broke(run);
}

static void log_summary(struct run *run, int64_t started_ms)
{
	if (run->reports > REPORTS_MAX) {
		log_begin(run->log, LOG_LEVEL_WARNING, "ignored");
		log_number(run->log, "more", (int64_t)(run->reports - REPORTS_MAX));
		log_end(run->log);
	}
	if (results(run) == 0)
		return;
	log_begin(run->log, LOG_LEVEL_NOTICE, "run");
	log_number(run->log, "sent", (int64_t)run->record.sent);
	log_number(run->log, "deferred", (int64_t)run->record.deferred);
	log_number(run->log, "failed", (int64_t)run->record.failed);
	log_tenths(run->log, "seconds", (clock_monotonic() - started_ms + 50) / 100);
	log_end(run->log);
}

static int run_locked(struct run *run)
{
	const int64_t started_ms = clock_monotonic();
	int status = EX_OK;

	catch_signals();
	srandom((unsigned)clock_now_us());
	prepare_spool(run);
	if (!run->broken)
		scan(run);
	if (may_claim(run) && queue_left(&run->queue) > 0)
		status = drain_all(run);
	if (spool_sync(&run->spool, &run->err) == -1)
		spool_broke(run);
	if (!run->broken)
		purge(run);
	log_summary(run, started_ms);
	return run->broken ? EX_IOERR : status;
}

static void run_free(struct run *run)
{
	while (run->unused != NULL) {
		struct message *message = run->unused;

		run->unused = message->next;
		message_free(message);
		free(message);
	}
	queue_free(&run->queue);
	skip_free(&run->skip);
	spool_close(&run->spool);
}

/* Opens the spool; false with all said. */
static bool run_open(struct run *run, const struct config *config, struct log *log)
{
	*run = (struct run){.config = config, .log = log, .first_scan = true};
	run->skip.seed = (uint64_t)clock_now_us();
	run->record = (struct record){.config = config, .spool = &run->spool, .log = log};
	if (spool_open(&run->spool, config->spool, &run->err) == 0)
		return true;
	log_say(log, LOG_LEVEL_ERROR, "error", run->err.text);
	return false;
}

int run_spool(const struct config *config, struct log *log)
{
	struct run run;
	int status;

	if (!run_open(&run, config, log))
		return run.err.status;
	switch (spool_lock(&run.spool, &run.err)) {
	case 1:
		status = run_locked(&run);
		break;
	case 0:
		log_say(log, LOG_LEVEL_NOTICE, "busy", "another run is at work on this spool");
		status = EX_OK;
		break;
	default:
		log_say(log, LOG_LEVEL_ERROR, "error", run.err.text);
		status = run.err.status;
	}
	run_free(&run);
	log_flush(log);
	return status;
}

/* ---- the dry run ---- */

static int visit_dry(void *context, const char *name, unsigned char type)
{
	struct run *run = context;
	struct entry entry;

	if (foreign_name(name, type) != NULL || !entry_parse(name, &entry))
		return 0;
	if (entry.not_before > run->now || (entry.expires > 0 && entry.expires <= run->now))
		return 0;
	return queue_add(&run->queue, &entry) ? 0 : -1;
}

static void say_dry(struct run *run, struct message *message, const char *name)
{
	struct envelope_fault fault;
	const struct envelope *envelope = &message->envelope;

	switch (message_load(message, run->spool.dir[SPOOL_NEW], name, &fault)) {
	case MESSAGE_GONE:
		return;
	case MESSAGE_LOADED:
		break;
	case MESSAGE_INVALID:
		(void)printf("would fail   %s: %s\n", name, fault.text);
		return;
	case MESSAGE_FOREIGN:
	case MESSAGE_ERROR:
		(void)printf("would ignore %s: %s\n", name, fault.text);
		return;
	}
	(void)printf("would send   %s from <%s> to", name, envelope->sender);
	for (size_t i = 0; i < envelope->count; i++)
		if (envelope->recipient[i].state == RECIPIENT_TODO)
			(void)printf(" <%s>", envelope->recipient[i].address);
	(void)printf("\n");
}

int run_dry(const struct config *config, struct log *log)
{
	struct message message;
	const char *name;
	struct run run;
	int status = EX_OK;

	if (!run_open(&run, config, log))
		return run.err.status;
	message_init(&message);
	run.now = clock_now();
	if (spool_each(&run.spool, run.spool.dir[SPOOL_NEW], visit_dry, &run, &run.err) == -1) {
		log_say(log, LOG_LEVEL_ERROR, "error", run.err.text);
		status = EX_IOERR;
	}
	while ((name = queue_next(&run.queue)) != NULL)
		say_dry(&run, &message, name);
	message_free(&message);
	run_free(&run);
	return status;
}
