#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "metrics.h"

static char *written(const struct survey *survey, const struct history *history)
{
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);

	assert_non_null(out);
	metrics_write(out, survey, history);
	assert_int_equal(fclose(out), 0);
	return text;
}

static struct survey empty(void)
{
	struct survey survey = {
	    .now = 1000, .due_since = INT64_MAX, .next = INT64_MAX, .due.oldest = INT64_MAX};

	for (int i = 0; i < SURVEY_STATES; i++)
		survey.state[i].oldest = INT64_MAX;
	return survey;
}

static void has(const char *text, const char *line)
{
	if (strstr(text, line) == NULL)
		fail_msg("%s\nis not in\n%s", line, text);
}

static void what_is_not_known_is_left_out(void **state)
{
	const struct survey survey = empty();
	struct history history = {.relay_count = 1};
	char *text;

	(void)state;
	history.relay[0].name = "main";
	text = written(&survey, &history);
	assert_null(strstr(text, "maildrain_relay_"));
	assert_null(strstr(text, "maildrain_last_"));
	has(text, "\nmaildrain_sent_total 0\n");
	has(text, "\nmaildrain_messages{state=\"in_flight\"} 0\n");
	has(text, "\nmaildrain_oldest_message_age_seconds{state=\"waiting\"} 0\n");
	has(text, "\nmaildrain_due_age_seconds 0\n");
	has(text, "\nmaildrain_build_info{version=\"" MAILDRAIN_VERSION "\"} 1\n");
	free(text);
}

static void what_is_known_is_there(void **state)
{
	struct survey survey = empty();
	struct history history = {.totals = {12, 7, 3},
	    .run = {.ended = 990, .took = 61002, .status = 75},
	    .relay_count = 3};
	char *text;

	(void)state;
	survey.state[SURVEY_FAILED] = (struct survey_tally){5, 400};
	survey.due.count = 2;
	survey.due_since = 970;
	survey.deferred[2] = 4;
	survey.deferred[SURVEY_OTHER] = 1;
	history.relay[0] = (struct history_relay){
	    .name = "main", .tried = true, .up = true, .since = 5, .accepted = 960};
	history.relay[1] =
	    (struct history_relay){.name = "local", .tried = true, .since = 6, .retry_at = 1120};
	history.relay[2] =
	    (struct history_relay){.name = "third", .quota = {500, 86400}, .used = 12};
	text = written(&survey, &history);
	has(text, "\nmaildrain_messages{state=\"failed\"} 5\n");
	has(text, "\nmaildrain_oldest_message_age_seconds{state=\"failed\"} 600\n");
	has(text, "\nmaildrain_due_messages 2\n");
	has(text, "\nmaildrain_due_age_seconds 30\n");
	has(text, "\nmaildrain_deferred_messages{status=\"4.2\"} 4\n");
	has(text, "\nmaildrain_deferred_messages{status=\"other\"} 1\n");
	has(text, "\nmaildrain_sent_total 12\n");
	has(text, "\nmaildrain_deferred_total 7\n");
	has(text, "\nmaildrain_failed_total 3\n");
	has(text, "\nmaildrain_last_run_timestamp_seconds 990\n");
	has(text, "\nmaildrain_last_run_duration_seconds 61.002\n");
	has(text, "\nmaildrain_last_run_exit_status 75\n");
	has(text,
	    "\nmaildrain_relay_up{relay=\"main\"} 1\nmaildrain_relay_up{relay=\"local\"} 0\n#");
	has(text, "\nmaildrain_last_success_timestamp_seconds{relay=\"main\"} 960\n#");
	has(text, "\nmaildrain_relay_retry_timestamp_seconds{relay=\"local\"} 1120\n#");
	has(text, "\nmaildrain_relay_quota_recipients{relay=\"third\"} 500\n#");
	has(text, "\nmaildrain_relay_quota_used_recipients{relay=\"third\"} 12\n#");
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(what_is_not_known_is_left_out),
	    cmocka_unit_test(what_is_known_is_there),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
