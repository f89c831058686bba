#include "talk.h"

#define TRIO	    SENDER TO("b") TO("c") TO("d") HEADER "text\n"
#define LMTP	    ((struct smtp_offer){.pipelining = true, .lmtp = true})
#define LMTP_STEP   ((struct smtp_offer){.lmtp = true})
#define LMTP_CHUNKS ((struct smtp_offer){.pipelining = true, .chunking = true, .lmtp = true})
#define RSET	    "RSET\r\n"

/* ---- dialogues ---- */

static void a_reply_for_each_recipient(void **state)
{
	struct talk *talk = *state;
	struct message *first, *second;

	begin(talk, LMTP);
	first = submit(talk, TRIO);
	assert_says(talk, MAIL RCPT("b") RCPT("c") RCPT("d") DATA);
	say(talk, "250 Ok\r\n250 Ok\r\n550 5.1.1 No\r\n250 Ok\r\n354 Go on\r\n");
	assert_says(talk, BODY);
	second = submit(talk, LETTER);
	assert_false(smtp_ready(&talk->smtp));
	assert_says(talk, MAIL RCPT("b") DATA);
	say(talk, "250 2.0.0 Saved b\r\n");
	assert_null(smtp_finished(&talk->smtp));
	assert_int_equal(smtp_phase(&talk->smtp), SMTP_DOT);
	say(talk, "452 4.2.2 Full d\r\n");
	assert_finished(talk, first, MESSAGE_SETTLED);
	assert_recipient(first, 0, RECIPIENT_DONE, "2.0.0", "250 2.0.0 Saved b");
	assert_recipient(first, 1, RECIPIENT_FAILED, "5.1.1", "550 5.1.1 No");
	assert_recipient(first, 2, RECIPIENT_DEFERRED, "4.2.2", "452 4.2.2 Full d");
	assert_false(first->in_doubt);

	assert_int_equal(smtp_phase(&talk->smtp), SMTP_COMMAND);
	say(talk, "250 Ok\r\n250 Ok\r\n354 Go on\r\n");
	assert_says(talk, BODY);
	say(talk, "250 2.0.0 Saved\r\n");
	assert_finished(talk, second, MESSAGE_SETTLED);
	assert_recipient(second, 0, RECIPIENT_DONE, "2.0.0", "250 2.0.0 Saved");
	assert_int_equal(talk->smtp.settled, 2);
	assert_int_equal(smtp_phase(&talk->smtp), SMTP_IDLE);
}

/* Who is done before this attempt, or can't be served at all, gets no reply. */
static void only_who_was_asked_has_a_reply(void **state)
{
	struct talk *talk = *state;
	struct message *message;

	begin(talk, LMTP);
	message = submit(talk, SENDER "X-Maildrain-Done: <a@example.net> 250 Ok\n" TO("b")
				   TO("\xc3\xb6") TO("d") HEADER "text\n");
	assert_says(talk, MAIL RCPT("b") RCPT("d") DATA);
	say(talk, "250 Ok\r\n250 Ok\r\n250 Ok\r\n354 Go on\r\n");
	assert_says(talk, BODY);
	say(talk, "550 5.2.1 Off\r\n250 2.0.0 Saved d\r\n");
	assert_finished(talk, message, MESSAGE_SETTLED);
	assert_recipient(message, 0, RECIPIENT_DONE, "", NULL);
	assert_recipient(message, 1, RECIPIENT_FAILED, "5.2.1", "550 5.2.1 Off");
	assert_recipient(message, 2, RECIPIENT_FAILED, "5.6.7", NULL);
	assert_recipient(message, 3, RECIPIENT_DONE, "2.0.0", "250 2.0.0 Saved d");
}

/* ---- every combination of replies ---- */

struct codes {
	int mail, rcpt[2], data, dot[2];
};

static void reply_with(struct talk *talk, int code)
{
	char line[32];

	(void)snprintf(line, sizeof line, "%d %d.0.0 Words\r\n", code, code / 100);
	say(talk, line);
}

static bool is_accepted(const struct codes *codes, size_t i)
{
	return codes->mail == 250 && codes->rcpt[i] == 250;
}

/* As RFC 2033 has it: as many replies as recipients were accepted. */
static void answer_octets(struct talk *talk, const struct codes *codes)
{
	assert_true(is_accepted(codes, 0) || is_accepted(codes, 1));
	for (size_t i = 0; i < 2; i++)
		if (is_accepted(codes, i))
			reply_with(talk, codes->dot[i]);
}

static void answer_chunk(
    struct talk *talk, const char *line, const char **text, const struct codes *codes)
{
	char *end;
	const unsigned long size = strtoul(line + 5, &end, 10);

	assert_true(strlen(*text) >= size);
	*text += size;
	if (strncmp(end, "\r\n", 2) != 0)
		answer_octets(talk, codes);
	else if (is_accepted(codes, 0) || is_accepted(codes, 1))
		reply_with(talk, codes->data == 354 ? 250 : codes->data);
	else
		reply_with(talk, 503);
}

static void answer_data(struct talk *talk, const struct codes *codes)
{
	reply_with(talk, is_accepted(codes, 0) || is_accepted(codes, 1) ? codes->data : 503);
}

static void answer_one(struct talk *talk, const char **text, const struct codes *codes)
{
	const char *line = *text;

	*text = strstr(line, "\r\n") + 2;
	if (strncmp(line, "MAIL", 4) == 0)
		reply_with(talk, codes->mail);
	else if (strncmp(line, "RCPT TO:<", 9) == 0)
		reply_with(talk, codes->mail == 250 ? codes->rcpt[line[9] - 'b'] : 503);
	else if (strncmp(line, "DATA", 4) == 0)
		answer_data(talk, codes);
	else if (strncmp(line, "RSET", 4) == 0)
		reply_with(talk, 250);
	else if (strncmp(line, "BDAT", 4) == 0)
		answer_chunk(talk, line, text, codes);
	else {
		assert_string_equal(line, BODY);
		*text = line + strlen(line);
		answer_octets(talk, codes);
	}
}

static void converse(struct talk *talk, const struct codes *codes)
{
	char *said;

	while ((said = strdup(output(talk))) != NULL && said[0] != '\0') {
		const char *text = said;

		while (text[0] != '\0')
			answer_one(talk, &text, codes);
		free(said);
	}
	free(said);
}

static int deciding_code(const struct codes *codes, size_t i)
{
	if (codes->mail != 250)
		return codes->mail;
	if (codes->rcpt[i] != 250)
		return codes->rcpt[i];
	return codes->data != 354 ? codes->data : codes->dot[i];
}

static void try_codes(struct talk *talk, struct smtp_offer offer, const struct codes *codes)
{
	static const struct codes fine = {250, {250, 250}, 354, {250, 250}};
	struct message *first, *second;

	begin(talk, offer);
	talk->smtp.chunks = talk->chunks;
	first = submit(talk, PAIR);
	converse(talk, codes);
	assert_finished(talk, first, MESSAGE_SETTLED);
	for (size_t i = 0; i < 2; i++) {
		const int class = deciding_code(codes, i) / 100;

		assert_recipient(first, i,
		    class == 2	 ? RECIPIENT_DONE
		    : class == 4 ? RECIPIENT_DEFERRED
				 : RECIPIENT_FAILED,
		    class == 2	 ? "2.0.0"
		    : class == 4 ? "4.0.0"
				 : "5.0.0",
		    NULL);
	}
	assert_false(first->in_doubt);

	/* Both sides still agree on where they are. */
	second = submit(talk, PAIR);
	converse(talk, &fine);
	assert_finished(talk, second, MESSAGE_SETTLED);
	assert_recipient(second, 0, RECIPIENT_DONE, "2.0.0", NULL);
	assert_recipient(second, 1, RECIPIENT_DONE, "2.0.0", NULL);
	message_close(first);
	message_close(second);
}

static void try_all_codes(struct talk *talk, struct smtp_offer offer)
{
	static const int plain[] = {250, 450, 550};
	static const int data[] = {354, 451, 554};

	for (int i = 0; i < 3 * 3 * 3 * 3 * 3 * 3; i++) {
		/* Then no first chunk goes ahead. */
		if (talk->chunks && i / 27 % 3 != 0)
			continue;
		const struct codes codes = {
		    .mail = plain[i % 3],
		    .rcpt = {plain[i / 3 % 3], plain[i / 9 % 3]},
		    .data = data[i / 27 % 3],
		    .dot = {plain[i / 81 % 3], plain[i / 243]},
		};

		try_codes(talk, offer, &codes);
	}
}

static void try_all_offers(struct talk *talk)
{
	try_all_codes(talk, LMTP);
	try_all_codes(talk, LMTP_STEP);
	try_all_codes(talk, LMTP_CHUNKS);
	talk->chunks = true;
	try_all_codes(talk, LMTP_CHUNKS);
}

static void all_replies(void **state)
{
	try_all_offers(*state);
}

static void all_replies_byte_by_byte(void **state)
{
	struct talk *talk = *state;

	talk->in_step = 1;
	try_all_offers(talk);
}

static void all_replies_with_a_small_buffer(void **state)
{
	struct talk *talk = *state;

	talk->out_room = SMTP_COMMAND_MAX;
	try_all_offers(talk);
}

/* ---- the end of a session between the replies ---- */

/* How the octets go out. */
enum way { BY_DATA, BY_FIRST_CHUNKS, BY_CHUNKS, WAYS };

/*
 * A message for three is out by WAY, and if that can be a second behind it; COUNT replies to the
 * dot have come.
 */
static void reach(
    struct talk *talk, enum way way, size_t count, struct message **first, struct message **second)
{
	static const char *const go_ahead[WAYS] = {"354 Go on\r\n", "250 1 octet\r\n", ""};

	begin(talk, way == BY_DATA ? LMTP : LMTP_CHUNKS);
	talk->smtp.chunks = way == BY_CHUNKS;
	*first = submit(talk, TRIO);
	(void)output(talk);
	say(talk, "250 Ok\r\n250 Ok\r\n250 Ok\r\n250 Ok\r\n");
	say(talk, go_ahead[way]);
	assert_non_null(strstr(output(talk), "text\r\n"));
	assert_int_equal(smtp_ready(&talk->smtp), way != BY_FIRST_CHUNKS);
	*second = way != BY_FIRST_CHUNKS ? submit(talk, LETTER) : NULL;
	(void)output(talk);
	for (size_t i = 0; i < count; i++)
		say(talk, i == 0 ? "250 2.0.0 Saved\r\n" : "552 5.2.2 Full\r\n");
	assert_null(smtp_finished(&talk->smtp));
}

/* What was only pipelined is not charged. */
static void assert_behind(struct talk *talk, struct message *second)
{
	if (second == NULL)
		return;
	assert_finished(talk, second, MESSAGE_UNTRIED);
	assert_recipient(second, 0, RECIPIENT_TODO, "", "");
}

static void assert_answered(const struct message *message, size_t count)
{
	if (count > 0)
		assert_recipient(message, 0, RECIPIENT_DONE, "2.0.0", "250 2.0.0 Saved");
	if (count > 1)
		assert_recipient(message, 1, RECIPIENT_FAILED, "5.2.2", "552 5.2.2 Full");
}

static void lost_between_replies(void **state)
{
	struct talk *talk = *state;
	struct message *first, *second;

	for (size_t n = 0; n < 3 * WAYS; n++) {
		const size_t count = n / WAYS;

		reach(talk, n % WAYS, count, &first, &second);
		smtp_lost(&talk->smtp, "gone");
		assert_finished(talk, first, MESSAGE_SETTLED);
		assert_answered(first, count);
		for (size_t i = count; i < 3; i++)
			assert_recipient(first, i, RECIPIENT_DEFERRED, "4.4.2", "gone");
		assert_true(first->in_doubt);
		assert_behind(talk, second);
		assert_int_equal(talk->smtp.end, SMTP_LOST);
	}
}

/* Servers answer in order: behind its 421 nothing is taken that it has not said so of. */
static void goodbye_between_replies(void **state)
{
	struct talk *talk = *state;
	struct message *first, *second;

	for (size_t n = 0; n < 3 * WAYS; n++) {
		const size_t count = n / WAYS;

		if (n == BY_FIRST_CHUNKS)
			continue; /* it may not know BDAT then */
		reach(talk, n % WAYS, count, &first, &second);
		say(talk, "421 4.3.2 Going down\r\n");
		assert_int_equal(talk->smtp.end == SMTP_OPEN, count < 2);
		smtp_lost(&talk->smtp, "gone");
		assert_finished(talk, first, MESSAGE_SETTLED);
		assert_answered(first, count);
		assert_recipient(first, count, RECIPIENT_DEFERRED, "4.3.2", NULL);
		for (size_t i = count + 1; i < 3; i++)
			assert_recipient(
			    first, i, RECIPIENT_DEFERRED, "4.4.2", "421 4.3.2 Going down");
		assert_false(first->in_doubt);
		assert_behind(talk, second);
		assert_int_not_equal(talk->smtp.end, SMTP_OPEN);
		assert_string_equal(talk->smtp.why, "421 4.3.2 Going down");
	}
}

static void goodbye_is_one_recipients_result(void **state)
{
	struct talk *talk = *state;
	struct message *first, *second;

	reach(talk, BY_DATA, 1, &first, &second);
	say(talk, "421 4.3.2 Going down\r\n250 2.0.0 Saved d\r\n");
	assert_finished(talk, first, MESSAGE_SETTLED);
	assert_recipient(first, 1, RECIPIENT_DEFERRED, "4.3.2", "421 4.3.2 Going down");
	assert_recipient(first, 2, RECIPIENT_DONE, "2.0.0", "250 2.0.0 Saved d");
	assert_finished(talk, second, MESSAGE_UNTRIED);
	assert_int_equal(talk->smtp.end, SMTP_LOST);
}

static void lost_before_the_dot_is_no_doubt(void **state)
{
	struct talk *talk = *state;
	struct message *message;

	begin(talk, LMTP);
	message = submit(talk, PAIR);
	assert_says(talk, MAIL RCPT("b") RCPT("c") DATA);
	say(talk, "250 Ok\r\n250 Ok\r\n250 Ok\r\n354 Go on\r\n");
	smtp_written(&talk->smtp, unwritten(talk) - 1);
	smtp_lost(&talk->smtp, "gone");
	assert_finished(talk, message, MESSAGE_SETTLED);
	assert_recipient(message, 0, RECIPIENT_DEFERRED, "4.4.2", "gone");
	assert_recipient(message, 1, RECIPIENT_DEFERRED, "4.4.2", "gone");
	assert_false(message->in_doubt);
}

/* ---- what a server may not say ---- */

static void a_reply_too_many(void **state)
{
	struct talk *talk = *state;
	struct message *first;

	begin(talk, LMTP);
	first = submit(talk, LETTER);
	assert_says(talk, MAIL RCPT("b") DATA);
	say(talk, "250 Ok\r\n250 Ok\r\n354 Go on\r\n");
	assert_says(talk, BODY);
	say(talk, "250 2.0.0 Saved\r\n250 2.0.0 Saved\r\n");
	assert_finished(talk, first, MESSAGE_SETTLED);
	assert_int_equal(talk->smtp.end, SMTP_LOST);
	assert_string_equal(talk->smtp.why, "unexpected reply to no command: 250 2.0.0 Saved");
}

static void no_answer_at_all(void **state)
{
	struct talk *talk = *state;
	struct message *first, *second;

	for (enum way way = BY_DATA; way < WAYS; way++) {
		reach(talk, way, 1, &first, &second);
		say(talk, "354 Go on\r\n");
		assert_finished(talk, first, MESSAGE_SETTLED);
		assert_answered(first, 1);
		assert_recipient(first, 1, RECIPIENT_DEFERRED, "4.4.2", NULL);
		assert_behind(talk, second);
		assert_int_equal(talk->smtp.end, SMTP_LOST);
	}
}

/* How many replies it would have for the dot nobody knows. */
static void go_ahead_for_nobody_ends_the_session(void **state)
{
	static const char *const replies[] = {
	    "250 Ok\r\n550 5.1.1 No\r\n450 4.2.0 Later\r\n354 Go on\r\n",
	    "550 5.1.1 No\r\n503 5.5.1 First MAIL\r\n503 5.5.1 First MAIL\r\n354 Go on\r\n"};
	struct talk *talk = *state;
	struct message *first;

	for (size_t i = 0; i < 2; i++) {
		begin(talk, LMTP);
		first = submit(talk, PAIR);
		assert_says(talk, MAIL RCPT("b") RCPT("c") DATA);
		say(talk, replies[i]);
		assert_finished(talk, first, MESSAGE_SETTLED);
		assert_recipient(first, 0, RECIPIENT_FAILED, "5.1.1", "550 5.1.1 No");
		assert_int_not_equal(first->envelope.recipient[1].state, RECIPIENT_DONE);
		assert_false(first->in_doubt);
		assert_says(talk, "");
		assert_int_equal(talk->smtp.end, SMTP_LOST);
		assert_string_equal(
		    talk->smtp.why, "unexpected reply to DATA for nobody: 354 Go on");
	}
}

static void data_is_refused_for_nobody(void **state)
{
	struct talk *talk = *state;
	struct message *first, *second;

	begin(talk, LMTP);
	first = submit(talk, PAIR);
	assert_says(talk, MAIL RCPT("b") RCPT("c") DATA);
	say(talk, "250 Ok\r\n550 5.1.1 No\r\n450 4.2.0 Later\r\n503 5.5.1 Nobody\r\n");
	assert_finished(talk, first, MESSAGE_SETTLED);
	assert_recipient(first, 0, RECIPIENT_FAILED, "5.1.1", "550 5.1.1 No");
	assert_recipient(first, 1, RECIPIENT_DEFERRED, "4.2.0", "450 4.2.0 Later");
	second = submit(talk, LETTER);
	assert_says(talk, RSET MAIL RCPT("b") DATA);
	say(talk, "250 Ok\r\n250 Ok\r\n250 Ok\r\n354 Go on\r\n");
	assert_says(talk, BODY);
	say(talk, "250 2.0.0 Saved\r\n");
	assert_finished(talk, second, MESSAGE_SETTLED);
}

/* Who has got it must not get it again. */
static void relay_fault_for_one_of_many(void **state)
{
	struct talk *talk = *state;
	struct message *first, *second;

	for (enum way way = BY_DATA; way < WAYS; way++) {
		reach(talk, way, 1, &first, &second);
		say(talk, "530 5.7.0 Log in\r\n");
		assert_int_equal(talk->smtp.end, SMTP_OPEN);
		assert_false(smtp_ready(&talk->smtp));
		say(talk, "250 2.0.0 Saved d\r\n");
		assert_finished(talk, first, MESSAGE_SETTLED);
		assert_answered(first, 1);
		assert_recipient(first, 1, RECIPIENT_DEFERRED, "4.7.0", "530 5.7.0 Log in");
		assert_recipient(first, 2, RECIPIENT_DONE, "2.0.0", "250 2.0.0 Saved d");
		smtp_lost(&talk->smtp, "gone");
		assert_behind(talk, second);
		assert_int_equal(talk->smtp.end, SMTP_RELAY_FAULT);
		assert_string_equal(talk->smtp.why, "530 5.7.0 Log in");
	}
}

static void relay_fault_before_the_dot(void **state)
{
	struct talk *talk = *state;
	struct message *message;

	begin(talk, LMTP);
	message = submit(talk, PAIR);
	assert_says(talk, MAIL RCPT("b") RCPT("c") DATA);
	say(talk, "530 5.7.0 Log in\r\n");
	assert_finished(talk, message, MESSAGE_UNTRIED);
	assert_int_equal(talk->smtp.end, SMTP_RELAY_FAULT);
}

/* ---- BDAT ---- */

static void the_last_chunk_waits_for_the_recipients(void **state)
{
	struct talk *talk = *state;
	struct message *first, *second, *third;

	begin(talk, LMTP_CHUNKS);
	first = submit(talk, PAIR);
	assert_says(talk, MAIL RCPT("b") RCPT("c") FIRST);
	say(talk, "250 Ok\r\n250 Ok\r\n550 5.1.1 No\r\n250 1 octet\r\n");
	assert_says(talk, REST);
	say(talk, "250 2.0.0 Saved\r\n");
	assert_finished(talk, first, MESSAGE_SETTLED);
	assert_recipient(first, 0, RECIPIENT_DONE, "2.0.0", "250 2.0.0 Saved");
	assert_recipient(first, 1, RECIPIENT_FAILED, "5.1.1", "550 5.1.1 No");

	second = submit(talk, PAIR);
	assert_says(talk, MAIL RCPT("b") RCPT("c"));
	assert_false(smtp_ready(&talk->smtp));
	say(talk, "250 Ok\r\n250 Ok\r\n");
	assert_says(talk, "");
	say(talk, "250 Ok\r\n");
	assert_says(talk, LAST);
	say(talk, "250 2.0.0 Saved b\r\n");
	third = submit(talk, PAIR);
	assert_says(talk, RSET MAIL RCPT("b") RCPT("c"));
	say(talk, "452 4.2.2 Full c\r\n");
	assert_finished(talk, second, MESSAGE_SETTLED);
	assert_recipient(second, 1, RECIPIENT_DEFERRED, "4.2.2", "452 4.2.2 Full c");

	/* For nobody there is none: RFC 2033 wants no reply to it, and some servers give one. */
	say(talk, "250 Reset\r\n250 Ok\r\n550 5.1.1 No\r\n450 4.2.0 Later\r\n");
	assert_says(talk, "");
	assert_finished(talk, third, MESSAGE_SETTLED);
	(void)submit(talk, LETTER);
	assert_says(talk, RSET MAIL RCPT("b"));
}

static void few_messages_are_in_flight(void **state)
{
	struct talk *talk = *state;

	begin(talk, LMTP_CHUNKS);
	talk->smtp.chunks = true;
	talk->smtp.window = talk->depth;
	(void)submit(talk, LETTER);
	assert_says(talk, MAIL RCPT("b"));
	assert_false(smtp_ready(&talk->smtp));
	say(talk, "250 Ok\r\n250 Ok\r\n");
	assert_says(talk, LAST);
	(void)submit(talk, LETTER);
	assert_says(talk, RSET MAIL RCPT("b"));
	assert_false(smtp_ready(&talk->smtp));
}

static void servers_that_choke_on_chunks(void **state)
{
	static const char *const words[] = {"421 Bye\r\n", "500 What\r\n", "354 Go on\r\n"};
	struct talk *talk = *state;
	struct message *first, *second;

	for (size_t i = 0; i < 3; i++) {
		begin(talk, LMTP_CHUNKS);
		first = submit(talk, PAIR);
		(void)output(talk);
		say(talk, "250 Ok\r\n250 Ok\r\n250 Ok\r\n");
		say(talk, words[i]);
		assert_finished(talk, first, MESSAGE_UNTRIED);
		assert_true(talk->smtp.choked);
		reach(talk, BY_FIRST_CHUNKS, 0, &first, &second);
		say(talk, words[i]);
		assert_finished(talk, first, MESSAGE_UNTRIED);
		assert_true(talk->smtp.choked);
	}
}

/* Who answers for a recipient has understood BDAT. */
static void no_choking_behind_the_first_reply(void **state)
{
	struct talk *talk = *state;
	struct message *first, *second;

	reach(talk, BY_FIRST_CHUNKS, 0, &first, &second);
	say(talk, "552 5.2.2 Full\r\n503 5.5.0 Odd\r\n250 2.0.0 Saved d\r\n");
	assert_finished(talk, first, MESSAGE_SETTLED);
	assert_recipient(first, 0, RECIPIENT_FAILED, "5.2.2", NULL);
	assert_recipient(first, 1, RECIPIENT_FAILED, "5.5.0", NULL);
	assert_recipient(first, 2, RECIPIENT_DONE, "2.0.0", NULL);
	assert_false(talk->smtp.choked);
	assert_int_equal(talk->smtp.end, SMTP_OPEN);

	reach(talk, BY_FIRST_CHUNKS, 0, &first, &second);
	say(talk, "552 5.2.2 Full\r\n354 Go on\r\n");
	assert_finished(talk, first, MESSAGE_SETTLED);
	assert_recipient(first, 0, RECIPIENT_FAILED, "5.2.2", NULL);
	assert_recipient(first, 1, RECIPIENT_DEFERRED, "4.4.2", NULL);
	assert_true(first->in_doubt);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(a_reply_for_each_recipient),
	    TEST(only_who_was_asked_has_a_reply),
	    TEST(all_replies),
	    TEST(all_replies_byte_by_byte),
	    TEST(all_replies_with_a_small_buffer),
	    TEST(lost_between_replies),
	    TEST(goodbye_between_replies),
	    TEST(goodbye_is_one_recipients_result),
	    TEST(lost_before_the_dot_is_no_doubt),
	    TEST(a_reply_too_many),
	    TEST(no_answer_at_all),
	    TEST(go_ahead_for_nobody_ends_the_session),
	    TEST(data_is_refused_for_nobody),
	    TEST(relay_fault_for_one_of_many),
	    TEST(relay_fault_before_the_dot),
	    TEST(the_last_chunk_waits_for_the_recipients),
	    TEST(few_messages_are_in_flight),
	    TEST(servers_that_choke_on_chunks),
	    TEST(no_choking_behind_the_first_reply),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
