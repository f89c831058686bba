#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "sysexit.h"

static void each_status_has_its_meaning(void **state)
{
	static const struct {
		int status;
		enum recipient_state state;
		const char *code;
		bool general;
		bool faulty;
	} cases[] = {
	    {0, RECIPIENT_DONE, "2.0.0", false, false},
	    {1, RECIPIENT_DEFERRED, "4.0.0", false, false},
	    {63, RECIPIENT_DEFERRED, "4.0.0", false, false},
	    {64, RECIPIENT_FAILED, "5.0.0", true, false},
	    {65, RECIPIENT_FAILED, "5.0.0", false, false},
	    {66, RECIPIENT_FAILED, "5.0.0", true, false},
	    {67, RECIPIENT_FAILED, "5.1.1", false, false},
	    {68, RECIPIENT_FAILED, "5.1.2", true, false},
	    {69, RECIPIENT_FAILED, "5.0.0", true, false},
	    {70, RECIPIENT_FAILED, "5.0.0", true, false},
	    {71, RECIPIENT_DEFERRED, "4.0.0", false, false},
	    {75, RECIPIENT_DEFERRED, "4.0.0", false, false},
	    {76, RECIPIENT_DEFERRED, "4.0.0", false, false},
	    {77, RECIPIENT_DEFERRED, "4.0.0", true, true},
	    {78, RECIPIENT_DEFERRED, "4.0.0", true, true},
	    {79, RECIPIENT_DEFERRED, "4.0.0", false, false},
	    {126, RECIPIENT_DEFERRED, "4.0.0", true, true},
	    {127, RECIPIENT_DEFERRED, "4.0.0", true, true},
	    {128, RECIPIENT_DEFERRED, "4.0.0", false, false},
	    {255, RECIPIENT_DEFERRED, "4.0.0", false, false},
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct sysexit sysexit;
		char start[32];

		sysexit_read(cases[i].status, "", &sysexit);
		assert_int_equal(sysexit.state, cases[i].state);
		assert_string_equal(sysexit.reply.status, cases[i].code);
		assert_int_equal(sysexit.general, cases[i].general);
		assert_int_equal(sysexit.faulty, cases[i].faulty);
		(void)snprintf(start, sizeof start, "%c50 %s exit %d: ", cases[i].code[0],
		    cases[i].code, cases[i].status);
		assert_memory_equal(sysexit.reply.text, start, strlen(start));
		assert_true(strlen(sysexit.reply.text) > strlen(start));
	}
}

static const char *reply(int status, const char *said, struct sysexit *sysexit)
{
	sysexit_read(status, said, sysexit);
	return sysexit->reply.text;
}

static void its_first_words_are_the_reply(void **state)
{
	struct sysexit sysexit;
	char long_line[5000];

	(void)state;
	assert_string_equal(reply(67, "No\nMore", &sysexit), "550 5.1.1 exit 67: No");
	assert_string_equal(
	    reply(75, "\r\n \t\n  Not now\r\n", &sysexit), "450 4.0.0 exit 75: Not now");
	assert_string_equal(reply(0, " \n", &sysexit), "250 2.0.0 exit 0: Ok");
	assert_string_equal(reply(65, "a\033[1mb\x7f\xc3\xa4\xff", &sysexit),
	    "550 5.0.0 exit 65: a?[1mb?\xc3\xa4?");
	/* A status of its own does not pass for ours. */
	assert_string_equal(
	    reply(67, "550 4.2.2 Full", &sysexit), "550 5.1.1 exit 67: 550 4.2.2 Full");
	memset(long_line, 'x', sizeof long_line - 1);
	long_line[sizeof long_line - 1] = '\0';
	assert_in_range(strlen(reply(67, long_line, &sysexit)), 300, REPLY_TEXT_MAX);
	assert_string_equal(sysexit.reply.status, "5.1.1");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(each_status_has_its_meaning),
	    cmocka_unit_test(its_first_words_are_the_reply),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
