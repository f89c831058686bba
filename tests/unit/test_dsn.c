#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "digest.h"
#include "dsn.h"

#define HEADER "From: s@example.com\r\nMessage-ID: <1@example.com>\r\nSubject: x\r\n\r\n"

static const char *const to[] = {"s@example.com", "admin@example.org"};

static struct notice make_notice(void)
{
	return (struct notice){.host = "www.example.com",
	    .from = "MAILER-DAEMON@www.example.com",
	    .to = to,
	    .to_count = 2,
	    .key = "1763790600.M0P1Q2.failure",
	    .date = 1763790600};
}

static struct dsn make_dsn(const struct envelope *envelope)
{
	return (struct dsn){.notice = make_notice(),
	    .id = "1763790000.M12P34Q1.web1",
	    .envelope = envelope,
	    .status = "5.1.1",
	    .attempts = 3,
	    .arrival = 1763790000,
	    .last = 1763790599,
	    .header = HEADER,
	    .header_len = strlen(HEADER)};
}

/* The mail as a string, to be freed. */
static char *write_mail(const struct dsn *dsn)
{
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);

	assert_non_null(out);
	assert_int_equal(dsn_write(out, dsn), 0);
	assert_int_equal(fclose(out), 0);
	assert_int_equal(strlen(text), len);
	return text;
}

static struct recipient failed(const char *address, const char *status, const char *reply)
{
	struct recipient recipient = {
	    .address = address, .state = RECIPIENT_FAILED, .reply = reply};

	(void)snprintf(recipient.status, sizeof recipient.status, "%s", status);
	return recipient;
}

static void holds(const char *mail, const char *part)
{
	if (strstr(mail, part) == NULL)
		fail_msg("\"%s\" is not in\n%s", part, mail);
}

static void holds_not(const char *mail, const char *part)
{
	if (strstr(mail, part) != NULL)
		fail_msg("\"%s\" is in\n%s", part, mail);
}

static void the_last_attempt_is_dated_where_it_is_known(void **state)
{
	static const char date[] = "\nLast-Attempt-Date: Sat, 22 Nov 2025 05:49:59 +0000\n";
	struct recipient recipient[] = {failed("b@example.net", "5.1.1", "550 5.1.1 Unknown"),
	    {.address = "d@example.net", .state = RECIPIENT_DONE, .reply = "250 Ok"}};
	struct envelope envelope = {.sender = "s@example.com", .recipient = recipient};
	struct dsn dsn = make_dsn(&envelope);
	static const struct {
		size_t count;
		unsigned attempts;
		bool known;
	} cases[] = {
	    {1, 3, true},
	    {2, 1, true},
	    {2, 3, false}, /* which of the attempts was whose? */
	    {1, 0, false},
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		char *mail;

		envelope.count = cases[i].count;
		dsn.attempts = cases[i].attempts;
		mail = write_mail(&dsn);
		(cases[i].known ? holds : holds_not)(mail, date);
		free(mail);
	}
	/* Given up while it waited; and one that will be tried again. */
	envelope.count = 1;
	dsn.attempts = 2;
	recipient[0].state = RECIPIENT_TODO;
	for (int delayed = 0; delayed < 2; delayed++) {
		char *mail;

		dsn.delayed = delayed == 1;
		mail = write_mail(&dsn);
		(dsn.delayed ? holds : holds_not)(mail, date);
		free(mail);
	}
}

static void a_whole_report(void **state)
{
	struct recipient recipient[] = {failed("b@example.net", "5.1.1", "550 5.1.1 Unknown"),
	    {.address = "d@example.net", .state = RECIPIENT_DONE, .reply = "250 Ok"}};
	struct envelope envelope = {.sender = "s@example.com", .recipient = recipient, .count = 2};
	struct dsn dsn = make_dsn(&envelope);
	char *mail = write_mail(&dsn);

	(void)state;
	assert_string_equal(mail, "X-Maildrain-From: <>\n"
				  "X-Maildrain-To: <s@example.com>\n"
				  "X-Maildrain-To: <admin@example.org>\n"
				  "From: \"Mail Delivery System\" <MAILER-DAEMON@www.example.com>\n"
				  "To: <s@example.com>,\n"
				  "\t<admin@example.org>\n"
				  "Subject: Mail could not be delivered\n"
				  "Date: Sat, 22 Nov 2025 05:50:00 +0000\n"
				  "Message-ID: <1763790600.M0P1Q2.failure@www.example.com>\n"
				  "Auto-Submitted: auto-replied\n"
				  "MIME-Version: 1.0\n"
				  "In-Reply-To: <1@example.com>\n"
				  "References: <1@example.com>\n"
				  "Content-Type: multipart/report; report-type=delivery-status;\n"
				  "\tboundary=\"=_1763790600.M0P1Q2.failure.0\"\n"
				  "\n"
				  "--=_1763790600.M0P1Q2.failure.0\n"
				  "Content-Type: text/plain; charset=utf-8\n"
				  "Content-Transfer-Encoding: 7bit\n"
				  "\n"
				  "This is the mail system at www.example.com.\n"
				  "\n"
				  "A message from <s@example.com>\n"
				  "could not be delivered to:\n"
				  "\n"
				  "    <b@example.net>\n"
				  "        550 5.1.1 Unknown\n"
				  "\n"
				  "It was tried 3 times, and is given up.\n"
				  "It was delivered to 1 other recipient.\n"
				  "Its header is attached. Its id is:\n"
				  "\n"
				  "    1763790000.M12P34Q1.web1\n"
				  "\n"
				  "--=_1763790600.M0P1Q2.failure.0\n"
				  "Content-Type: message/delivery-status\n"
				  "\n"
				  "Reporting-MTA: dns; www.example.com\n"
				  "Arrival-Date: Sat, 22 Nov 2025 05:40:00 +0000\n"
				  "\n"
				  "Final-Recipient: rfc822; b@example.net\n"
				  "Action: failed\n"
				  "Status: 5.1.1\n"
				  "Diagnostic-Code: smtp; 550 5.1.1 Unknown\n"
				  "\n"
				  "--=_1763790600.M0P1Q2.failure.0\n"
				  "Content-Type: text/rfc822-headers\n"
				  "Content-Transfer-Encoding: 7bit\n"
				  "\n"
				  "From: s@example.com\n"
				  "Message-ID: <1@example.com>\n"
				  "Subject: x\n"
				  "\n"
				  "--=_1763790600.M0P1Q2.failure.0--\n");
	free(mail);
}

static void a_delay(void **state)
{
	struct recipient recipient[] = {failed("b@example.net", "5.1.1", "550 5.1.1 Unknown"),
	    {.address = "c@example.net", .state = RECIPIENT_TODO, .reply = ""}};
	struct envelope envelope = {.sender = "s@example.com", .recipient = recipient, .count = 2};
	struct dsn dsn = make_dsn(&envelope);
	char *mail;

	(void)state;
	dsn.delayed = true;
	dsn.status = "4.2.1";
	dsn.attempts = 1;
	dsn.until = 1763800000;
	dsn.arrival = -1;
	mail = write_mail(&dsn);
	holds(mail, "Subject: Mail is delayed\n");
	holds(mail, "\nFinal-Recipient: rfc822; c@example.net\nAction: delayed\nStatus: 4.2.1\n");
	holds(mail, "\nWill-Retry-Until: Sat, 22 Nov 2025 08:26:40 +0000\n");
	holds(mail, "4.2.1: not accepted yet");
	holds(mail, "It was tried once, and will be tried again");
	holds_not(mail, "b@example.net");
	holds_not(mail, "Arrival-Date");
	free(mail);
}

static void each_recipient_has_its_status(void **state)
{
	static const struct {
		struct recipient recipient;
		const char *name_status, *expected;
	} cases[] = {
	    {{.address = "a@x", .state = RECIPIENT_TODO, .reply = ""}, "5.4.7", "5.4.7"},
	    {{.address = "a@x", .state = RECIPIENT_FAILED, .status = "5.7.1", .reply = "550 5.7.1"},
		"5.1.1", "5.7.1"},
	    {{.address = "a@x", .state = RECIPIENT_FAILED, .reply = "550 No"}, "5.1.1", "5.0.0"},
	    {{.address = "a@x", .state = RECIPIENT_FAILED, .reply = "450 4.2.1 No"}, "5.1.1",
		"5.4.7"},
	    {{.address = "a", .state = RECIPIENT_FAILED, .reply = "it has no @"}, "5.1.1", "5.1.3"},
	    {{.address = "a@x", .state = RECIPIENT_FAILED, .reply = "given up"}, "5.3.0", "5.3.0"},
	    {{.address = "a@x", .state = RECIPIENT_FAILED, .reply = "5500 x"}, "5.3.4", "5.3.4"},
	    {{.address = "a@x", .state = RECIPIENT_FAILED, .reply = "550"}, "5.3.4", "5.0.0"},
	    {{.address = "a@x", .state = RECIPIENT_FAILED, .reply = "650 x"}, "5.3.4", "5.3.4"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
		assert_string_equal(
		    dsn_status(&cases[i].recipient, cases[i].name_status), cases[i].expected);
}

static void texts_of_others_stay_in_their_lines(void **state)
{
	char words[600];
	struct recipient recipient[] = {
	    failed("b\r\nAction: delivered\r\n@x", "5.1.1", "550 5.1.1 x\r\n\r\nAction: relayed"),
	    failed("c@x", "5.1.1", words)};
	struct envelope envelope = {.sender = "s\n@x", .recipient = recipient, .count = 2};
	struct dsn dsn = make_dsn(&envelope);
	char *mail;

	(void)state;
	memset(words, 'w', sizeof words);
	memcpy(words, "550 ", 4);
	words[sizeof words - 1] = '\0';
	mail = write_mail(&dsn);
	holds(mail, "\nDiagnostic-Code: smtp; 550 5.1.1 x????Action: relayed\n");
	holds_not(mail, "\nAction: delivered");
	holds_not(mail, "\nAction: relayed");
	holds(mail, "\nDiagnostic-Code: smtp; 550\n wwww");
	free(mail);
}

static void the_boundary_is_not_in_the_header(void **state)
{
	struct recipient recipient = failed("b@x", "5.1.1", "550 5.1.1 x");
	struct envelope envelope = {.sender = "s@x", .recipient = &recipient, .count = 1};
	struct dsn dsn = make_dsn(&envelope);
	char header[] =
	    "--=_1763790600.M0P1Q2.failure.0--: a\n--=_1763790600.M0P1Q2.failure.1: b\n";
	char *mail;

	(void)state;
	dsn.header = header;
	dsn.header_len = strlen(header);
	mail = write_mail(&dsn);
	holds(mail, "boundary=\"=_1763790600.M0P1Q2.failure.2\"");
	holds(mail, "\n--=_1763790600.M0P1Q2.failure.2--\n");
	free(mail);
}

static void only_a_message_id_is_answered(void **state)
{
	static const struct {
		const char *value;
		bool good;
	} cases[] = {
	    {"<a@b>", true},
	    {" <a@b> ", true},
	    {"\n\t<a@b>", true},
	    {"", false},
	    {" ", false},
	    {"a@b", false},
	    {"<a b@c>", false},
	    {"<a@b> <c@d>", false},
	    {"<a@b@c>", false},
	    {"<@b>", false},
	    {"<a@>", false},
	    {"<\xc3\xa4@b>", false},
	    {"<a\rb@c>", false},
	};
	struct recipient recipient = failed("b@x", "5.1.1", "550 5.1.1 x");
	struct envelope envelope = {.sender = "s@x", .recipient = &recipient, .count = 1};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct dsn dsn = make_dsn(&envelope);
		char header[128];
		char *mail;

		dsn.header_len = (size_t)snprintf(
		    header, sizeof header, "Message-ID:%s\nSubject: x\n", cases[i].value);
		dsn.header = header;
		mail = write_mail(&dsn);
		if (cases[i].good)
			holds(mail, "\nIn-Reply-To: <a@b>\nReferences: <a@b>\nContent-Type: ");
		else
			holds_not(mail, "In-Reply-To");
		free(mail);
	}
}

static void a_long_header_is_cut_at_a_line(void **state)
{
	struct recipient recipient = failed("b@x", "5.1.1", "550 5.1.1 x");
	struct envelope envelope = {.sender = "s@x", .recipient = &recipient, .count = 1};
	struct dsn dsn = make_dsn(&envelope);
	const size_t len = 2 * DSN_HEADER_MAX;
	char *header = malloc(len + 1);
	char *mail;

	(void)state;
	assert_non_null(header);
	for (size_t i = 0; i < len; i += 16)
		(void)snprintf(header + i, 17, "X-%06zu: abcde\n", i);
	dsn.header = header;
	dsn.header_len = len - 1;
	mail = write_mail(&dsn);
	holds(mail,
	    "X-065520: abcde\nX-Maildrain-Note: 65535 more bytes of this header are left out\n");
	free(mail);
	dsn.header_len = DSN_HEADER_MAX;
	mail = write_mail(&dsn);
	holds_not(mail, "Note");
	free(mail);
	free(header);
}

/* ---- pieces ---- */

static void body_is(const char *text, size_t most, const char *expected)
{
	char *got = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&got, &len);

	assert_non_null(out);
	notice_body(out, "t/p", text, strlen(text), most);
	assert_int_equal(fclose(out), 0);
	assert_string_equal(got, expected);
	free(got);
}

#define PLAIN  "Content-Type: t/p\nContent-Transfer-Encoding: 7bit\n\n"
#define QUOTED "Content-Type: t/p\nContent-Transfer-Encoding: quoted-printable\n\n"
#define TEN    "0123456789"

static void bodies_are_encoded_where_they_must(void **state)
{
	(void)state;
	body_is("a=b\tc \n", 78, PLAIN "a=b\tc \n");
	body_is("no end", 78, PLAIN "no end\n");
	body_is("", 78, PLAIN "\n");
	body_is(TEN, 10, PLAIN TEN "\n");
	body_is(TEN "x", 10, QUOTED TEN "x\n");
	body_is("\xc3\xa4=b \nc\t\n d", 78, QUOTED "=C3=A4=3Db=20\nc=09\n d\n");
	body_is("a\rb\x1b\x7f", 78, QUOTED "a=0Db=1B=7F\n");
	body_is(TEN TEN TEN TEN TEN TEN TEN "01234567"
					    "\xff",
	    78, QUOTED TEN TEN TEN TEN TEN TEN TEN "01234=\n567=FF\n");
	body_is(TEN TEN TEN TEN TEN TEN TEN "012345678", 78,
	    QUOTED TEN TEN TEN TEN TEN TEN TEN "01234=\n5678\n");
}

static void fields_are_folded_and_in_ascii(void **state)
{
	char *got = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&got, &len);

	(void)state;
	assert_non_null(out);
	notice_field(out, "A", "one  two " TEN TEN TEN TEN TEN TEN " " TEN, 999);
	notice_field(out, "B", "\xc3\xa4 \xff \x01", 999);
	notice_field(out, "C", "cut here", 3);
	notice_field_date(out, "D", -1);
	notice_field_date(out, "D", INT64_C(253402300800));
	notice_field_date(out, "D", INT64_C(253402300799));
	assert_int_equal(fclose(out), 0);
	assert_string_equal(got,
	    "A: one two " TEN TEN TEN TEN TEN TEN "\n " TEN "\nB: ? ? ?\nC: cut\n"
	    "D: Fri, 31 Dec 9999 23:59:59 +0000\n");
	free(got);
}

/* ---- digests ---- */

static void a_digest_counts_all_and_lists_some(void **state)
{
	struct digest digest = {0};
	struct notice notice = make_notice();
	struct recipient recipient[] = {
	    failed("b@x", "5.1.1", "550 5.1.1 No"), failed("c@x", "5.1.1", "550 5.1.1 No")};
	struct envelope envelope = {.sender = "s@x", .recipient = recipient, .count = 2};
	struct entry entry;
	char *list = NULL, *mail = NULL;
	size_t len = 0, listed = 0;
	FILE *out = open_memstream(&list, &len);

	(void)state;
	assert_true(entry_parse("1.M2P3Q4.h,A=1,E=5.1.1,N=7", &entry));
	for (int i = 0; i < 150; i++)
		listed += digest_add(&digest, i % 3 == 0 ? "4.2.1" : "5.1.1");
	assert_int_equal(listed, DIGEST_LISTED);
	digest_list(out, &entry, &envelope, NULL);
	digest_list(out, &entry, NULL, "it is none\n");
	assert_int_equal(fclose(out), 0);
	assert_string_equal(list,
	    "1.M2P3Q4.h\n    from <s@x> to <b@x> and 1 more\n    550 5.1.1 No\n\n"
	    "1.M2P3Q4.h\n    5.1.1: it is none?\n\n");
	out = open_memstream(&mail, &len);
	assert_int_equal(digest_write(out, &digest, &notice, list), 0);
	assert_int_equal(fclose(out), 0);
	holds(mail, "Subject: Mail could not be delivered: 150 messages\n");
	holds(mail, "Auto-Submitted: auto-generated\n");
	holds(mail, "\n4.2.1             50\n5.1.1            100\n");
	holds(mail, "a status that starts with 4");
	holds(mail, "and 50 more: maildrain list\n");
	holds(mail, list);
	free(list);
	free(mail);
}

static void a_digest_of_many_statuses(void **state)
{
	struct digest digest = {0};
	struct notice notice = make_notice();
	char *mail = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&mail, &len);

	(void)state;
	for (int i = 0; i < DIGEST_STATUSES + 3; i++) {
		char status[12];

		(void)snprintf(status, sizeof status, "5.0.%u", (unsigned)i % 1000);
		(void)digest_add(&digest, status);
	}
	assert_int_equal(digest_write(out, &digest, &notice, ""), 0);
	assert_int_equal(fclose(out), 0);
	holds(mail, "\nothers             3\n");
	holds_not(mail, "starts with 4");
	holds_not(mail, "more: maildrain list");
	free(mail);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(the_last_attempt_is_dated_where_it_is_known),
	    cmocka_unit_test(a_whole_report),
	    cmocka_unit_test(a_delay),
	    cmocka_unit_test(each_recipient_has_its_status),
	    cmocka_unit_test(texts_of_others_stay_in_their_lines),
	    cmocka_unit_test(the_boundary_is_not_in_the_header),
	    cmocka_unit_test(only_a_message_id_is_answered),
	    cmocka_unit_test(a_long_header_is_cut_at_a_line),
	    cmocka_unit_test(bodies_are_encoded_where_they_must),
	    cmocka_unit_test(fields_are_folded_and_in_ascii),
	    cmocka_unit_test(a_digest_counts_all_and_lists_some),
	    cmocka_unit_test(a_digest_of_many_statuses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
