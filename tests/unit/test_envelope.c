#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "envelope.h"

#define BLOCK "X-Maildrain-From: <a@x>\nX-Maildrain-To: <b@x>\n"

/* Parses a copy of HEAD of exactly its length, so that a read beyond it is seen. */
static int parse(struct envelope *envelope, const char *head, struct envelope_fault *fault)
{
	const size_t len = strlen(head);
	char *copy = malloc(len + (len == 0));
	int result;

	assert_non_null(copy);
	memcpy(copy, head, len);
	result = envelope_parse(envelope, copy, len, fault);
	free(copy);
	return result;
}

static void expect(const struct envelope *envelope, size_t i, enum recipient_state state,
    const char *address, const char *reply)
{
	assert_true(i < envelope->count);
	assert_int_equal(envelope->recipient[i].state, state);
	assert_string_equal(envelope->recipient[i].address, address);
	assert_string_equal(envelope->recipient[i].reply, reply);
}

static void head_ends_at_the_empty_line(void **state)
{
	static const struct {
		const char *text;
		size_t len;
	} cases[] = {
	    {"", 0},
	    {"A: b", 0},
	    {"A: b\n", 0},
	    {"A: b\r\n\r", 0},
	    {"A: b\n\n", 6},
	    {"A: b\n\nbody", 6},
	    {"A: b\r\n\r\nbody", 8},
	    {"A: b\r\rbody", 6},
	    {"A: b\n\r\nbody", 7},
	    {"A: b\n\rbody", 6},
	    {"A: b\r\n\nbody", 7},
	    {"A: b\n \nC: d\n\n", 13},
	    {"\nbody", 1},
	    {"\r\nbody", 2},
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
		assert_int_equal(
		    envelope_head_len(cases[i].text, strlen(cases[i].text)), cases[i].len);
}

/* Reading more never takes back what was said of less. */
static void head_is_found_in_any_prefix_or_not_yet(void **state)
{
	static const char text[] = "A: b\r\n c\rD: e\nF: g\r\n\r\n\r\nbody\r\n\r\n";
	const size_t whole = envelope_head_len(text, sizeof text - 1);

	(void)state;
	assert_int_equal(whole, 22);
	for (size_t len = 0; len < sizeof text; len++) {
		const size_t found = envelope_head_len(text, len);

		assert_true(found == 0 || found == whole);
		assert_int_equal(found != 0, len >= whole);
	}
}

static void the_block_is_read(void **state)
{
	struct envelope envelope = {0};
	struct envelope_fault fault;
	static const char block[] = "X-Maildrain-From: <a@x>\r\n"
				    "x-maildrain-TO:<b@x>\n"
				    "X-Maildrain-Done: \t<c@x>  250 2.0.0 Ok > yes\r"
				    "X-Maildrain-Failed: <d@x>\n"
				    "X-Maildrain-Relay: bulk\n";
	char head[512];

	(void)state;
	(void)snprintf(head, sizeof head, "%sFrom: z@x\nTo: z@x\n\n", block);
	assert_int_equal(parse(&envelope, head, &fault), 0);
	assert_string_equal(envelope.sender, "a@x");
	assert_string_equal(envelope.relay, "bulk");
	assert_int_equal(envelope.block_len, strlen(block));
	assert_int_equal(envelope.count, 3);
	expect(&envelope, 0, RECIPIENT_TODO, "b@x", "");
	expect(&envelope, 1, RECIPIENT_DONE, "c@x", "250 2.0.0 Ok > yes");
	expect(&envelope, 2, RECIPIENT_FAILED, "d@x", "");
	assert_int_equal(envelope_count(&envelope, RECIPIENT_TODO), 1);
	assert_int_equal(envelope_count(&envelope, RECIPIENT_DEFERRED), 0);
	envelope_free(&envelope);
}

static void only_a_whole_status_is_one(void **state)
{
	static const struct {
		const char *words, *status;
	} cases[] = {
	    {"550 5.1.1 No", "5.1.1"},
	    {"550 5.1.1", "5.1.1"},
	    {"550 5.999.999 x", "5.999.999"},
	    {"550 5.1.1. No", ""},
	    {"550 5.1.1.1 No", ""},
	    {"550 5..... No", ""},
	    {"550 5.1.1111 No", ""},
	    {"550 5.1.1: No", ""},
	    {"550 4.1.1 No", ""},
	    {"550 No", ""},
	    {"550", ""},
	};
	struct envelope envelope = {0};
	struct envelope_fault fault;
	char head[256];

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		(void)snprintf(head, sizeof head,
		    "X-Maildrain-From: <>\nX-Maildrain-Failed: <b@x> %s\nA: b\n\n", cases[i].words);
		assert_int_equal(parse(&envelope, head, &fault), 0);
		assert_string_equal(envelope.recipient[0].status, cases[i].status);
	}
	envelope_free(&envelope);
}

static void the_header_is_read_without_a_block(void **state)
{
	struct envelope envelope = {0};
	struct envelope_fault fault;

	(void)state;
	assert_int_equal(parse(&envelope,
			     "Subject: s\nFrom: A <a@x>\nSender: s@x\nTo: G: b@x, \"c\\\" d\"@x;\n"
			     "Cc: e@x,\n\tb@x\nBcc: f@x",
			     &fault),
	    0);
	assert_string_equal(envelope.sender, "s@x");
	assert_int_equal(envelope.block_len, 0);
	assert_null(envelope.relay);
	assert_int_equal(envelope.count, 4);
	expect(&envelope, 0, RECIPIENT_TODO, "b@x", "");
	expect(&envelope, 1, RECIPIENT_TODO, "\"c\\\" d\"@x", "");
	expect(&envelope, 2, RECIPIENT_TODO, "e@x", "");
	expect(&envelope, 3, RECIPIENT_TODO, "f@x", "");
	envelope_free(&envelope);
}

static void faults_are_told(void **state)
{
	static const struct {
		const char *head, *status, *word;
	} cases[] = {
	    {"", "5.6.0", "no message"},
	    {"\n", "5.6.0", "no message"},
	    {"text\n\n", "5.6.0", "no message"},
	    {" A: b\n\n", "5.6.0", "no message"},
	    {": b\n\n", "5.6.0", "no message"},
	    {"\xc3\xb6: b\n\n", "5.6.0", "no message"},
	    {BLOCK, "5.6.0", "no message"},
	    {BLOCK "\nA: b\n\n", "5.6.0", "no message"},
	    {"X-Maildrain-To\n" BLOCK "A: b\n\n", "5.6.0", "no colon"},
	    {BLOCK "X-Maildrain-Bcc: <c@x>\nA: b\n\n", "5.6.0", "unknown kind"},
	    {BLOCK "X-Maildrain-: <c@x>\nA: b\n\n", "5.6.0", "unknown kind"},
	    {BLOCK "X-Maildrain-Tox: <c@x>\nA: b\n\n", "5.6.0", "unknown kind"},
	    {BLOCK "X-Maildrain-To: c@x\nA: b\n\n", "5.6.0", "no <address>"},
	    {BLOCK "X-Maildrain-To: <c@x\nA: b\n\n", "5.6.0", "no <address>"},
	    {BLOCK "X-Maildrain-To:\nA: b\n\n", "5.6.0", "no <address>"},
	    {BLOCK "X-Maildrain-From: <a b@x>\nA: b\n\n", "5.1.7", "space"},
	    {"X-Maildrain-To: <b@x>\nFrom: a@x\n\n", "5.1.7", "no sender"},
	    {"X-Maildrain-From: <>\nTo: a@x\n\n", "5.1.3", "no recipient"},
	    {"From: a@x\n\n", "5.1.3", "no recipient"},
	    {"To: a@x\n\n", "5.1.7", "no sender"},
	    {"From: a@x\nTo: (\n\n", "5.1.3", "comment"},
	    {"From: <a\nTo: a@x\n\n", "5.1.7", "<"},
	};
	struct envelope envelope = {0};
	struct envelope_fault fault;

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		assert_int_equal(parse(&envelope, cases[i].head, &fault), -1);
		assert_string_equal(fault.status, cases[i].status);
		assert_non_null(strstr(fault.text, cases[i].word));
	}
	envelope_free(&envelope);
}

static void a_nul_is_a_control_character(void **state)
{
	static const char head[] =
	    "X-Maildrain-From: <a@x>\nX-Maildrain-To: <b@x\0evil>\nA: \0b\n\n";
	struct envelope envelope = {0};
	struct envelope_fault fault;

	(void)state;
	assert_int_equal(envelope_parse(&envelope, head, sizeof head - 1, &fault), 0);
	envelope_refuse_faulty(&envelope);
	assert_int_equal(envelope.recipient[0].state, RECIPIENT_FAILED);
	assert_true(envelope.recipient[0].tried);
	assert_string_equal(envelope.recipient[0].status, "5.1.3");
	assert_non_null(strstr(envelope.recipient[0].reply, "control character"));
	envelope_free(&envelope);
}

static void recipients_are_bounded(void **state)
{
	const size_t line = strlen("X-Maildrain-To: <0000000@x>\n");
	char *head = malloc(100 + (ENVELOPE_RECIPIENTS_MAX + 1) * line);
	struct envelope envelope = {0};
	struct envelope_fault fault;
	char *end;

	(void)state;
	assert_non_null(head);
	end = stpcpy(head, "X-Maildrain-From: <>\n");
	for (int i = 0; i <= ENVELOPE_RECIPIENTS_MAX; i++)
		end += sprintf(end, "X-Maildrain-To: <%07d@x>\n", i);
	(void)strcpy(end - line, "A: b\n\n");
	assert_int_equal(parse(&envelope, head, &fault), 0);
	assert_int_equal(envelope.count, ENVELOPE_RECIPIENTS_MAX);
	assert_string_equal(envelope.recipient[9999].address, "0009999@x");
	assert_string_equal(envelope.recipient[0].address, "0000000@x");
	(void)sprintf(end - line, "X-Maildrain-To: <%07d@x>\nA: b\n\n", 1);
	assert_int_equal(parse(&envelope, head, &fault), -1);
	assert_string_equal(fault.status, "5.5.3");
	envelope_free(&envelope);
	free(head);
}

/* What the block would be now, with a header behind it. */
static void write_head(const struct envelope *envelope, char *head)
{
	size_t len = envelope_write_sender(envelope, head);

	assert_true(len < ENVELOPE_LINE_MAX && head[len - 1] == '\n');
	for (size_t i = 0; i < envelope->count; i++) {
		const size_t more = envelope_write_recipient(&envelope->recipient[i], head + len);

		assert_true(more < ENVELOPE_LINE_MAX);
		len += more;
		assert_int_equal(head[len - 1], '\n');
	}
	(void)strcpy(head + len, "A: b\n\n");
}

static void what_is_written_is_read_again(void **state)
{
	char head[8 * ENVELOPE_LINE_MAX];
	struct envelope envelope = {0};
	struct envelope_fault fault;

	(void)state;
	assert_int_equal(
	    parse(&envelope,
		"X-Maildrain-From: <>\nX-Maildrain-Relay: bulk\nX-Maildrain-To: <b@x>\n"
		"X-Maildrain-To: <c@x>\nX-Maildrain-To: <d@x>\nX-Maildrain-Done: <e@x> 250 a\n"
		"A: b\n\n",
		&fault),
	    0);
	envelope_result(&envelope, &envelope.recipient[0], RECIPIENT_DONE, "2.0.0", "250 Ok");
	envelope_result(&envelope, &envelope.recipient[1], RECIPIENT_DEFERRED, "4.2.1", "450 Bu");
	envelope_result(&envelope, &envelope.recipient[2], RECIPIENT_FAILED, "5.1.1", "550 No");
	write_head(&envelope, head);
	assert_string_equal(head, "X-Maildrain-From: <>\nX-Maildrain-Relay: bulk\n"
				  "X-Maildrain-Done: <b@x> 250 Ok\nX-Maildrain-To: <c@x>\n"
				  "X-Maildrain-Failed: <d@x> 550 No\n"
				  "X-Maildrain-Done: <e@x> 250 a\nA: b\n\n");
	assert_int_equal(parse(&envelope, head, &fault), 0);
	assert_string_equal(envelope.sender, "");
	assert_string_equal(envelope.relay, "bulk");
	expect(&envelope, 0, RECIPIENT_DONE, "b@x", "250 Ok");
	expect(&envelope, 1, RECIPIENT_TODO, "c@x", "");
	expect(&envelope, 2, RECIPIENT_FAILED, "d@x", "550 No");
	envelope_restart(&envelope);
	expect(&envelope, 0, RECIPIENT_DONE, "b@x", "250 Ok");
	expect(&envelope, 2, RECIPIENT_TODO, "d@x", "");
	envelope_free(&envelope);
}

/* Whatever stood in a faulty address, it is one recipient of one line, and as faulty, ever after.
 */
static void a_faulty_address_stays_one_and_faulty(void **state)
{
	static const char *const addresses[] = {
	    "v@x>y>",
	    "v@x> 250 Ok",
	    ">",
	    "",
	    " ",
	    "v@x\x01",
	    "\"q\\\nX-Maildrain-To: <evil@x>\"@x",
	    "\"q\\\r X-Maildrain-Done: <evil@x>\"@x",
	    "<v@x",
	    "nobody",
	};
	char head[2 * ENVELOPE_LINE_MAX];
	struct envelope_fault fault;

	(void)state;
	for (size_t i = 0; i < sizeof addresses / sizeof addresses[0]; i++) {
		struct recipient recipient = {.address = addresses[i], .reply = "550 no"};
		struct envelope envelope = {.sender = "a@x", .recipient = &recipient, .count = 1};

		for (int round = 0; round < 3; round++) {
			recipient.state = round % 2 == 0 ? RECIPIENT_FAILED : RECIPIENT_TODO;
			write_head(&envelope, head);
			memset(&envelope, 0, sizeof envelope);
			assert_int_equal(parse(&envelope, head, &fault), 0);
			assert_int_equal(envelope.count, 1);
			envelope_restart(&envelope);
			envelope_refuse_faulty(&envelope);
			assert_int_equal(envelope.recipient[0].state, RECIPIENT_FAILED);
			assert_string_equal(envelope.recipient[0].status, "5.1.3");
			envelope_free(&envelope);
			envelope =
			    (struct envelope){.sender = "a@x", .recipient = &recipient, .count = 1};
		}
	}
}

static void long_texts_fit_their_lines(void **state)
{
	char text[20000];
	char head[4 * ENVELOPE_LINE_MAX];
	struct recipient recipient = {.address = text, .reply = text, .state = RECIPIENT_DONE};
	struct envelope envelope = {
	    .sender = text, .relay = text, .recipient = &recipient, .count = 1};

	(void)state;
	memset(text, 'x', sizeof text - 1);
	text[sizeof text - 1] = '\0';
	write_head(&envelope, head);
}

static void drop(const char *header, const char *expected)
{
	const size_t len = strlen(header);
	char *copy = malloc(len + 1);

	assert_non_null(copy);
	memcpy(copy, header, len);
	copy[envelope_drop_bcc(copy, len)] = '\0';
	assert_string_equal(copy, expected);
	free(copy);
}

static void bcc_is_dropped(void **state)
{
	(void)state;
	drop("", "");
	drop("Bcc: a", "");
	drop("Bcc: a\n\n", "\n");
	drop("A: b\nbCC : a,\n\tb\n\r\n c\nC: d\n\n", "A: b\n\r\n c\nC: d\n\n");
	drop("A: b\nBcc: a,\n\tb\r\n c\nC: d\n\n", "A: b\nC: d\n\n");
	drop("A: b\rBcc\t :a\rResent-BCC:a\r\nC: d\r\r", "A: b\rC: d\r\r");
	drop("Bcc\n : a\nBcc\r\n\t \r\n : a\nC: d\n\n", "C: d\n\n");
	drop("Bcc:\nBcc:\nBcc:\n\n", "\n");
	drop("rubbish\nBcc: a\n\n", "rubbish\n\n");
	drop("Bccx: a\nX-Bcc: a\nBc: a\nBcc\nA: b\n\n", "Bccx: a\nX-Bcc: a\nBc: a\nBcc\nA: b\n\n");
	drop("A: b\n Bcc: a\n\n", "A: b\n Bcc: a\n\n");
}

static void an_object_may_be_used_again(void **state)
{
	struct envelope envelope = {0};
	struct envelope_fault fault;

	(void)state;
	for (int round = 0; round < 3; round++) {
		assert_int_equal(
		    parse(&envelope, BLOCK "X-Maildrain-Relay: r\nA: b\n\n", &fault), 0);
		assert_int_equal(parse(&envelope, "rubbish", &fault), -1);
		assert_int_equal(parse(&envelope, "From: c@x\nTo: d@x\n\n", &fault), 0);
		assert_int_equal(envelope.count, 1);
		assert_int_equal(envelope.block_len, 0);
		assert_null(envelope.relay);
		expect(&envelope, 0, RECIPIENT_TODO, "d@x", "");
	}
	envelope_free(&envelope);
	envelope_free(&envelope);
}

#define TWO_LEFT                                                                                   \
	"X-Maildrain-From: <a@x>\nX-Maildrain-Done: <b@x> 250 Ok\nX-Maildrain-To: <c@x>\n"         \
	"X-Maildrain-To: <d@x>\nX-Maildrain-Failed: <e@x> 550 5.1.1 No\nA: b\n\n"

static void one_stands_in_for_those_to_be_served(void **state)
{
	struct envelope envelope = {0};
	struct envelope_fault fault;

	(void)state;
	assert_int_equal(parse(&envelope, TWO_LEFT, &fault), 0);
	envelope.recipient[2].state = RECIPIENT_LATER;
	/* Also where it is one of them. */
	assert_true(envelope_redirect(&envelope, "c@x"));
	assert_string_equal(envelope.redirected, "c@x");
	assert_int_equal(envelope.count, 5);
	assert_int_equal(envelope_count(&envelope, RECIPIENT_TODO), 1);
	expect(&envelope, 1, RECIPIENT_LATER, "c@x", "");
	expect(&envelope, 4, RECIPIENT_TODO, "c@x", "");
	envelope.recipient[4].asked = true;
	envelope_result(&envelope, &envelope.recipient[4], RECIPIENT_DEFERRED, "4.3.0", "451 No");
	envelope_restore(&envelope);
	assert_int_equal(envelope.count, 4);
	expect(&envelope, 0, RECIPIENT_DONE, "b@x", "250 Ok");
	expect(&envelope, 1, RECIPIENT_DEFERRED, "c@x", "451 No");
	assert_string_equal(envelope.recipient[1].status, "4.3.0");
	assert_true(envelope.recipient[1].tried);
	assert_true(envelope.recipient[1].asked);
	expect(&envelope, 2, RECIPIENT_LATER, "d@x", "");
	assert_false(envelope.recipient[2].tried);
	expect(&envelope, 3, RECIPIENT_FAILED, "e@x", "550 5.1.1 No");
	assert_false(envelope.recipient[3].tried);
	/* The next time it is for the other. */
	envelope.recipient[2].state = RECIPIENT_TODO;
	assert_true(envelope_redirect(&envelope, "f@x"));
	envelope_restore(&envelope);
	expect(&envelope, 1, RECIPIENT_DEFERRED, "c@x", "451 No");
	expect(&envelope, 2, RECIPIENT_TODO, "d@x", "");
	envelope_free(&envelope);
}

static void it_may_be_one_more_than_there_may_be(void **state)
{
	struct envelope envelope = {0};
	char address[32];

	(void)state;
	assert_true(envelope_begin(&envelope, "a@x"));
	for (int i = 0; i < ENVELOPE_RECIPIENTS_MAX; i++) {
		const int len = snprintf(address, sizeof address, "%d@x", i);

		assert_true(envelope_add(&envelope, address, (size_t)len));
	}
	assert_false(envelope_add(&envelope, "more@x", 6));
	assert_true(envelope_redirect(&envelope, "d@x"));
	envelope_restore(&envelope);
	assert_int_equal(envelope_count(&envelope, RECIPIENT_TODO), ENVELOPE_RECIPIENTS_MAX);
	envelope_free(&envelope);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(head_ends_at_the_empty_line),
	    cmocka_unit_test(head_is_found_in_any_prefix_or_not_yet),
	    cmocka_unit_test(the_block_is_read),
	    cmocka_unit_test(only_a_whole_status_is_one),
	    cmocka_unit_test(the_header_is_read_without_a_block),
	    cmocka_unit_test(faults_are_told),
	    cmocka_unit_test(a_nul_is_a_control_character),
	    cmocka_unit_test(recipients_are_bounded),
	    cmocka_unit_test(what_is_written_is_read_again),
	    cmocka_unit_test(a_faulty_address_stays_one_and_faulty),
	    cmocka_unit_test(long_texts_fit_their_lines),
	    cmocka_unit_test(bcc_is_dropped),
	    cmocka_unit_test(an_object_may_be_used_again),
	    cmocka_unit_test(one_stands_in_for_those_to_be_served),
	    cmocka_unit_test(it_may_be_one_more_than_there_may_be),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
