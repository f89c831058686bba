/* plain: durations, times and texts for a person. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "plain.h"

static void durations(void **state)
{
	char buf[PLAIN_DURATION_MAX];

	(void)state;
	assert_string_equal(plain_duration(-5, buf), "0s");
	assert_string_equal(plain_duration(59, buf), "59s");
	assert_string_equal(plain_duration(60, buf), "1m");
	assert_string_equal(plain_duration(7500, buf), "2h 5m");
	assert_string_equal(plain_duration(86400 + 3600, buf), "1d 1h");
	assert_string_equal(plain_duration(INT64_MAX, buf), "106751991167300d 15h");
}

static void times(void **state)
{
	char buf[PLAIN_TIME_MAX];

	(void)state;
	assert_string_equal(plain_time(1795333316, buf), "2026-11-22 07:41:56 UTC");
	assert_string_equal(plain_time(0, buf), "1970-01-01 00:00:00 UTC");
	assert_string_equal(plain_time(INT64_MAX, buf), "9223372036854775807");
}

/* What plain_lines makes of TEXT when it gets it in pieces of STEP. */
static void lines_in_pieces(const char *text, size_t step, const char *expected)
{
	const size_t len = strlen(text);
	char *shown;
	size_t size, at = 0;
	FILE *out = open_memstream(&shown, &size);

	assert_non_null(out);
	for (size_t end = step; at < len; end += step) {
		if (end > len)
			end = len;
		at += plain_lines(out, text + at, end - at, end == len);
		assert_true(at <= end);
	}
	assert_int_equal(fclose(out), 0);
	assert_string_equal(shown, expected);
	free(shown);
}

static void size_is(uint64_t bytes, const char *expected)
{
	char buf[PLAIN_SIZE_MAX];

	assert_string_equal(plain_size(bytes, buf), expected);
}

static void sizes(void **state)
{
	(void)state;
	size_is(0, "0");
	size_is(1, "1");
	size_is(1023, "1023");
	size_is(1024, "1K");
	size_is(1536, "1536");
	size_is(25 << 20, "25M");
	size_is(UINT64_C(3) << 30, "3G");
	size_is(UINT64_C(1) << 50, "1048576G");
	size_is(UINT64_MAX, "18446744073709551615");
}

static void lines_are_harmless_however_they_come(void **state)
{
	static const char text[] = "one\r\n\ttwo\r\rthree\n\x1b[2J \xff\xe4\xbd\xa0\xe4\xbd\n"
				   "\xf0\x9f\x93\xa7\xc2\x9b\r\n\r";
	static const char expected[] = "one\n\ttwo??three\n?[2J ?\xe4\xbd\xa0??\n"
				       "\xf0\x9f\x93\xa7??\n?";

	(void)state;
	for (size_t step = 1; step <= sizeof text; step++)
		lines_in_pieces(text, step, expected);
}

static void text_is_harmless(void **state)
{
	char *shown;
	size_t size;
	FILE *out = open_memstream(&shown, &size);

	(void)state;
	assert_non_null(out);
	plain_text(out, "a\tb\n\xc3\xa4\xc3");
	plain_text_n(out, "cd\0e", 3);
	assert_int_equal(fclose(out), 0);
	assert_string_equal(shown, "a?b?\xc3\xa4?cd?");
	free(shown);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(durations),
	    cmocka_unit_test(times),
	    cmocka_unit_test(sizes),
	    cmocka_unit_test(lines_are_harmless_however_they_come),
	    cmocka_unit_test(text_is_harmless),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
