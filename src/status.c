#include "status.h"

#include <inttypes.h>
#include <stdio.h>

#include "export.h"
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

int status_show(const struct spool *spool, struct error *err)
{
	struct survey survey;

	if (survey_take(spool, &survey, err) == -1)
		return -1;
	print_survey(&survey, spool->path);
	return 0;
}

int status_json(const struct spool *spool, struct error *err)
{
	struct survey survey;

	if (survey_take(spool, &survey, err) == -1)
		return -1;
	return export_survey(stdout, &survey, spool->path, err);
}
