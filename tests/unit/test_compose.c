#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#include <cmocka.h>

#include "compose.h"

#define BLOCK "X-Maildrain-From: <s@shop.example>\nX-Maildrain-To: <r@shop.example>\n"
#define TRACE                                                                                      \
	"Received: by web1.example (maildrain, from userid 33)\n"                                  \
	"\tid 1.M2P3Q4.web1; Sun, 22 Nov 2026 13:00:00 +0000\n"
#define FROM "From: www-data@shop.example\n"
#define DATE "Date: Sun, 22 Nov 2026 13:00:00 +0000\n"
#define ID   "Message-ID: <1.M2P3Q4.web1@shop.example>\n"

static const struct compose known = {
    .domain = "shop.example",
    .host = "web1.example",
    .unique = "1.M2P3Q4.web1",
    .date = "Sun, 22 Nov 2026 13:00:00 +0000",
    .uid = 33,
    .author = "www-data@shop.example",
    .full_name = "",
    .extract = false,
};

/* What is written before a header, from s to r; the caller frees it. NULL with ERR. */
static char *compose(
    const struct compose *with, const char *word, const char *header, struct error *err)
{
	struct envelope envelope = {.count = 0};
	char *out = malloc(ENVELOPE_HEAD_MAX + 1);
	ssize_t len = compose_sender(&envelope, "s", known.domain, err);

	if (len == 0)
		len = compose_recipients(&envelope, word, strlen(word), known.domain, err);
	if (len == 0)
		len = compose_head(with, &envelope, header, strlen(header), out, err);
	envelope_free(&envelope);
	if (len == -1) {
		free(out);
		return NULL;
	}
	out[len] = '\0';
	return out;
}

static void check_with(
    const struct compose *with, const char *word, const char *header, const char *expected)
{
	struct error err;
	char *made = compose(with, word, header, &err);

	if (made == NULL)
		fail_msg("%s", err.text);
	assert_string_equal(made, expected);
	free(made);
}

static void check(const char *header, const char *expected)
{
	check_with(&known, "r", header, expected);
}

static void check_refused(
    bool extract, const char *word, const char *header, int status, const char *words)
{
	struct compose with = known;
	struct error err = {.text = ""};

	with.extract = extract;
	assert_null(compose(&with, word, header, &err));
	assert_int_equal(err.status, status);
	if (strstr(err.text, words) == NULL)
		fail_msg("%s", err.text);
}

static void adds_what_is_missing(void **state)
{
	(void)state;
	check("", BLOCK TRACE "From: <www-data@shop.example>\n" DATE ID "\n");
	check(
	    "Subject: x\n", BLOCK TRACE "Subject: x\nFrom: <www-data@shop.example>\n" DATE ID "\n");
	check("Subject: x\nfrom: a@b\ndate: today\nMESSAGE-ID: <1@x>",
	    BLOCK TRACE "Subject: x\nfrom: a@b\ndate: today\nMESSAGE-ID: <1@x>\n\n");
	check("A: b\r\n" FROM DATE ID, BLOCK TRACE "A: b\r\n" FROM DATE ID "\n");
}

static void drops_what_must_not_go_on(void **state)
{
	(void)state;
	check("Bcc: x@y\n" FROM
	      "X-Maildrain-To: <evil@x>\nx-maildrain-relay : bulk\n\t(folded)\n" DATE
	      "Return-Path: <x@y>\nResent-Bcc: a@b\n" ID "X-Maildrainage: kept\n",
	    BLOCK TRACE FROM DATE ID "X-Maildrainage: kept\n\n");
	/* One that only hides behind a bare CR. */
	check(FROM "A: b\rX-Maildrain-To: <evil@x>\r\n" DATE ID,
	    BLOCK TRACE FROM "A: b\n" DATE ID "\n");
	/* The empty line must be one. */
	check(FROM DATE "Message-ID: <1>\r", BLOCK TRACE FROM DATE "Message-ID: <1>\n\n");
}

static void completes_addresses(void **state)
{
	(void)state;
	check("From: root (Cron Daemon)\nTo: root,\n bob\n" DATE ID,
	    BLOCK TRACE "From: root@shop.example (Cron Daemon)\nTo: root@shop.example,\n "
			"bob@shop.example\n" DATE ID "\n");
	check("From: \"A\" <a>\nCc: x@y, \"unclosed\nSubject: root\n" DATE ID, BLOCK TRACE
	    "From: \"A\" <a@shop.example>\nCc: x@y, \"unclosed\nSubject: root\n" DATE ID "\n");
	/* A fault behind what could be completed leaves all of it. */
	check(
	    "Reply-To: a, b (\n" FROM DATE ID, BLOCK TRACE "Reply-To: a, b (\n" FROM DATE ID "\n");
}

static void names(void **state)
{
	struct compose with = known;

	(void)state;
	with.full_name = "Jo Doe";
	check_with(
	    &with, "r", DATE ID, BLOCK TRACE DATE ID "From: Jo Doe <www-data@shop.example>\n\n");
	with.full_name = "Doe, \"J\"\\";
	check_with(&with, "r", DATE ID,
	    BLOCK TRACE DATE ID "From: \"Doe, \\\"J\\\"\\\\\" <www-data@shop.example>\n\n");
	with.full_name = "J\xc3\xb6 =?";
	check_with(&with, "r", DATE ID,
	    BLOCK TRACE DATE ID "From: =?UTF-8?Q?J=C3=B6=20=3D=3F?= <www-data@shop.example>\n\n");
	/* With one more of them the line would be too long; none is torn apart. */
	with.full_name = "\xc3\xb6\xc3\xb6\xc3\xb6\xc3\xb6\xc3\xb6\xc3\xb6\xc3\xb6\xc3\xb6\xc3\xb6"
			 "\xc3\xb6\xc3\xb6";
	check_with(&with, "r", DATE ID,
	    BLOCK TRACE DATE ID
	    "From: =?UTF-8?Q?=C3=B6=C3=B6=C3=B6=C3=B6=C3=B6=C3=B6=C3=B6=C3=B6=C3="
	    "B6?=\n =?UTF-8?Q?=C3=B6=C3=B6?= <www-data@shop.example>\n\n");
	assert_true(compose_is_name("J\xc3\xb6"));
	assert_false(compose_is_name("a\nBcc: b"));
	assert_false(compose_is_name("\xc3"));
	assert_false(compose_is_name("\xe2\x80\xae"
				     "x"));
}

static void words_in_utf8(void **state)
{
	(void)state;
	check(FROM DATE ID "subject : J\xc3\xb6\r\n\tx\r\nX-A:\xc3\xb6", BLOCK TRACE FROM DATE ID
	    "subject: =?UTF-8?Q?J=C3=B6=09x?=\r\nX-A: =?UTF-8?Q?=C3=B6?=\n\n");
	/* What is no text, and what has a structure, stays. */
	check(FROM DATE ID "Subject: \xff\xc3\xb6\nSubject: a\x01\xc3\xb6\nSubject: plain\n"
			   "Keywords: \xc3\xb6, b\nCc: J\xc3\xb6 <a@b>\n",
	    BLOCK TRACE FROM DATE ID
	    "Subject: \xff\xc3\xb6\nSubject: a\x01\xc3\xb6\nSubject: plain\n"
	    "Keywords: \xc3\xb6, b\nCc: J\xc3\xb6 <a@b>\n\n");
}

static void recipients_of_the_header(void **state)
{
	struct compose with = known;

	(void)state;
	with.extract = true;
	check_with(&with, "r", FROM DATE ID "To: a@b, \"X\" <kim>\nCc: r\nBcc: c@d\nBcc: a@b\n",
	    BLOCK "X-Maildrain-To: <a@b>\nX-Maildrain-To: <kim@shop.example>\n"
		  "X-Maildrain-To: <c@d>\n" TRACE FROM DATE ID
		  "To: a@b, \"X\" <kim@shop.example>\nCc: r@shop.example\n\n");
	check_with(&with, "", FROM DATE ID "To: a@b\nResent-To: r\nResent-Cc: c@d\n",
	    BLOCK "X-Maildrain-To: <c@d>\n" TRACE FROM DATE ID
		  "To: a@b\nResent-To: r@shop.example\nResent-Cc: c@d\n\n");
	/* Without -t they do not count, and need not be addresses. */
	with.extract = false;
	check_with(&with, "r", FROM DATE ID "To: a@b c@d\nBcc: e@f\n",
	    BLOCK TRACE FROM DATE ID "To: a@b c@d\n\n");
}

static void lists_as_words(void **state)
{
	(void)state;
	check_with(&known, "\"D, J\" <j@d>, r ,,k (x)", FROM DATE ID,
	    "X-Maildrain-From: <s@shop.example>\nX-Maildrain-To: <j@d>\nX-Maildrain-To: "
	    "<r@shop.example>\nX-Maildrain-To: <k@shop.example>\n" TRACE FROM DATE ID "\n");
}

static void refuses_faulty_addresses(void **state)
{
	(void)state;
	check_refused(false, "two words", "", EX_DATAERR, "\"two words\" is no address");
	check_refused(false, "<>", "", EX_DATAERR, "an empty address");
	check_refused(false, "a@b@c", "", EX_DATAERR, "nothing is queued");
	check_refused(false,
	    "a@b, c@\x01"
	    "d",
	    "", EX_DATAERR, "\"c@?d\"");
	check_refused(true, "r", "To: \"x\n", EX_DATAERR, "quoted string");
	check_refused(true, "r", "Bcc: a b\n", EX_DATAERR, "\"a b\"");
	check_refused(true, "", "Subject: x\n", EX_USAGE, "no recipient");
	check_refused(true, "", "To: nobody:;\n", EX_USAGE, "no recipient");
	check_refused(false, ",", "To: a@b\n", EX_USAGE, "no recipient");
}

static void long_addresses(void **state)
{
	char word[2001];

	(void)state;
	for (size_t len = 230; len < sizeof word; len += 10) {
		memset(word, 'x', len);
		word[len] = '\0';
		if (len + strlen("@shop.example") > 254)
			check_refused(false, word, "", EX_DATAERR, "more than 254 bytes");
	}
}

static void senders(void **state)
{
	struct envelope envelope = {.count = 0};
	struct error err;

	(void)state;
	assert_int_equal(compose_sender(&envelope, "", "d.example", &err), 0);
	assert_string_equal(envelope.sender, "");
	assert_int_equal(compose_sender(&envelope, "<>", "d.example", &err), 0);
	assert_string_equal(envelope.sender, "");
	assert_int_equal(compose_sender(&envelope, "J Doe <jo>", "d.example", &err), 0);
	assert_string_equal(envelope.sender, "jo@d.example");
	assert_int_equal(compose_sender(&envelope, "a@b, c@d", "d.example", &err), -1);
	assert_int_equal(err.status, EX_DATAERR);
	assert_int_equal(compose_sender(&envelope, ",", "d.example", &err), -1);
	assert_int_equal(compose_sender(&envelope, "a b@c", "d.example", &err), -1);
	envelope_free(&envelope);
}

static void too_many_recipients(void **state)
{
	const size_t room = (ENVELOPE_RECIPIENTS_MAX + 1) * 8;
	char *list = malloc(room + 1);
	char *at = list;

	(void)state;
	for (int i = 0; i <= ENVELOPE_RECIPIENTS_MAX; i++)
		at += sprintf(at, "%d@b,", i);
	check_refused(false, list, "", EX_DATAERR, "more than 10000 recipients");
	free(list);
}

/* At each length around the limit: whole, or refused. */
static void too_long_a_head(void **state)
{
	const size_t rest = strlen(BLOCK TRACE FROM DATE ID "\n");
	char *header = malloc(ENVELOPE_HEAD_MAX + 1);

	(void)state;
	for (size_t over = 0; over < 2; over++) {
		const size_t len = ENVELOPE_HEAD_MAX - rest + strlen(FROM DATE ID) + over;
		struct error err;
		char *made;

		memset(header, 'x', len);
		memcpy(header, FROM DATE ID "A: ", strlen(FROM DATE ID "A: "));
		header[len - 1] = '\n';
		header[len] = '\0';
		made = compose(&known, "r", header, &err);
		assert_int_equal(made == NULL, over);
		if (made == NULL)
			assert_int_equal(err.status, EX_DATAERR);
		free(made);
	}
	free(header);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(adds_what_is_missing),
	    cmocka_unit_test(drops_what_must_not_go_on),
	    cmocka_unit_test(completes_addresses),
	    cmocka_unit_test(names),
	    cmocka_unit_test(words_in_utf8),
	    cmocka_unit_test(recipients_of_the_header),
	    cmocka_unit_test(lists_as_words),
	    cmocka_unit_test(refuses_faulty_addresses),
	    cmocka_unit_test(long_addresses),
	    cmocka_unit_test(senders),
	    cmocka_unit_test(too_many_recipients),
	    cmocka_unit_test(too_long_a_head),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
