#include "check.h"

#include <inttypes.h>

#include "plain.h"

static const char *const state_names[] = {
    [CHECK_OK] = "OK",
    [CHECK_WARNING] = "WARNING",
    [CHECK_CRITICAL] = "CRITICAL",
    [CHECK_UNKNOWN] = "UNKNOWN",
};

const char *check_limits_fault(const struct check_limits *limits)
{
	if (limits->warning > limits->critical)
		return "--warning is more than --critical";
	if (limits->failed_critical != -1 && limits->failed_warning > limits->failed_critical)
		return "--failed-warning is more than --failed-critical";
	return NULL;
}

static bool exceeds(int64_t value, int64_t limit)
{
	return limit != -1 && value > limit;
}

static bool any_down(const struct history *history)
{
	for (size_t i = 0; i < history->relay_count; i++)
		if (history_is_down(&history->relay[i]))
			return true;
	return false;
}

enum check_state check_judge(
    const struct check_limits *limits, const struct survey *survey, const struct history *history)
{
	const int64_t age = survey_due_age(survey);
	const int64_t failed = (int64_t)survey->state[SURVEY_FAILED].count;

	if (exceeds(age, limits->critical) || exceeds(failed, limits->failed_critical))
		return CHECK_CRITICAL;
	if (exceeds(age, limits->warning) || exceeds(failed, limits->failed_warning) ||
	    any_down(history))
		return CHECK_WARNING;
	return CHECK_OK;
}

static void begin(FILE *out, enum check_state state)
{
	(void)fprintf(out, "MAILDRAIN %s - ", state_names[state]);
}

static void write_words(FILE *out, const struct survey *survey, const struct history *history)
{
	char text[PLAIN_DURATION_MAX];

	for (size_t i = 0; i < history->relay_count; i++)
		if (history_is_down(&history->relay[i]))
			(void)fprintf(out, "relay %s down for %s, ", history->relay[i].name,
			    plain_duration(survey->now - history->relay[i].since, text));
	(void)fprintf(out, "%zu waiting, %zu deferred, ", survey->state[SURVEY_WAITING].count,
	    survey->state[SURVEY_DEFERRED].count);
	if (survey->due.count > 0)
		(void)fprintf(out, "oldest due %s, ", plain_duration(survey_due_age(survey), text));
	(void)fprintf(out, "%zu failed", survey->state[SURVEY_FAILED].count);
}

static void write_value(FILE *out, const char *label, int64_t value, const char *unit)
{
	(void)fprintf(out, " %s=%" PRId64 "%s", label, value, unit);
}

static void write_limits(FILE *out, int64_t warning, int64_t critical)
{
	(void)fputs(";", out);
	if (warning != -1)
		(void)fprintf(out, "%" PRId64, warning);
	(void)fputs(";", out);
	if (critical != -1)
		(void)fprintf(out, "%" PRId64, critical);
	(void)fputs(";0", out);
}

static void write_count(FILE *out, const char *label, size_t count)
{
	write_value(out, label, (int64_t)count, "");
	write_limits(out, -1, -1);
}

/* Totals are not among them: a counter ("c") is what few of the tools that draw these take. */
static void write_data(FILE *out, const struct check_limits *limits, const struct survey *survey)
{
	(void)fputs(" |", out);
	write_value(out, "due_age", survey_due_age(survey), "s");
	write_limits(out, limits->warning, limits->critical);
	write_count(out, "due", survey->due.count);
	write_count(out, "waiting", survey->state[SURVEY_WAITING].count);
	write_count(out, "in_flight", survey->state[SURVEY_IN_FLIGHT].count);
	write_count(out, "deferred", survey->state[SURVEY_DEFERRED].count);
	write_value(out, "failed", (int64_t)survey->state[SURVEY_FAILED].count, "");
	write_limits(out, limits->failed_warning, limits->failed_critical);
	(void)fputs("\n", out);
}

void check_write(FILE *out, enum check_state state, const struct check_limits *limits,
    const struct survey *survey, const struct history *history)
{
	begin(out, state);
	write_words(out, survey, history);
	write_data(out, limits, survey);
}

void check_write_unknown(FILE *out, const char *why)
{
	begin(out, CHECK_UNKNOWN);
	/* A bar would begin the performance data. */
	for (; *why != '\0'; why++)
		(void)fputc(*why == '|' || (unsigned char)*why < ' ' ? '?' : *why, out);
	(void)fputs("\n", out);
}
