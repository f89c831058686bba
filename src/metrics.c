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

/* What there is to say of a relay; false when it is not known, or does not apply. */
typedef bool of_relay(const struct history_relay *relay, int64_t *value);

static bool up(const struct history_relay *relay, int64_t *value)
{
	*value = relay->up ? 1 : 0;
	return relay->tried;
}

static bool accepted(const struct history_relay *relay, int64_t *value)
{
	*value = relay->accepted;
	return relay->accepted > 0;
}

static bool retry_at(const struct history_relay *relay, int64_t *value)
{
	*value = relay->retry_at;
	return history_is_down(relay) && relay->retry_at > 0;
}

static bool quota(const struct history_relay *relay, int64_t *value)
{
	*value = relay->quota.count;
	return relay->quota.count > 0;
}

static bool quota_used(const struct history_relay *relay, int64_t *value)
{
	*value = relay->used;
	return relay->quota.count > 0;
}

static void write_relays(
    FILE *out, const struct history *history, const char *name, const char *help, of_relay *look)
{
	bool begun = false;

	for (size_t i = 0; i < history->relay_count; i++) {
		const struct history_relay *relay = &history->relay[i];
		int64_t value;

		if (!look(relay, &value))
			continue;
		if (!begun)
			head(out, name, "gauge", help);
		begun = true;
		labelled(out, name, "relay", relay->name, value);
	}
}

static void write_all_relays(FILE *out, const struct history *history)
{
	write_relays(
	    out, history, "relay_up", "Whether the relay was up when it was last tried.", up);
	write_relays(out, history, "last_success_timestamp_seconds",
	    "When the relay last accepted a message.", accepted);
	write_relays(out, history, "relay_retry_timestamp_seconds",
	    "Until when a relay that is down is left alone, if mail has another way.", retry_at);
	write_relays(out, history, "relay_quota_recipients",
	    "Recipients that may be sent over the relay in 24 hours.", quota);
	write_relays(out, history, "relay_quota_used_recipients",
	    "Recipients that count against its quota.", quota_used);
}

void metrics_write(FILE *out, const struct survey *survey, const struct history *history)
{
	write_states(out, survey);
	write_due(out, survey);
	write_deferred(out, survey);
	write_totals(out, &history->totals);
	write_run(out, &history->run);
	write_all_relays(out, history);
	head(out, "build_info", "gauge", "The program's version.");
	labelled(out, "build_info", "version", MAILDRAIN_VERSION, 1);
}
