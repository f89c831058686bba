/* challenge: what a server says in base64 can be read, and nothing else is taken for it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "challenge.h"

/* LINE stands in memory of just its length. */
static void expect(const char *line, const char *text)
{
	const size_t len = strlen(line);
	char *exact = malloc(len + 1);
	char out[64];

	assert_non_null(exact);
	memcpy(exact, line, len);
	memset(out, '#', sizeof out);
	challenge_text(exact, len, out, sizeof out);
	assert_string_equal(out, text);
	free(exact);
}

static void a_challenge_is_decoded(void **state)
{
	(void)state;
	expect("334 eyJzdGF0dXMiOiI0MDAifQ==", "{\"status\":\"400\"}");
	expect("334 YQ==", "a");
	expect("334 YWI=", "ab");
	expect("334 YWJj", "abc");
	expect("334 YWJjZA==\r\n", "abcd");
	expect("334 YWJjZA", "abcd");
	expect("334 Pj9+Pj5+bz9v", ">?~>>~o?o");
}

static void anything_else_is_none(void **state)
{
	(void)state;
	expect("", "");
	expect("334", "");
	expect("334 ", "");
	expect("334-YWJj", "");
	expect("535 YWJj", "");
	expect("334 go on", "");
	expect("334 YWJj YWJj", "");
	expect("334 YW=Jj", "");
	expect("334 ====", "");
	expect("334 YQBi", ""); /* a NUL b */
}

static void what_does_not_fit_is_cut(void **state)
{
	char out[4];

	(void)state;
	challenge_text("334 YWJjZGVm", 12, out, sizeof out);
	assert_string_equal(out, "abc");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_challenge_is_decoded),
	    cmocka_unit_test(anything_else_is_none),
	    cmocka_unit_test(what_does_not_fit_is_cut),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
