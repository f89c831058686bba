/* token: what the programs that give tokens print is understood, and nothing else is a token. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "token.h"

#define NOW INT64_C(1763790000) /* 2025-11-22 05:40:00 UTC */

/* TEXT stands in memory of just its length. */
static const char *read(const char *text, struct token *token)
{
	const size_t len = strlen(text);
	char *exact = malloc(len + 1);
	const char *fault;

	assert_non_null(exact);
	memcpy(exact, text, len);
	fault = token_read(exact, len, NOW, token);
	free(exact);
	return fault;
}

static void expect(const char *text, const char *word, int64_t expires)
{
	struct token token;

	assert_null(read(text, &token));
	assert_string_equal(token.text, word);
	assert_int_equal(token.expires, expires);
	token_clear(&token);
	assert_null(token.text);
}

/* Nor is a word of TEXT in what is said of it. */
static void expect_fault(const char *text, const char *part)
{
	struct token token;
	const char *fault = read(text, &token);

	assert_non_null(fault);
	assert_non_null(strstr(fault, part));
	assert_null(strstr(fault, "s3cr3t"));
	assert_null(token.text);
	assert_int_equal(token.expires, 0);
}

static void a_bare_token_is_the_first_line(void **state)
{
	(void)state;
	expect("ya29.a0-b_c~d+e/f==", "ya29.a0-b_c~d+e/f==", 0);
	expect("abc\n", "abc", 0);
	expect("abc\r\n", "abc", 0);
	expect("\n  abc \nand more\n", "abc", 0);
	expect("\"abc\"\n", "abc", 0);
}

static void what_is_no_token_is_said_so(void **state)
{
	(void)state;
	expect_fault("", "printed nothing");
	expect_fault(" \r\n\n", "printed nothing");
	expect_fault("s3cr3t s3cr3t", "no token");
	expect_fault("s3cr3t\001", "no token");
	expect_fault("s3cr3t\303\244", "no token");
	expect_fault("\"s3cr3t\\n\"", "no token");
	expect_fault("\"s3cr3t\\u0000\"", "JSON");
	expect_fault("\"\"", "no token");
	expect_fault("{\"access_token\": \"s3cr3t", "JSON");
	expect_fault("{\"access_token\": \"s3cr3t\"} s3cr3t", "JSON");
	expect_fault("{\"access_token\": \"s3cr3t\", \"access_token\": \"b\"}", "JSON");
	expect_fault("{\"token\": \"s3cr3t\"}", "access_token");
	expect_fault("{\"access_token\": 17}", "access_token");
	expect_fault("{\"access_token\": \"s3cr3t s3cr3t\"}", "no token");
}

static void a_token_has_a_longest_length(void **state)
{
	char *text = calloc(1, TOKEN_MAX + 2);
	struct token token;

	(void)state;
	assert_non_null(text);
	memset(text, 'x', TOKEN_MAX);
	assert_null(token_read(text, TOKEN_MAX, NOW, &token));
	assert_int_equal(strlen(token.text), TOKEN_MAX);
	token_clear(&token);
	memset(text, 'x', TOKEN_MAX + 1);
	assert_non_null(token_read(text, TOKEN_MAX + 1, NOW, &token));
	free(text);
}

/* What an authorization server answers, RFC 6749 section 5.1. */
static void the_answer_of_a_server(void **state)
{
	(void)state;
	expect("{\"access_token\":\"abc\",\"token_type\":\"Bearer\",\"expires_in\":3599,"
	       "\"scope\":\"https://mail.google.com/\",\"refresh_token\":\"def\"}\n",
	    "abc", NOW + 3599);
	expect("{\"access_token\":\"abc\",\"expires_in\":\"3599\"}", "abc", NOW + 3599);
}

/* The former is POSIX time, the latter local time: az account get-access-token has both. */
static void the_answer_of_az(void **state)
{
	(void)state;
	(void)setenv("TZ", "XYZ-3", 1);
	tzset();
	expect("{\n  \"accessToken\": \"eyJ0.eyJh.x\",\n"
	       "  \"expiresOn\": \"2025-11-22 09:40:00.000000\",\n  \"expires_on\": 1763793601,\n"
	       "  \"subscription\": \"s\",\n  \"tenant\": \"t\",\n  \"tokenType\": \"Bearer\"\n}\n",
	    "eyJ0.eyJh.x", NOW + 3601);
	expect("{\"accessToken\": \"a\", \"expiresOn\": \"2025-11-22 09:40:00.123456\"}", "a",
	    NOW + 3600);
	expect("{\"accessToken\": \"a\", \"expiresOn\": null}", "a", 0);
	(void)unsetenv("TZ");
	tzset();
}

static void expect_time(const char *time, int64_t expires)
{
	char text[128];

	(void)snprintf(text, sizeof text, "{\"access_token\": \"a\", \"expiry\": \"%s\"}", time);
	expect(text, "a", expires);
}

static void times_of_rfc_3339(void **state)
{
	(void)state;
	expect_time("2025-11-22T06:40:00Z", NOW + 3600);
	expect_time("2025-11-22t06:40:00z", NOW + 3600);
	expect_time("2025-11-22 06:40:00Z", NOW + 3600);
	expect_time("2025-11-22T06:40:00.123456789Z", NOW + 3600);
	expect_time("2025-11-22T08:40:00+02:00", NOW + 3600);
	expect_time("2025-11-22T03:10:00.5-03:30", NOW + 3600);
	expect_time("2025-11-22T06:40:00+00:00", NOW + 3600);
}

/* What nobody says the zone of is not known, nor what is over or no time. */
static void times_that_are_none(void **state)
{
	static const char *const none[] = {"2025-11-22T06:40:00", "2025-11-22", "2025-11-22T06:40Z",
	    "2025-11-22T06:40:00Y", "2025-11-22T06:40:00Zx", "2025-11-22T06:40:00+", "tomorrow", "",
	    "2025-11-22X06:40:00Z", "2025-11-22T06:40:00+01:00x", "11/22/2025 06:40:00 +00:00",
	    "2025-11-22T05:39:59Z", "N/A"};

	(void)state;
	for (size_t i = 0; i < sizeof none / sizeof none[0]; i++)
		expect_time(none[i], 0);
}

static void numbers_may_be_written_in_several_ways(void **state)
{
	(void)state;
	expect("{\"access_token\":\"a\",\"expires_at\":1763793600}", "a", NOW + 3600);
	expect("{\"access_token\":\"a\",\"expires_at\":1763793600.9}", "a", NOW + 3600);
	expect("{\"access_token\":\"a\",\"expires_on\":\"1763793600\"}", "a", NOW + 3600);
	expect("{\"access_token\":\"a\",\"expires_at\":0,\"expires_in\":60}", "a", NOW + 60);
	expect("{\"access_token\":\"a\",\"expires_at\":[1],\"expires_in\":60}", "a", NOW + 60);
}

/* Milliseconds, for one, or more than fits. */
static void numbers_that_are_none(void **state)
{
	(void)state;
	expect("{\"access_token\":\"a\",\"expires_at\":1763793600000}", "a", 0);
	expect("{\"access_token\":\"a\",\"expires_at\":1e300}", "a", 0);
	expect("{\"access_token\":\"a\",\"expires_at\":\"99999999999999999999\"}", "a", 0);
	expect("{\"access_token\":\"a\",\"expires_in\":-1}", "a", 0);
	expect("{\"access_token\":\"a\",\"expires_in\":\"-60\"}", "a", 0);
	expect("{\"access_token\":\"a\",\"expires_in\":9223372036854775807}", "a", 0);
	expect("{\"access_token\":\"a\",\"expires_in\":true}", "a", 0);
	expect("{\"access_token\":\"a\",\"expires_at\":1763789999}", "a", 0);
}

/* What counts from now on is wrong for a token that was got before: a point in time is better. */
static void a_point_in_time_goes_first(void **state)
{
	(void)state;
	expect("{\"access_token\":\"a\",\"expires_in\":3600,\"expires_on\":1763790060}", "a",
	    NOW + 60);
	expect("{\"access_token\":\"a\",\"expires_in\":3600,\"expires_on\":1763789999}", "a", 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_bare_token_is_the_first_line),
	    cmocka_unit_test(what_is_no_token_is_said_so),
	    cmocka_unit_test(a_token_has_a_longest_length),
	    cmocka_unit_test(the_answer_of_a_server),
	    cmocka_unit_test(the_answer_of_az),
	    cmocka_unit_test(times_of_rfc_3339),
	    cmocka_unit_test(times_that_are_none),
	    cmocka_unit_test(numbers_may_be_written_in_several_ways),
	    cmocka_unit_test(numbers_that_are_none),
	    cmocka_unit_test(a_point_in_time_goes_first),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
