#include "status.h"

#include <inttypes.h>
#include <stdio.h>

#include "plain.h"
#include "survey.h"

static void print_tally(const char *name, const struct survey_tally *tally, int64_t now)
{
	char age[PLAIN_DURATION_MAX] = "-";

	if (tally->count > 0 && tally->oldest != INT64_MAX)
		(void)plain_duration(now - tally->oldest, age);
	(void)printf("%-10s %8zu   %s\n", name, tally->count, age);
}

static void print_survey(const struct survey *survey, const char *path)
{
	char wait[PLAIN_DURATION_MAX];

	(void)printf("spool %s\n\n%-10s %8s   %s\n", path, "state", "messages", "oldest");
	for (int state = 0; state < SURVEY_STATES; state++)
		print_tally(survey_state_name((enum survey_state)state), &survey->state[state],
		    survey->now);
	(void)printf("\n");
	print_tally("due now", &survey->due, survey->now);
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
