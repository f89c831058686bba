#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "confvalue.h"

static void url_is(const char *text, bool smtps, const char *host, unsigned port)
{
	struct confvalue_url url;
	const char *fault = confvalue_url(text, &url);

	if (fault)
		fail_msg("%s %s", text, fault);
	assert_int_equal(url.smtps, smtps);
	assert_string_equal(url.host, host);
	assert_int_equal(url.port, port);
}

static void url_fails(const char *text, const char *why)
{
	struct confvalue_url url;
	const char *fault = confvalue_url(text, &url);

	if (!fault)
		fail_msg("%s was accepted", text);
	if (!strstr(fault, why))
		fail_msg("%s: \"%s\" does not say \"%s\"", text, fault, why);
}

static void test_url(void **state)
{
	(void)state;
	url_is("smtp://smtp.example.com:587", false, "smtp.example.com", 587);
	url_is("smtps://mx", true, "mx", 0);
	url_is("smtp://192.0.2.1:1", false, "192.0.2.1", 1);
	url_is("smtp://[2001:db8::1]:65535", false, "2001:db8::1", 65535);
	url_is("smtp://[::1]", false, "::1", 0);
	url_is("smtp://mail_relay.local", false, "mail_relay.local", 0);
}

static void test_url_faults(void **state)
{
	(void)state;
	url_fails("", "smtp://");
	url_fails("smtp.example.com", "smtp://");
	url_fails("SMTP://host", "smtp://");
	url_fails("http://host", "smtp://");
	url_fails("smtp:/host", "smtp://");
	url_fails("smtp://", "no host");
	url_fails("smtp://:25", "no host");
	url_fails("smtp://[]:25", "no host");
	url_fails("smtp://[::1", "']'");
	url_fails("smtp://[192.0.2.1]", "no IPv6");
	url_fails("smtp://[fe80::1%25eth0]", "no IPv6");
	url_fails("smtp://[::1]x", "port");
	url_fails("smtp://user:secret@host", "password_file");
	url_fails("smtp://user@host", "password_file");
	url_fails("smtp://host/", "end behind");
	url_fails("smtp://host?x=1", "end behind");
	url_fails("smtp://host#x", "end behind");
	url_fails("smtp://host:", "port");
	url_fails("smtp://host:0", "port");
	url_fails("smtp://host:65536", "port");
	url_fails("smtp://host:025", "port");
	url_fails("smtp://host:25x", "port");
	url_fails("smtp://2001:db8::1", "port");
	url_fails("smtp://a..b", "neither");
	url_fails("smtp://a b", "neither");
	url_fails("smtp://-a", "neither");
	url_fails("smtp://b\xc3\xbc"
		  "cher.example",
	    "xn--");
}

/* The longest names, and one byte more. */
static void test_url_lengths(void **state)
{
	char text[512] = "smtp://";
	char label[65];
	struct confvalue_url url;
	int i;

	(void)state;
	memset(label, 'a', sizeof label);
	(void)snprintf(text, sizeof text, "smtp://%.63s", label);
	assert_null(confvalue_url(text, &url));
	(void)snprintf(text, sizeof text, "smtp://%.64s", label);
	assert_non_null(confvalue_url(text, &url));
	strcpy(text, "smtp://a");
	for (i = 0; i < 126; i++)
		strcat(text, ".a");
	assert_null(confvalue_url(text, &url));
	assert_int_equal(strlen(url.host), CONFVALUE_HOST_MAX);
	strcat(text, "a");
	assert_non_null(confvalue_url(text, &url));
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
	    cmocka_unit_test(test_url),
	    cmocka_unit_test(test_url_faults),
	    cmocka_unit_test(test_url_lengths),
	    cmocka_unit_test(test_loopback),
	    cmocka_unit_test(test_helo),
	    cmocka_unit_test(test_name),
	    cmocka_unit_test(test_distance),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
