#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "check.h"

static const struct check_limits USUAL = {900, 3600, -1, -1};

/* A queue whose longest overdue message is so by AGE seconds. */
static struct survey queue(int64_t age, size_t failed)
{
	struct survey survey = {.now = 1000000, .due_since = 1000000 - age, .next = INT64_MAX};

	survey.due.count = 3;
	survey.state[SURVEY_WAITING].count = 2;
	survey.state[SURVEY_IN_FLIGHT].count = 1;
	survey.state[SURVEY_DEFERRED].count = 4;
	survey.state[SURVEY_FAILED].count = failed;
	return survey;
}

static struct history relays(bool up, bool tried)
{
	struct history history = {.relay_count = 2};

	history.relay[0] = (struct history_relay){.name = "main", .tried = true, .up = true};
	history.relay[1] =
	    (struct history_relay){.name = "local", .tried = tried, .up = up, .since = 992900};
	return history;
}

static void judges(const struct check_limits *limits, int64_t age, size_t failed, bool up,
    enum check_state expected)
{
	const struct survey survey = queue(age, failed);
	const struct history history = relays(up, true);

	assert_int_equal(check_judge(limits, &survey, &history), expected);
}

static void age_alone(void **state)
{
	(void)state;
	judges(&USUAL, 0, 0, true, CHECK_OK);
	judges(&USUAL, 900, 0, true, CHECK_OK);
	judges(&USUAL, 901, 0, true, CHECK_WARNING);
	judges(&USUAL, 3600, 0, true, CHECK_WARNING);
	judges(&USUAL, 3601, 0, true, CHECK_CRITICAL);
}

static void failed_messages(void **state)
{
	const struct check_limits limits = {900, 3600, 0, 10};

	(void)state;
	judges(&USUAL, 0, 1000000, true, CHECK_OK);
	judges(&limits, 0, 0, true, CHECK_OK);
	judges(&limits, 0, 1, true, CHECK_WARNING);
	judges(&limits, 0, 10, true, CHECK_WARNING);
	judges(&limits, 0, 11, true, CHECK_CRITICAL);
}

static void a_relay_that_is_down(void **state)
{
	const struct survey survey = queue(0, 0);
	const struct history untried = relays(false, false);

	(void)state;
	judges(&USUAL, 0, 0, false, CHECK_WARNING);
	judges(&USUAL, 3601, 0, false, CHECK_CRITICAL);
	assert_int_equal(check_judge(&USUAL, &survey, &untried), CHECK_OK);
}

static void nothing_is_due(void **state)
{
	struct survey survey = queue(0, 0);
	const struct history history = relays(true, true);

	(void)state;
	survey.due_since = INT64_MAX;
	assert_int_equal(survey_due_age(&survey), 0);
	assert_int_equal(check_judge(&USUAL, &survey, &history), CHECK_OK);
	survey.due_since = survey.now + 5; /* a birth in the future */
	assert_int_equal(survey_due_age(&survey), 0);
}

static void limits_that_make_no_sense(void **state)
{
	const struct check_limits ages = {3601, 3600, -1, -1};
	const struct check_limits numbers = {900, 3600, 11, 10};
	const struct check_limits same = {900, 900, 10, 10};
	const struct check_limits warning = {900, 900, 10, -1};

	(void)state;
	assert_non_null(strstr(check_limits_fault(&ages), "--warning"));
	assert_non_null(strstr(check_limits_fault(&numbers), "--failed-warning"));
	assert_null(check_limits_fault(&USUAL));
	assert_null(check_limits_fault(&same));
	assert_null(check_limits_fault(&warning));
}

static void says(enum check_state state, const struct check_limits *limits,
    const struct survey *survey, const struct history *history, const char *expected)
{
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);

	assert_non_null(out);
	check_write(out, state, limits, survey, history);
	assert_int_equal(fclose(out), 0);
	assert_string_equal(text, expected);
	free(text);
}

static void the_line(void **state)
{
	const struct check_limits limits = {900, 3600, 1, -1};
	struct survey survey = queue(65, 2);
	const struct history down = relays(false, true);
	const struct history up = relays(true, true);

	(void)state;
	says(CHECK_WARNING, &limits, &survey, &down,
	    "MAILDRAIN WARNING - relay local down for 1h 58m, 2 waiting, 4 deferred, oldest due "
	    "1m, "
	    "2 failed | due_age=65s;900;3600;0 due=3;;;0 waiting=2;;;0 in_flight=1;;;0 "
	    "deferred=4;;;0 failed=2;1;;0\n");
	survey.due.count = 0;
	says(CHECK_OK, &USUAL, &survey, &up,
	    "MAILDRAIN OK - 2 waiting, 4 deferred, 2 failed | due_age=65s;900;3600;0 due=0;;;0 "
	    "waiting=2;;;0 in_flight=1;;;0 deferred=4;;;0 failed=2;;;0\n");
}

static void unknown_has_one_line_and_no_data(void **state)
{
	char text[128] = "";
	FILE *out = fmemopen(text, sizeof text, "w");

	(void)state;
	assert_non_null(out);
	check_write_unknown(out, "can't open /a|b\nc");
	assert_int_equal(fclose(out), 0);
	assert_string_equal(text, "MAILDRAIN UNKNOWN - can't open /a?b?c\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(age_alone),
	    cmocka_unit_test(failed_messages),
	    cmocka_unit_test(a_relay_that_is_down),
	    cmocka_unit_test(nothing_is_due),
	    cmocka_unit_test(limits_that_make_no_sense),
	    cmocka_unit_test(the_line),
	    cmocka_unit_test(unknown_has_one_line_and_no_data),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
