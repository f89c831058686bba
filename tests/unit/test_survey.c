/* survey: the words for states. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "survey.h"

static void each_state_has_its_words(void **state)
{
	enum survey_state parsed;

	(void)state;
	for (int i = 0; i < SURVEY_STATES; i++) {
		const enum survey_state one = (enum survey_state)i;

		assert_true(survey_state_parse(survey_state_name(one), &parsed));
		assert_int_equal(parsed, one);
		assert_true(survey_state_parse(survey_state_key(one), &parsed));
		assert_int_equal(parsed, one);
		assert_null(strchr(survey_state_key(one), ' '));
	}
	assert_true(survey_state_parse("in-flight", &parsed));
	assert_int_equal(parsed, SURVEY_IN_FLIGHT);
}

static void others_are_none(void **state)
{
	static const char *const words[] = {
	    "", "fail", "failedd", "Failed", "in", "in flight ", "inflight", "-"};
	enum survey_state parsed;

	(void)state;
	for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
		assert_false(survey_state_parse(words[i], &parsed));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(each_state_has_its_words),
	    cmocka_unit_test(others_are_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
