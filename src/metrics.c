#include "metrics.h"

#include <inttypes.h>

#define NAME "maildrain_"

static void head(FILE *out, const char *name, const char *type, const char *help)
{
	(void)fprintf(out, "# HELP " NAME "%s %s\n# TYPE " NAME "%s %s\n", name, help, name, type);
}

static void single(FILE *out, const char *name, const char *type, const char *help, int64_t value)
{
	head(out, name, type, help);
	(void)fprintf(out, NAME "%s %" PRId64 "\n", name, value);
}

/* One value of a metric whose head is written. No label here needs quoting: see confvalue_name. */
static void labelled(FILE *out, const char *name, const char *label, const char *is, int64_t value)
{
	(void)fprintf(out, NAME "%s{%s=\"%s\"} %" PRId64 "\n", name, label, is, value);
}

static int64_t age(const struct survey_tally *tally, int64_t now)
{
	return tally->oldest < now ? now - tally->oldest : 0;
}

static void write_states(FILE *out, const struct survey *survey)
{
	head(out, "messages", "gauge", "Messages in the spool, by state.");
	for (int i = 0; i < SURVEY_STATES; i++)
		labelled(out, "messages", "state", survey_state_key((enum survey_state)i),
		    (int64_t)survey->state[i].count);
	head(out, "oldest_message_age_seconds", "gauge",
	    "Age of the oldest message in each state, 0 without one.");
	for (int i = 0; i < SURVEY_STATES; i++)
		labelled(out, "oldest_message_age_seconds", "state",
		    survey_state_key((enum survey_state)i), age(&survey->state[i], survey->now));
}

static void write_due(FILE *out, const struct survey *survey)
{
	single(out, "due_messages", "gauge", "Messages whose next attempt is due.",
	    (int64_t)survey->due.count);
	single(out, "due_age_seconds", "gauge",
	    "How long the message that waits longest for a due attempt has done so.",
	    survey_due_age(survey));
}

static void write_deferred(FILE *out, const struct survey *survey)
{
	head(out, "deferred_messages", "gauge",
	    "Deferred messages, by class and subject of their status (RFC 3463).");
	for (int i = 0; i < SURVEY_SUBJECTS; i++)
		labelled(out, "deferred_messages", "status", survey_subject(i),
		    (int64_t)survey->deferred[i]);
}

static void write_totals(FILE *out, const struct history_totals *totals)
{
	single(out, "sent_total", "counter", "Messages sent.", totals->sent);
	single(out, "deferred_total", "counter", "Attempts after which a message was deferred.",
	    totals->deferred);
	single(out, "failed_total", "counter", "Messages given up, into failed/.", totals->failed);
}

static void write_run(FILE *out, const struct history_run *run)
{
	if (run->ended == 0)
		return;
	single(out, "last_run_timestamp_seconds", "gauge",
	    "When a run was last at work; outside of metrics_file, one that had results.",
	    run->ended);
	head(out, "last_run_duration_seconds", "gauge", "How long that run took.");
	(void)fprintf(out, NAME "last_run_duration_seconds %" PRId64 ".%03" PRId64 "\n",
	    run->took / 1000, run->took % 1000);
	if (run->status != -1)
		single(out, "last_run_exit_status", "gauge",
		    "Exit status of that run, as in sysexits; only in metrics_file.", run->status);
}

static size_t count_tried(const struct history *history)
{
	size_t tried = 0;

	for (size_t i = 0; i < history->relay_count; i++)
		tried += history->relay[i].tried ? 1 : 0;
	return tried;
}

static size_t count_accepted(const struct history *history)
{
	size_t accepted = 0;

	for (size_t i = 0; i < history->relay_count; i++)
		accepted += history->relay[i].accepted > 0 ? 1 : 0;
	return accepted;
}

static void write_relays(FILE *out, const struct history *history)
{
	if (count_tried(history) > 0)
		head(out, "relay_up", "gauge", "Whether the relay was up when it was last tried.");
	for (size_t i = 0; i < history->relay_count; i++)
		if (history->relay[i].tried)
			labelled(out, "relay_up", "relay", history->relay[i].name,
			    history->relay[i].up ? 1 : 0);
	if (count_accepted(history) > 0)
		head(out, "last_success_timestamp_seconds", "gauge",
		    "When the relay last accepted a message.");
	for (size_t i = 0; i < history->relay_count; i++)
		if (history->relay[i].accepted > 0)
			labelled(out, "last_success_timestamp_seconds", "relay",
			    history->relay[i].name, history->relay[i].accepted);
}

void metrics_write(FILE *out, const struct survey *survey, const struct history *history)
{
	write_states(out, survey);
	write_due(out, survey);
	write_deferred(out, survey);
	write_totals(out, &history->totals);
	write_run(out, &history->run);
	write_relays(out, history);
	head(out, "build_info", "gauge", "The program's version.");
	labelled(out, "build_info", "version", MAILDRAIN_VERSION, 1);
}
