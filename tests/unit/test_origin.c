#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "origin.h"

static void check_name(const char *gecos, size_t size, const char *expected)
{
	char name[200];

	origin_full_name(gecos, "jo", name, size);
	assert_string_equal(name, expected);
}

static void full_names(void **state)
{
	(void)state;
	check_name("Jo Doe,Room 5,,", 200, "Jo Doe");
	check_name("", 200, "");
	check_name(",x", 200, "");
	check_name("& Doe & Co", 200, "Jo Doe Jo Co");
	check_name("a\nBcc: b", 200, "");
	check_name("\xff", 200, "");
	check_name("J\xc3\xb6", 200, "J\xc3\xb6");
}

static void full_names_that_are_too_long(void **state)
{
	(void)state;
	check_name("abcdef", 4, "abc");
	check_name("abcde", 6, "abcde");
	check_name("abc&", 5, "abcJ");
	check_name("ab&x", 5, "abJo");
	/* Cut within a character. */
	check_name("abc\xc3\xb6", 5, "");
}

static void who_calls(void **state)
{
	struct origin origin;

	(void)state;
	origin_find(&origin, "shop.example");
	assert_int_equal(origin.uid, getuid());
	assert_string_not_equal(origin.login, "");
	assert_string_not_equal(origin.host, "");
	assert_string_equal(origin.domain, "shop.example");
	origin_find(&origin, NULL);
	assert_string_not_equal(origin.domain, "");
	assert_null(confvalue_helo(origin.domain));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(full_names),
	    cmocka_unit_test(full_names_that_are_too_long),
	    cmocka_unit_test(who_calls),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
