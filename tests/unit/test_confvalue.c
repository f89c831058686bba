#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "confvalue.h"

static void test_pattern(void **state)
{
	(void)state;
	assert_null(confvalue_pattern("example.com"));
	assert_null(confvalue_pattern("*.example.com"));
	assert_null(confvalue_pattern("me@example.com"));
	assert_null(confvalue_pattern("*@[a-c].example"));
	assert_null(confvalue_pattern("\"a@b\"@example.com"));
	assert_non_null(strstr(confvalue_pattern("@example.com"), "before"));
	assert_non_null(strstr(confvalue_pattern("me@"), "behind"));
	assert_non_null(strstr(confvalue_pattern("<me@example.com>"), "<"));
	assert_non_null(confvalue_pattern("<>"));
	assert_non_null(confvalue_pattern("a b@example.com"));
	assert_non_null(confvalue_pattern("a@x, b@x"));
}

static void test_plain(void **state)
{
	(void)state;
	assert_true(confvalue_is_plain(""));
	assert_true(confvalue_is_plain("a b\xc3\xa4~"));
	assert_false(confvalue_is_plain("a\tb"));
	assert_false(confvalue_is_plain("a\x7f"));
}

static void test_loopback(void **state)
{
	(void)state;
	assert_true(confvalue_is_loopback("localhost"));
	assert_true(confvalue_is_loopback("LocalHost"));
	assert_true(confvalue_is_loopback("127.0.0.1"));
	assert_true(confvalue_is_loopback("127.255.3.4"));
	assert_true(confvalue_is_loopback("::1"));
	assert_true(confvalue_is_loopback("0:0:0:0:0:0:0:1"));
	assert_false(confvalue_is_loopback("128.0.0.1"));
	assert_false(confvalue_is_loopback("0.0.0.0"));
	assert_false(confvalue_is_loopback("::"));
	assert_false(confvalue_is_loopback("127.0.0.1.example.com"));
	assert_false(confvalue_is_loopback("localhost.example.com"));
	assert_false(confvalue_is_loopback("127.1"));
}

static void test_helo(void **state)
{
	char text[65] = "[IPv6:";

	(void)state;
	assert_null(confvalue_helo("www.example.com"));
	assert_null(confvalue_helo("web1"));
	assert_null(confvalue_helo("[192.0.2.1]"));
	assert_null(confvalue_helo("[IPv6:2001:db8::1]"));
	assert_non_null(confvalue_helo(""));
	assert_non_null(confvalue_helo("a_b"));
	assert_non_null(confvalue_helo("a b"));
	assert_non_null(confvalue_helo("a."));
	assert_non_null(confvalue_helo("-a"));
	assert_non_null(confvalue_helo("a-.b"));
	assert_non_null(confvalue_helo("[2001:db8::1]"));
	assert_non_null(confvalue_helo("[192.0.2.256]"));
	assert_non_null(confvalue_helo("[192.0.2.1"));
	assert_non_null(confvalue_helo("["));
	assert_non_null(confvalue_helo("[]"));
	memset(text + 6, ':', sizeof text - 8);
	text[sizeof text - 2] = ']';
	text[sizeof text - 1] = '\0';
	assert_non_null(confvalue_helo(text));
}

static void test_name(void **state)
{
	(void)state;
	assert_null(confvalue_name("Main_2-b", 8));
	assert_null(confvalue_name("abcdefghijklmnopqrstuvwxyz012345", 32));
	assert_non_null(confvalue_name("abcdefghijklmnopqrstuvwxyz0123456", 33));
	assert_non_null(confvalue_name("", 0));
	assert_non_null(confvalue_name("a b", 3));
	assert_non_null(confvalue_name("a.b", 3));
	assert_non_null(confvalue_name("a\0b", 3));
}

static unsigned distance(const char *a, const char *b)
{
	return confvalue_distance(a, strlen(a), b, strlen(b));
}

static void test_distance(void **state)
{
	(void)state;
	assert_int_equal(distance("retry", "retry"), 0);
	assert_int_equal(distance("retry", "retrys"), 1);
	assert_int_equal(distance("retry", "rety"), 1);
	assert_int_equal(distance("retry", "retri"), 1);
	assert_int_equal(distance("kitten", "sitting"), 3);
	assert_int_equal(distance("", "abc"), 3);
	assert_int_equal(distance("abc", ""), 3);
	assert_int_equal(distance("a", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"), 99);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_pattern),
	    cmocka_unit_test(test_plain),
	    cmocka_unit_test(test_loopback),
	    cmocka_unit_test(test_helo),
	    cmocka_unit_test(test_name),
	    cmocka_unit_test(test_distance),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
