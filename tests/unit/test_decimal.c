#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "decimal.h"

static void is_written(uint64_t number, unsigned width, const char *text)
{
	char buf[DECIMAL_MAX + 1];
	const size_t len = decimal_write(number, width, buf);

	buf[len] = '\0';
	assert_string_equal(buf, text);
}

static void numbers(void **state)
{
	(void)state;
	is_written(0, 1, "0");
	is_written(7, 1, "7");
	is_written(10, 1, "10");
	is_written(1795333316, 1, "1795333316");
	is_written(UINT64_MAX, 1, "18446744073709551615");
}

static void widths(void **state)
{
	(void)state;
	is_written(0, 0, "0");
	is_written(0, 6, "000000");
	is_written(42, 6, "000042");
	is_written(1234567, 6, "1234567");
	is_written(1, 20, "00000000000000000001");
	is_written(1, 99, "00000000000000000001");
	is_written(UINT64_MAX, 20, "18446744073709551615");
}

/* As printf writes them. */
static void many(void **state)
{
	char text[32];

	(void)state;
	for (uint64_t number = 1; number < UINT64_MAX / 7; number = number * 7 + 3) {
		(void)snprintf(text, sizeof text, "%llu", (unsigned long long)number);
		is_written(number, 1, text);
		(void)snprintf(text, sizeof text, "%09llu", (unsigned long long)number);
		is_written(number, 9, text);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(numbers),
	    cmocka_unit_test(widths),
	    cmocka_unit_test(many),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
