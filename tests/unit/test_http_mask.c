/* http_mask: what we have told an API is not shown, however the words of its answer have it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "http_answer.h"
#include "http_mask.h"

/* What is shown of an answer that says TEXT. */
static void check(const struct credential *credential, const char *text, const char *shown)
{
	struct http_answer answer = {.code = 400, .body = text, .error = "", .id = ""};
	struct http_result result;

	answer.len = strlen(text);
	http_result_begin(&result, &answer);
	http_result_end(&result, &answer);
	http_mask(credential, result.text);
	assert_string_equal(result.text + strlen("400 5.0.0 "), shown);
}

static void nothing_is_known(void **state)
{
	const struct credential none = {.user = NULL};

	(void)state;
	check(&none, "tiger", "tiger");
}

static void all_that_is_secret(void **state)
{
	const struct credential password = {.user = "u", .password = "tiger"};
	const struct credential token = {.token = "ya29", .session_token = "IQoJ"};

	(void)state;
	check(&password, "u tiger, Basic dTp0aWdlcg==", "u *****, Basic ************");
	check(&token, "ya29 and IQoJ", "**** and ****");
}

static void a_password_whose_bytes_are_not_shown_as_they_are(void **state)
{
	const struct credential blanks = {.password = " two  blanks "};
	const struct credential latin1 = {.password = "p\xe4ss"};
	const struct credential blank = {.password = " "};

	(void)state;
	check(&blanks, "no: two  blanks !", "no: ********** !");
	check(&blanks, "no: two  blanks", "no: **********");
	check(&latin1, "no: p\xe4ss", "no: ****");
	check(&blank, "no no", "no*no");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(nothing_is_known),
	    cmocka_unit_test(all_that_is_secret),
	    cmocka_unit_test(a_password_whose_bytes_are_not_shown_as_they_are),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
