#include "status.h"

#include <inttypes.h>
#include <stdio.h>

#include "export.h"
#include "history.h"
#include "metrics.h"
#include "plain.h"
#include "survey.h"
#include "term.h"
#include "view.h"

static void print_tally(const struct survey_tally *tally, int64_t now)
{
	char age[PLAIN_DURATION_MAX] = "-";

	if (tally->count > 0 && tally->oldest != INT64_MAX)
		(void)plain_duration(now - tally->oldest, age);
	(void)printf(" %8zu   %s\n", tally->count, age);
}

/* With the colour of its state where there are any. */
static void print_state(
    const struct term *term, const struct survey *survey, enum survey_state state)
{
	const struct survey_tally *tally = &survey->state[state];
	const enum term_colour colour = tally->count > 0 ? view_colour(state) : TERM_PLAIN;

	(void)printf(
	    "%s%-10s%s", term_on(term, colour), survey_state_name(state), term_off(term, colour));
	print_tally(tally, survey->now);
}

static void print_survey(const struct survey *survey, const char *path)
{
	char wait[PLAIN_DURATION_MAX];
	struct term term;

	term_open(&term);
	(void)printf("spool %s\n\n%-10s %8s   %s\n", path, "state", "messages", "oldest");
	for (int state = 0; state < SURVEY_STATES; state++)
		print_state(&term, survey, (enum survey_state)state);
	(void)printf("\n");
	(void)printf("%-10s", "due now");
	print_tally(&survey->due, survey->now);
	if (survey->next != INT64_MAX)
		(void)printf(
		    "next attempt in %s\n", plain_duration(survey->next - survey->now, wait));
}

static void print_totals(const struct history *history, int64_t now)
{
	const struct history_totals *totals = &history->totals;
	char ago[PLAIN_DURATION_MAX];

	(void)printf("\nin total %" PRId64 " sent, %" PRId64 " deferred, %" PRId64 " failed\n",
	    totals->sent, totals->deferred, totals->failed);
	if (history->run.ended > 0)
		(void)printf("last run with results %s ago, took %" PRId64 ".%" PRId64 "s\n",
		    plain_duration(now - history->run.ended, ago), history->run.took / 1000,
		    history->run.took % 1000 / 100);
}

static char unit_of(int64_t seconds)
{
	if (seconds == 1)
		return 's';
	return seconds == 60 ? 'm' : 'h';
}

/* What holds up its mail, or may do so. */
static void print_holds(const struct history_relay *relay, int64_t now)
{
	char wait[PLAIN_DURATION_MAX];

	if (history_is_down(relay) && relay->retry_at > now)
		(void)printf("  left alone for %s where mail has another way\n",
		    plain_duration(relay->retry_at - now, wait));
	if (relay->rate.count > 0)
		(void)printf(
		    "  at most %" PRId64 "/%c\n", relay->rate.count, unit_of(relay->rate.seconds));
	if (relay->quota.count > 0)
		(void)printf("  %" PRId64 " of %" PRId64 " recipients in 24h\n", relay->used,
		    relay->quota.count);
}

static void print_relay(const struct history_relay *relay, int64_t now)
{
	const char *const state = relay->up ? "up" : "down";
	char since[PLAIN_DURATION_MAX] = "-";
	char accepted[PLAIN_DURATION_MAX] = "-";

	if (relay->tried)
		(void)plain_duration(now - relay->since, since);
	if (relay->accepted > 0)
		(void)plain_duration(now - relay->accepted, accepted);
	(void)printf("%-20s %-9s %-8s %s%s\n", relay->name, relay->tried ? state : "not tried",
	    since, accepted, relay->accepted > 0 ? " ago" : "");
	print_holds(relay, now);
}

static void print_history(const struct history *history, int64_t now)
{
	print_totals(history, now);
	if (history->relay_count > 0)
		(void)printf("\n%-20s %-9s %-8s %s\n", "relay", "was", "for", "last accepted");
	for (size_t i = 0; i < history->relay_count; i++)
		print_relay(&history->relay[i], now);
}

static int take(const struct spool *spool, const struct config *config, struct survey *survey,
    struct history *history, struct error *err)
{
	return survey_take(spool, survey, err) == -1 ||
		       history_load(spool, config, history, err) == -1
		   ? -1
		   : 0;
}

int status_show(const struct spool *spool, const struct config *config, struct error *err)
{
	struct history history;
	struct survey survey;

	if (take(spool, config, &survey, &history, err) == -1)
		return -1;
	print_survey(&survey, spool->path);
	print_history(&history, survey.now);
	return 0;
}

int status_json(const struct spool *spool, const struct config *config, struct error *err)
{
	struct history history;
	struct survey survey;

	if (take(spool, config, &survey, &history, err) == -1)
		return -1;
	return export_survey(stdout, &survey, &history, spool->path, err);
}

int status_prometheus(const struct spool *spool, const struct config *config, struct error *err)
{
	struct history history;
	struct survey survey;

	if (take(spool, config, &survey, &history, err) == -1)
		return -1;
	metrics_write(stdout, &survey, &history);
	return 0;
}
