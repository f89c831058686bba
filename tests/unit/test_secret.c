/* secret: neither a password nor a token comes through, however a server repeats it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "secret.h"

#define TOKEN "ya29.tiger-in_the~tank"

static void expect_shown(const struct secret *secret, const char *text, const char *shown)
{
	char buf[512];

	secret_copy(text, strlen(text), secret, buf, sizeof buf);
	assert_string_equal(buf, shown);
}

static void expect(const char *text, const char *user, const char *password, const char *masked)
{
	const struct secret secret = {.user = user, .password = password};

	expect_shown(&secret, text, masked);
}

static void expect_token(const char *text, const char *masked)
{
	const struct secret secret = {.user = "scott", .token = TOKEN};

	expect_shown(&secret, text, masked);
}

static void a_password_is_masked_as_it_is(void **state)
{
	(void)state;
	expect("535 no: tiger and tiger", "scott", "tiger", "535 no: ***** and *****");
	expect("535 no such user scott", "scott", "tiger", "535 no such user scott");
	expect("535 no: tiger", NULL, "tiger", "535 no: *****");
}

/* base64 of "tiger" is dGlnZXI=, of NUL scott NUL tiger AHNjb3R0AHRpZ2Vy. */
static void a_password_is_masked_in_base64(void **state)
{
	(void)state;
	expect("535 LOGIN dGlnZXI=", "scott", "tiger", "535 LOGIN *******=");
	expect("535 PLAIN AHNjb3R0AHRpZ2Vy", "scott", "tiger", "535 PLAIN ****************");
}

/* One may repeat itself before it has ended, or stand within another. */
static void overlapping_ones_are_masked_whole(void **state)
{
	(void)state;
	expect("535 xababay", "u", "aba", "535 x*****y");
	expect("535 aaaa", "u", "aaa", "535 ****");
	expect("535 PLAIN AHNjb3R0AGIzUjA=", "scott", "b3R0", "535 PLAIN ***************=");
}

static void a_reply_code_stays(void **state)
{
	(void)state;
	expect("535 x", "u", "535", "535 x");
	expect("535 535", "u", "535", "535 ***");
	expect("53", "u", "53", "53");
	expect("", "u", "p", "");
}

static void without_a_reply_code_all_is_masked(void **state)
{
	const struct secret secret = {.user = "u", .password = "key-1"};
	char text[] = "key-1 is no key: key-1";
	char none[] = "";

	(void)state;
	secret_mask(text, &secret);
	assert_string_equal(text, "***** is no key: *****");
	secret_mask(none, &secret);
	assert_string_equal(none, "");
}

static void a_token_is_masked_as_it_is(void **state)
{
	(void)state;
	expect_token("535 " TOKEN " has expired", "535 ********************** has expired");
}

/* In what XOAUTH2 and OAUTHBEARER send, it begins at any of the three places of four digits. */
static void a_token_is_masked_in_base64(void **state)
{
	(void)state;
	expect_token("535 dXNlcj1zY290dAFhdXRoPUJlYXJlciB5YTI5LnRpZ2VyLWluX3RoZX50YW5rAQE=",
	    "535 dXNlcj1zY290dAFhdXRoPUJlYXJlciB*****************************AQE=");
	expect_token(
	    "535 "
	    "bixhPXNjb3R0LAFob3N0PWgBcG9ydD01ODcBYXV0aD1CZWFyZXIgeWEyOS50aWdlci1pbl90aGV+dGFuawEB",
	    "535 "
	    "bixhPXNjb3R0LAFob3N0PWgBcG9ydD01ODcBYXV0aD1CZWFyZXIg*****************************wEB");
	expect_token("535 "
		     "bixhPXNjb3R0LAFob3N0PWhoAXBvcnQ9NTg3AWF1dGg9QmVhcmVyIHlhMjkudGlnZXItaW5fdGhlf"
		     "nRhbmsBAQ==",
	    "535 "
	    "bixhPXNjb3R0LAFob3N0PWhoAXBvcnQ9NTg3AWF1dGg9QmVhcmVyIH****************************"
	    "sBAQ==");
}

static void a_secret_at_the_cut_is_masked(void **state)
{
	const struct secret secret = {.user = "u", .password = "tiger"};
	char buf[8];

	(void)state;
	secret_copy("535 tiger", 9, &secret, buf, sizeof buf);
	assert_string_equal(buf, "535 ***");
	secret_copy("535 tiger", 7, &secret, buf, sizeof buf);
	assert_string_equal(buf, "535 tig");
}

static void without_a_secret_nothing_is_masked(void **state)
{
	const struct secret none = {.user = "u"};
	const struct secret empty = {.user = "u", .password = "", .token = ""};

	(void)state;
	expect_shown(&none, "535 u x", "535 u x");
	expect_shown(&empty, "535 u x", "535 u x");
}

static void expect_trimmed(const char *text, enum secret_fault fault, const char *trimmed)
{
	char buf[64];

	(void)snprintf(buf, sizeof buf, "%s", text);
	assert_int_equal(secret_trim(buf, strlen(text), 10), fault);
	assert_string_equal(buf, trimmed);
}

static void a_line_loses_its_end_and_no_more(void **state)
{
	(void)state;
	expect_trimmed("tiger", SECRET_FINE, "tiger");
	expect_trimmed("tiger\n", SECRET_FINE, "tiger");
	expect_trimmed(" tiger \r\n", SECRET_FINE, " tiger ");
	expect_trimmed("", SECRET_EMPTY, "");
	expect_trimmed("\n", SECRET_EMPTY, "");
	expect_trimmed("\r\n", SECRET_EMPTY, "");
	expect_trimmed("tiger\n\n", SECRET_CONTROL, "tiger\n");
	expect_trimmed("ti\tger", SECRET_CONTROL, "ti\tger");
	expect_trimmed("p\303\244ss", SECRET_FINE, "p\303\244ss");
	expect_trimmed("ten bytes.\r\n", SECRET_FINE, "ten bytes.");
	expect_trimmed("ten bytes..", SECRET_LONG, "ten bytes..");
}

static void a_nul_is_no_end(void **state)
{
	char buf[] = "ti\0ger";

	(void)state;
	assert_int_equal(secret_trim(buf, 6, 10), SECRET_CONTROL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_password_is_masked_as_it_is),
	    cmocka_unit_test(a_password_is_masked_in_base64),
	    cmocka_unit_test(overlapping_ones_are_masked_whole),
	    cmocka_unit_test(a_reply_code_stays),
	    cmocka_unit_test(without_a_reply_code_all_is_masked),
	    cmocka_unit_test(a_token_is_masked_as_it_is),
	    cmocka_unit_test(a_token_is_masked_in_base64),
	    cmocka_unit_test(a_secret_at_the_cut_is_masked),
	    cmocka_unit_test(without_a_secret_nothing_is_masked),
	    cmocka_unit_test(a_line_loses_its_end_and_no_more),
	    cmocka_unit_test(a_nul_is_no_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
