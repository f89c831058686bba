#include "run.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "account.h"
#include "claims.h"
#include "clock.h"
#include "dispatch.h"
#include "import.h"
#include "notify.h"
#include "record.h"
#include "scan.h"
#include "spool.h"
#include "state.h"
#include "trouble.h"

#define WAIT_MS	       1000
#define PURGE_INTERVAL 600 /* seconds between purges, and other such rounds */

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
	struct dispatch dispatch;
	struct waits waits;
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
	    record->deferred, record->failed,
	    dispatch_left(&run->dispatch) + dispatch_under_way(&run->dispatch));
}

static bool may_claim(const struct run *run)
{
	return !run->trouble.stop && stop_asked == 0;
}

/* False when there is no way to wait: without one it would be a busy loop. */
static bool wait_for_relays(struct run *run)
{
	waits_begin(&run->waits, may_wait(run));
	dispatch_prepare(&run->dispatch, &run->waits);
	if (waits_wait(&run->waits, &run->trouble.err) == 0)
		return true;
	trouble_stop(&run->trouble);
	return false;
}

/* Whether there is mail to give, or under way. */
static bool goes_on(struct run *run)
{
	run->dispatch.delivery.stopped = stop_asked != 0;
	return dispatch_feed(&run->dispatch);
}

/* Sends what is due. The exit status. */
static int drain(struct run *run)
{
	if (spool_movable(&run->spool, &run->trouble.err) == -1)
		trouble_stop(&run->trouble);
	scan_skip_foreign(&run->scan);
	if (queue_left(&run->scan.queue) == 0)
		return EX_OK;
	dispatch_recall(&run->dispatch);
	while (goes_on(run)) {
		delivery_renew(&run->dispatch.delivery);
		show_progress(run);
		note(run, account_go_on(&run->account, &run->trouble.err));
		if (!wait_for_relays(run))
			break;
		dispatch_work(&run->dispatch, &run->waits);
	}
	dispatch_finish(&run->dispatch);
	return run->dispatch.delivery.stranded && may_claim(run) ? EX_TEMPFAIL : EX_OK;
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
	dispatch_scan(&run->dispatch);
	if (may_claim(run) && queue_left(&run->scan.queue) > 0)
		status = drain(run);
	notify(run, since);
	if (spool_sync_last(&run->spool, &run->trouble.err) == -1)
		trouble_stop(&run->trouble);
	return conclude(run, purge(run), status);
}

static void run_free(struct run *run)
{
	dispatch_free(&run->dispatch);
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
	run->dispatch.delivery = (struct delivery){
	    .config = config,
	    .spool = &run->spool,
	    .log = log,
	    .record = &run->record,
	    .account = &run->account,
	    .trouble = &run->trouble,
	    .claims = &run->claims,
	    .scan = &run->scan,
	};
	if (spool_open(&run->spool, config->spool, &run->trouble.err) == 0 &&
	    dispatch_open(&run->dispatch) == 0) {
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
