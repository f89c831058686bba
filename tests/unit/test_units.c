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

static void test_size(void **state)
{
	static const char *const wrong[] = {
	    "", "K", "010", "-1", "1k", "1KB", "1 K", "1.5M", "1T", "1048577G", "1125899906842625"};
	static const struct {
		const char *text;
		uint64_t bytes;
	} right[] = {{"0", 0}, {"1", 1}, {"512", 512}, {"64K", 65536}, {"25M", 26214400},
	    {"1G", 1073741824}, {"1048576G", UNITS_SIZE_MAX}, {"1125899906842624", UNITS_SIZE_MAX}};
	uint64_t bytes;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof right / sizeof right[0]; i++) {
		bytes = 77;
		assert_true(units_size(right[i].text, &bytes));
		assert_int_equal(bytes, right[i].bytes);
	}
	bytes = 77;
	for (i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
		if (units_size(wrong[i], &bytes) || bytes != 77)
			fail_msg("\"%s\" was read as %llu", wrong[i], (unsigned long long)bytes);
}

static void rate_is(const char *text, int64_t number, int64_t seconds)
{
	int64_t got_number = -1, got_seconds = -1;

	assert_true(units_rate(text, 1000, &got_number, &got_seconds));
	assert_int_equal(got_number, number);
	assert_int_equal(got_seconds, seconds);
}

static void test_rate(void **state)
{
	static const char *const wrong[] = {"", "14", "/s", "14/", "14/ss", "14/w", "14s", "14 /s",
	    "014/s", "-1/s", "1001/s", "10/10s", "1.5/s", "14/s "};
	int64_t number = -1, seconds = -1;
	size_t i;

	(void)state;
	rate_is("14/s", 14, 1);
	rate_is("200/m", 200, 60);
	rate_is("1000/h", 1000, 3600);
	rate_is("0/d", 0, 86400);
	for (i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
		if (units_rate(wrong[i], 1000, &number, &seconds) || number != -1 || seconds != -1)
			fail_msg("\"%s\" was accepted", wrong[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_number),
	    cmocka_unit_test(test_number_syntax),
	    cmocka_unit_test(test_duration),
	    cmocka_unit_test(test_duration_syntax),
	    cmocka_unit_test(test_size),
	    cmocka_unit_test(test_rate),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
