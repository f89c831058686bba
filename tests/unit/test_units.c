#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "units.h"

typedef bool parser(const char *text, int64_t *value);

static bool parse_number(const char *text, int64_t *value)
{
	return units_number(text, 100, value);
}

static bool parse_number_small(const char *text, int64_t *value)
{
	return units_number(text, 5, value);
}

static bool parse_number_int64(const char *text, int64_t *value)
{
	return units_number(text, INT64_MAX, value);
}

static void reads(parser *parse, const char *text, int64_t expected)
{
	int64_t value = -1;

	if (!parse(text, &value))
		fail_msg("\"%s\" was refused", text);
	assert_int_equal(value, expected);
}

static void refuses(parser *parse, const char *text)
{
	int64_t value = -77;

	if (parse(text, &value))
		fail_msg("\"%s\" was read as %lld", text, (long long)value);
	assert_int_equal(value, -77);
}

static void test_number(void **state)
{
	(void)state;
	reads(parse_number, "0", 0);
	reads(parse_number, "7", 7);
	reads(parse_number, "100", 100);
	refuses(parse_number, "101");
	refuses(parse_number_small, "6");
	refuses(parse_number_small, "10");
	reads(parse_number_int64, "9223372036854775807", INT64_MAX);
	refuses(parse_number_int64, "9223372036854775808");
	refuses(parse_number_int64, "99999999999999999999999999");
}

static void test_number_syntax(void **state)
{
	static const char *const wrong[] = {
	    "", " ", "010", "00", "-1", "+1", " 1", "1 ", "0x10", "1.5", "1e1", "one"};
	size_t i;

	(void)state;
	for (i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
		refuses(parse_number, wrong[i]);
}

static void test_duration(void **state)
{
	(void)state;
	reads(units_duration, "0", 0);
	reads(units_duration, "0d", 0);
	reads(units_duration, "90s", 90);
	reads(units_duration, "5m", 300);
	reads(units_duration, "1h", 3600);
	reads(units_duration, "7d", 604800);
	reads(units_duration, "36500d", UNITS_DURATION_MAX);
	refuses(units_duration, "36501d");
	refuses(units_duration, "153722867280912931m"); /* 60 times that is 44 modulo 2^64 */
	refuses(units_duration, "9223372036854775807d");
}

static void test_duration_syntax(void **state)
{
	static const char *const wrong[] = {"", "s", "90", "1w", "1H", "5 m", "5min", "1h30m",
	    "01h", "-1s", "1.5h", "5m ", " 5m", "5\xc2\xb5"};
	size_t i;

	(void)state;
	for (i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
		refuses(units_duration, wrong[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_number),
	    cmocka_unit_test(test_number_syntax),
	    cmocka_unit_test(test_duration),
	    cmocka_unit_test(test_duration_syntax),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
