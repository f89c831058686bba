#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "alert.h"

static void says(const struct alert *alert, const char *expected)
{
	char text[ALERT_TEXT_MAX];

	alert_sentence(alert, text);
	assert_string_equal(text, expected);
}

static void all_is_known(void **state)
{
	struct survey survey = {.now = 100000, .due = {.count = 3}, .due_since = 92500};
	struct history history = {.relay_count = 3};
	struct alert alert = {
	    "maildrain.service", "web1", "exit-code", "75", &survey, &history, ""};

	(void)state;
	history.relay[0] = (struct history_relay){.name = "main", .tried = true, .since = 92440};
	history.relay[1] = (struct history_relay){
	    .name = "local", .tried = true, .up = true, .since = 5, .accepted = 5};
	history.relay[2] = (struct history_relay){.name = "third"};
	says(&alert,
	    "maildrain.service on web1 has failed: no relay takes mail (exit status 75); 3 "
	    "messages are due, the oldest for 2h 5m; relay main is down for 2h 6m");
	survey.due.count = 1;
	alert.status = "3";
	says(&alert, "maildrain.service on web1 has failed: exit status 3; 1 message is due, the "
		     "oldest for 2h 5m; relay main is down for 2h 6m");
	survey.due.count = 0;
	history.relay_count = 0;
	alert.result = "timeout";
	says(&alert, "maildrain.service on web1 has failed (timeout); no message is due");
	alert.result = NULL;
	says(&alert, "maildrain.service on web1 has failed; no message is due");
}

static void each_status_has_its_words(void **state)
{
	static const struct {
		const char *status;
		const char *words;
	} cases[] = {
	    {"74", "can't be read or written"},
	    {"75", "no relay"},
	    {"77", "permission"},
	    {"78", "configuration"},
	};
	char text[ALERT_TEXT_MAX];

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		const struct alert alert = {
		    "u", "h", "exit-code", cases[i].status, NULL, NULL, "gone"};

		alert_sentence(&alert, text);
		assert_non_null(strstr(text, cases[i].words));
		assert_non_null(strstr(text, "its queue can't be read: gone"));
	}
}

static void too_much_is_cut(void **state)
{
	char unit[2 * ALERT_TEXT_MAX];
	char text[ALERT_TEXT_MAX];
	const struct alert alert = {unit, "h", NULL, NULL, NULL, NULL, "gone"};

	(void)state;
	memset(unit, 'x', sizeof unit - 1);
	unit[sizeof unit - 1] = '\0';
	alert_sentence(&alert, text);
	assert_int_equal(strlen(text), ALERT_TEXT_MAX - 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(all_is_known),
	    cmocka_unit_test(each_status_has_its_words),
	    cmocka_unit_test(too_much_is_cut),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
