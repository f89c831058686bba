#include "talk.h"

/* ---- dialogues ---- */

static void pipelined_dialogue(void **state)
{
	struct talk *talk = *state;
	struct message *first, *second;

	begin(talk, PIPELINED);
	assert_int_equal(smtp_phase(&talk->smtp), SMTP_IDLE);
	first = submit(talk, PAIR);
	assert_false(smtp_ready(&talk->smtp));
	assert_says(talk, MAIL RCPT("b") RCPT("c") DATA);
	assert_int_equal(smtp_phase(&talk->smtp), SMTP_COMMAND);
	say(talk, "250 2.1.0 Ok\r\n250 2.1.5 Ok\r\n");
	assert_int_equal(smtp_phase(&talk->smtp), SMTP_COMMAND);
	say(talk, "250 2.1.5 Ok\r\n");
	assert_int_equal(smtp_phase(&talk->smtp), SMTP_DATA);
	assert_says(talk, "");
	say(talk, "354 Go on\r\n");
	assert_int_equal(smtp_phase(&talk->smtp), SMTP_BLOCK);
	assert_says(talk, BODY);
	assert_int_equal(smtp_phase(&talk->smtp), SMTP_DOT);

	second = submit(talk, LETTER);
	assert_false(smtp_ready(&talk->smtp));
	assert_says(talk, MAIL RCPT("b") DATA);
	assert_int_equal(smtp_phase(&talk->smtp), SMTP_DOT);
	say(talk, "250 2.0.0 Queued\r\n250 Ok\r\n250 Ok\r\n354 Go on\r\n");
	assert_finished(talk, first, MESSAGE_SETTLED);
	assert_recipient(first, 0, RECIPIENT_DONE, "2.0.0", "250 2.0.0 Queued");
	assert_recipient(first, 1, RECIPIENT_DONE, "2.0.0", "250 2.0.0 Queued");
	assert_null(smtp_finished(&talk->smtp));
	assert_says(talk, BODY);
	say(talk, "250 2.0.0 Queued\r\n");
	assert_finished(talk, second, MESSAGE_SETTLED);
	assert_int_equal(smtp_phase(&talk->smtp), SMTP_IDLE);
	assert_int_equal(talk->smtp.settled, 2);
}

static void lock_step_dialogue(void **state)
{
	static const char *const wanted[] = {MAIL, RCPT("b"), RCPT("c"), DATA, BODY};
	static const char *const replies[] = {"250-2.1.0 O\r\n250 k\r\n", "250 Ok\r\n",
	    "251 Moved\r\n", "354 Go\r\n", "250 Done\r\n"};
	struct talk *talk = *state;
	struct message *message;

	begin(talk, LOCK_STEP);
	message = submit(talk, PAIR);
	for (size_t i = 0; i < 5; i++) {
		assert_null(smtp_finished(&talk->smtp));
		assert_false(smtp_ready(&talk->smtp));
		assert_says(talk, wanted[i]);
		say(talk, replies[i]);
	}
	assert_finished(talk, message, MESSAGE_SETTLED);
	assert_recipient(message, 1, RECIPIENT_DONE, "", "250 Done");
	assert_true(smtp_ready(&talk->smtp));
}

/* ---- every combination of replies ---- */

struct codes {
	int mail, rcpt[2], data, dot;
};

static void reply_with(struct talk *talk, int code)
{
	char line[32];

	(void)snprintf(line, sizeof line, "%d %d.0.0 Words\r\n", code, code / 100);
	say(talk, line);
}

/* Passes the octets of BDAT, too. */
static void answer_chunk(
    struct talk *talk, const char *line, const char **text, const struct codes *codes)
{
	char *end;
	const unsigned long size = strtoul(line + 5, &end, 10);
	const bool none = codes->rcpt[0] != 250 && codes->rcpt[1] != 250;
	int code = codes->dot;

	assert_true(strlen(*text) >= size);
	*text += size;
	if (codes->mail != 250 || none)
		code = codes->mail != 250 ? 503 : 554;
	else if (strncmp(end, "\r\n", 2) == 0)
		code = codes->data == 354 ? 250 : codes->data;
	reply_with(talk, code);
}

/* Answers the command that *TEXT starts with, as a server that follows CODES; moves it on. */
static void answer_one(struct talk *talk, const char **text, const struct codes *codes)
{
	const char *line = *text;
	const bool rcpt = strncmp(line, "RCPT TO:<", 9) == 0;

	*text = strstr(line, "\r\n") + 2;
	if (strncmp(line, "MAIL", 4) == 0)
		reply_with(talk, codes->mail);
	else if (rcpt && codes->mail != 250)
		reply_with(talk, 503);
	else if (rcpt)
		reply_with(talk, codes->rcpt[line[9] - 'b']);
	else if (strncmp(line, "DATA", 4) == 0)
		reply_with(talk, codes->data);
	else if (strncmp(line, "RSET", 4) == 0)
		reply_with(talk, 250);
	else if (strncmp(line, "BDAT", 4) == 0)
		answer_chunk(talk, line, text, codes);
	else if (strncmp(line, "From", 4) != 0 && strcmp(line, ".\r\n") != 0)
		fail_msg("not expected: %s", line);
	else {
		*text = line + strlen(line);
		reply_with(talk, codes->dot);
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
	return codes->data != 354 ? codes->data : codes->dot;
}

static void try_codes(struct talk *talk, struct smtp_offer offer, const struct codes *codes)
{
	static const struct codes fine = {250, {250, 250}, 354, 250};
	struct message *first, *second;

	begin(talk, offer);
	talk->smtp.chunks = talk->chunks;
	first = submit(talk, PAIR);
	converse(talk, codes);
	assert_finished(talk, first, MESSAGE_SETTLED);
	for (size_t i = 0; i < 2; i++) {
		const int code = deciding_code(codes, i);

		assert_recipient(first, i,
		    code / 100 == 2   ? RECIPIENT_DONE
		    : code / 100 == 4 ? RECIPIENT_DEFERRED
				      : RECIPIENT_FAILED,
		    code / 100 == 2   ? "2.0.0"
		    : code / 100 == 4 ? "4.0.0"
				      : "5.0.0",
		    NULL);
	}
	assert_int_equal(first->refused_at_mail, codes->mail == 250 ? 0 : codes->mail);
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

	for (int i = 0; i < 3 * 3 * 3 * 3 * 3; i++) {
		/* Then no first chunk goes ahead. */
		if (talk->chunks && i / 27 % 3 != 0)
			continue;
		const struct codes codes = {
		    .mail = plain[i % 3],
		    .rcpt = {plain[i / 3 % 3], plain[i / 9 % 3]},
		    .data = data[i / 27 % 3],
		    .dot = plain[i / 81 % 3],
		};

		try_codes(talk, offer, &codes);
	}
}

static void all_replies_pipelined(void **state)
{
	try_all_codes(*state, PIPELINED);
}

static void all_replies_lock_step(void **state)
{
	try_all_codes(*state, LOCK_STEP);
}

static void all_replies_chunked(void **state)
{
	struct talk *talk = *state;

	try_all_codes(talk, CHUNKED);
	talk->chunks = true;
	try_all_codes(talk, CHUNKED);
}

static void all_replies_byte_by_byte(void **state)
{
	struct talk *talk = *state;

	talk->in_step = 1;
	try_all_codes(talk, PIPELINED);
	try_all_codes(talk, LOCK_STEP);
	try_all_codes(talk, CHUNKED);
}

static void all_replies_with_a_small_buffer(void **state)
{
	struct talk *talk = *state;

	talk->out_room = SMTP_COMMAND_MAX;
	try_all_codes(talk, PIPELINED);
	try_all_codes(talk, LOCK_STEP);
	try_all_codes(talk, CHUNKED);
}

/* ---- the ends of a session ---- */

/* How far a dialogue got before it ended, and what that means. */
struct stage {
	const char *said; /* by the server, before the end */
	enum message_verdict verdict;
	bool in_doubt;
};

static const struct stage stages[] = {
    {"", MESSAGE_UNTRIED, false},
    {"250 Ok\r\n", MESSAGE_UNTRIED, false},
    {"250 Ok\r\n250 Ok\r\n", MESSAGE_UNTRIED, false},
    {"250 Ok\r\n250 Ok\r\n354 Go on\r\n", MESSAGE_SETTLED, true},
};

#define STAGES (sizeof stages / sizeof stages[0])

/* A first message at STAGE; the second is pipelined behind it if that can be. */
static void reach(
    struct talk *talk, const struct stage *stage, struct message **first, struct message **second)
{
	begin(talk, PIPELINED);
	*first = submit(talk, LETTER);
	assert_says(talk, MAIL RCPT("b") DATA);
	say(talk, stage->said);
	(void)output(talk);
	*second = smtp_ready(&talk->smtp) ? submit(talk, LETTER) : NULL;
	if (*second != NULL)
		assert_says(talk, MAIL RCPT("b") DATA);
}

static void assert_ended(struct talk *talk, enum smtp_end end, const char *why)
{
	assert_int_equal(talk->smtp.end, end);
	assert_string_equal(talk->smtp.why, why);
	assert_null(smtp_finished(&talk->smtp));
	assert_false(smtp_ready(&talk->smtp));
	assert_says(talk, "");
}

static void lost_at_each_stage(void **state)
{
	struct talk *talk = *state;
	struct message *first, *second;

	for (size_t i = 0; i < STAGES; i++) {
		reach(talk, &stages[i], &first, &second);
		smtp_lost(&talk->smtp, "gone");
		assert_finished(talk, first, stages[i].verdict);
		assert_int_equal(first->in_doubt, stages[i].in_doubt);
		if (stages[i].verdict == MESSAGE_SETTLED)
			assert_recipient(first, 0, RECIPIENT_DEFERRED, "4.4.2", "gone");
		else
			assert_recipient(first, 0, RECIPIENT_TODO, "", "");
		if (second != NULL)
			assert_finished(talk, second, MESSAGE_UNTRIED);
		assert_ended(talk, SMTP_LOST, "gone");
	}
}

static void end_421_at_each_stage(void **state)
{
	struct talk *talk = *state;
	struct message *first, *second;

	for (size_t i = 0; i < STAGES; i++) {
		reach(talk, &stages[i], &first, &second);
		say(talk, "421 4.3.2 Going down\r\n250 Ok\r\n");
		assert_finished(talk, first, stages[i].verdict);
		assert_false(first->in_doubt);
		if (stages[i].verdict == MESSAGE_SETTLED)
			assert_recipient(
			    first, 0, RECIPIENT_DEFERRED, "4.3.2", "421 4.3.2 Going down");
		if (second != NULL)
			assert_finished(talk, second, MESSAGE_UNTRIED);
		assert_int_not_equal(talk->smtp.end, SMTP_OPEN);
		assert_string_equal(talk->smtp.why, "421 4.3.2 Going down");
		assert_says(talk, "");
	}
}

static void relay_fault_at_each_stage(void **state)
{
	static const char *const replies[] = {"530 5.7.0 Login\r\n", "534 5.7.9 Weak\r\n",
	    "535 5.7.8 Wrong\r\n", "538 5.7.11 Encrypt\r\n"};
	struct talk *talk = *state;
	struct message *first, *second;

	for (size_t i = 0; i < STAGES * 4; i++) {
		reach(talk, &stages[i % STAGES], &first, &second);
		say(talk, replies[i / STAGES]);
		assert_finished(talk, first, MESSAGE_UNTRIED);
		if (second != NULL)
			assert_finished(talk, second, MESSAGE_UNTRIED);
		assert_int_equal(talk->smtp.end, SMTP_RELAY_FAULT);
		assert_memory_equal(talk->smtp.why, replies[i / STAGES], 10);
		assert_says(talk, "");
	}
}

static void nonsense_at_each_stage(void **state)
{
	static const char *const rubbish[] = {
	    "\r\n", "hello\r\n", "250-a\r\n550 b\r\n", "600 x\r\n"};
	struct talk *talk = *state;
	struct message *first, *second;

	for (size_t i = 0; i < STAGES * 4; i++) {
		const struct stage *stage = &stages[i % STAGES];

		reach(talk, stage, &first, &second);
		say(talk, rubbish[i / STAGES]);
		assert_finished(talk, first, stage->verdict);
		assert_int_equal(first->in_doubt, stage->in_doubt);
		if (second != NULL)
			assert_finished(talk, second, MESSAGE_UNTRIED);
		assert_ended(talk, SMTP_LOST, "the peer does not speak SMTP");
	}
}

static void positive_replies_in_the_wrong_place(void **state)
{
	static const char *const replies[] = {
	    "354 Go on\r\n", "354 Go on\r\n", "250 Ok\r\n", "354 Go on\r\n"};
	struct talk *talk = *state;
	struct message *first, *second;

	for (size_t i = 0; i < STAGES; i++) {
		reach(talk, &stages[i], &first, &second);
		say(talk, replies[i]);
		assert_finished(talk, first, stages[i].verdict);
		assert_int_equal(talk->smtp.end, SMTP_LOST);
		assert_memory_equal(talk->smtp.why, "unexpected reply to ", 20);
	}
}

static void unsolicited_reply(void **state)
{
	struct talk *talk = *state;

	begin(talk, PIPELINED);
	say(talk, "250 Hello\r\n");
	assert_ended(talk, SMTP_LOST, "unexpected reply to no command: 250 Hello");
}

static void unsolicited_421_after_work_is_a_close(void **state)
{
	struct talk *talk = *state;
	struct message *message;

	begin(talk, LOCK_STEP);
	message = submit(talk, LETTER);
	converse(talk, &(struct codes){250, {250, 250}, 354, 250});
	assert_finished(talk, message, MESSAGE_SETTLED);
	say(talk, "421 4.4.2 Idle\r\n");
	assert_ended(talk, SMTP_CLOSED, "421 4.4.2 Idle");
}

/* The body is longer than the buffer: the dot has not gone out. */
static struct message *reach_mid_body(struct talk *talk)
{
	static char text[8192] = SENDER TO("b") HEADER;
	const size_t len = strlen(text);
	struct message *message;

	memset(text + len, 'x', sizeof text - len - 2);
	text[sizeof text - 2] = '\n';
	begin(talk, PIPELINED);
	message = submit(talk, text);
	assert_says(talk, MAIL RCPT("b") DATA);
	say(talk, "250 Ok\r\n250 Ok\r\n354 Go on\r\n");
	assert_string_not_equal(output_some(talk, SMTP_COMMAND_MAX), "");
	assert_int_equal(smtp_phase(&talk->smtp), SMTP_BLOCK);
	assert_false(smtp_ready(&talk->smtp));
	text[len] = '\0';
	return message;
}

static void lost_in_the_body_is_no_doubt(void **state)
{
	struct talk *talk = *state;
	struct message *message = reach_mid_body(talk);

	smtp_lost(&talk->smtp, "gone");
	assert_finished(talk, message, MESSAGE_SETTLED);
	assert_recipient(message, 0, RECIPIENT_DEFERRED, "4.4.2", "gone");
	assert_false(message->in_doubt);
}

static void reply_before_the_dot(void **state)
{
	static const char *const replies[] = {"250 Early\r\n", "552 Too much\r\n", "421 Bye\r\n"};
	struct talk *talk = *state;

	for (size_t i = 0; i < 3; i++) {
		struct message *message = reach_mid_body(talk);

		say(talk, replies[i]);
		assert_finished(talk, message, MESSAGE_SETTLED);
		assert_recipient(message, 0, RECIPIENT_DEFERRED, "4.4.2", NULL);
		assert_non_null(strstr(message->envelope.recipient[0].reply, i == 0   ? "250"
									     : i == 1 ? "552"
										      : "421"));
		assert_int_equal(talk->smtp.end, SMTP_LOST);
	}
}

/* ---- replies to what was not written yet ---- */

/* The commands of a session, each with the right reply; a message that is refused is before it. */
static const struct exchange {
	const char *command;
	const char *reply;
	bool begun; /* its DATA phase */
} exchanges[] = {
    {"RSET\r\n", "250 Ok\r\n", false},
    {MAIL, "250 Ok\r\n", false},
    {RCPT("b"), "250 Ok\r\n", false},
    {RCPT("c"), "250 Ok\r\n", false},
    {DATA, "354 Go on\r\n", false},
    {BODY, "250 Queued\r\n", true},
};

#define EXCHANGES (sizeof exchanges / sizeof exchanges[0])

/* Up to a message before whose MAIL stands a RSET. */
static struct message *reach_rset(struct talk *talk, struct smtp_offer offer)
{
	struct message *refused, *message;

	begin(talk, offer);
	refused = submit(talk, LETTER);
	converse(talk, &(struct codes){250, {250, 250}, 451, 250});
	assert_finished(talk, refused, MESSAGE_SETTLED);
	message = submit(talk, PAIR);
	message_close(refused);
	return message;
}

static void assert_not_believed(
    struct talk *talk, const struct message *message, const struct exchange *exchange)
{
	assert_int_equal(talk->smtp.end, SMTP_LOST);
	assert_ptr_equal(smtp_finished(&talk->smtp), message);
	assert_int_equal(message->verdict, exchange->begun ? MESSAGE_SETTLED : MESSAGE_UNTRIED);
	assert_false(message->in_doubt);
	for (size_t i = 0; i < 2; i++)
		assert_recipient(message, i, exchange->begun ? RECIPIENT_DEFERRED : RECIPIENT_TODO,
		    exchange->begun ? "4.4.2" : "", NULL);
}

/* The last byte of each command is missing when its reply comes. */
static void early_replies_in_lock_step(void **state)
{
	struct talk *talk = *state;

	for (size_t early = 0; early < EXCHANGES; early++) {
		struct message *message = reach_rset(talk, LOCK_STEP);

		for (size_t i = 0; i < early; i++) {
			assert_says(talk, exchanges[i].command);
			say(talk, exchanges[i].reply);
		}
		smtp_written(&talk->smtp, unwritten(talk) - 1);
		assert_string_equal(talk->out, exchanges[early].command);
		say(talk, exchanges[early].reply);
		assert_not_believed(talk, message, &exchanges[early]);
		message_close(message);
	}
}

/* As before, with all that may go out given out before. */
static void early_replies_pipelined(void **state)
{
	struct talk *talk = *state;

	for (size_t early = 0; early < EXCHANGES; early++) {
		struct message *message = reach_rset(talk, PIPELINED);
		size_t written = 0;

		if (exchanges[early].begun) {
			(void)output(talk);
			for (size_t i = 0; i < early; i++)
				say(talk, exchanges[i].reply);
		}
		(void)unwritten(talk);
		for (size_t i = exchanges[early].begun ? early : 0; i <= early; i++)
			written += strlen(exchanges[i].command);
		smtp_written(&talk->smtp, written - 1);
		for (size_t i = exchanges[early].begun ? early : 0; i <= early; i++)
			say(talk, exchanges[i].reply);
		assert_not_believed(talk, message, &exchanges[early]);
		message_close(message);
	}
}

/* The 250 behind the 250 of the dot is not that of the next message's MAIL. */
static void two_replies_to_the_dot(void **state)
{
	struct talk *talk = *state;
	struct message *first, *second;

	begin(talk, PIPELINED);
	first = submit(talk, LETTER);
	(void)output(talk);
	say(talk, "250 Ok\r\n250 Ok\r\n354 Go on\r\n");
	(void)output(talk);
	second = submit(talk, LETTER);
	(void)unwritten(talk);
	say(talk, "250 Queued\r\n250 Queued\r\n");
	assert_finished(talk, first, MESSAGE_SETTLED);
	assert_recipient(first, 0, RECIPIENT_DONE, "", "250 Queued");
	assert_finished(talk, second, MESSAGE_UNTRIED);
	assert_int_equal(talk->smtp.end, SMTP_LOST);
}

static void early_reply_to_quit(void **state)
{
	struct talk *talk = *state;

	begin(talk, PIPELINED);
	smtp_quit(&talk->smtp);
	(void)unwritten(talk);
	say(talk, "221 Bye\r\n");
	assert_int_equal(talk->smtp.end, SMTP_LOST);
}

static void replies_are_counted(void **state)
{
	struct talk *talk = *state;

	begin(talk, PIPELINED);
	(void)submit(talk, LETTER);
	(void)output(talk);
	say(talk, "250-Ok\r\n250-Ok\r\n250 O");
	assert_int_equal(talk->smtp.replies, 0);
	say(talk, "k\r\n250 Ok\r\n");
	assert_int_equal(talk->smtp.replies, 2);
}

static void file_that_shrinks(void **state)
{
	struct talk *talk = *state;
	struct message *message;
	char path[80];
	const size_t size = (size_t)200 * 1000;
	char *text = malloc(size);

	assert_non_null(text);
	memset(text, 'x', size - 1);
	text[size - 1] = '\0';
	memcpy(text, SENDER TO("b") HEADER, strlen(SENDER TO("b") HEADER));
	begin(talk, PIPELINED);
	message = submit(talk, text);
	free(text);
	assert_says(talk, MAIL RCPT("b") DATA);
	(void)snprintf(path, sizeof path, "%s/0", talk->dir);
	assert_int_equal(truncate(path, (off_t)size / 2), 0);
	say(talk, "250 Ok\r\n250 Ok\r\n354 Go on\r\n");
	assert_null(strstr(output(talk), "\r\n.\r\n"));
	assert_finished(talk, message, MESSAGE_SETTLED);
	assert_recipient(message, 0, RECIPIENT_DEFERRED, "4.3.0", NULL);
	assert_int_equal(talk->smtp.end, SMTP_LOCAL);
}

/* ---- traps ---- */

static void lone_dot_after_354_for_nobody(void **state)
{
	struct talk *talk = *state;
	struct message *first, *second;

	begin(talk, PIPELINED);
	first = submit(talk, PAIR);
	assert_says(talk, MAIL RCPT("b") RCPT("c") DATA);
	say(talk, "250 Ok\r\n550 5.1.1 No\r\n450 4.2.0 Later\r\n354 Go on\r\n");
	assert_says(talk, ".\r\n");
	second = submit(talk, LETTER);
	assert_says(talk, MAIL RCPT("b") DATA);
	say(talk, "554 5.5.1 Nobody\r\n");
	assert_finished(talk, first, MESSAGE_SETTLED);
	assert_recipient(first, 0, RECIPIENT_FAILED, "5.1.1", "550 5.1.1 No");
	assert_recipient(first, 1, RECIPIENT_DEFERRED, "4.2.0", "450 4.2.0 Later");
	say(talk, "250 Ok\r\n250 Ok\r\n354 Go on\r\n");
	assert_says(talk, BODY);
	say(talk, "250 Done\r\n");
	assert_finished(talk, second, MESSAGE_SETTLED);
}

static void lost_behind_a_lone_dot_is_no_doubt(void **state)
{
	struct talk *talk = *state;
	struct message *message;

	begin(talk, PIPELINED);
	message = submit(talk, LETTER);
	assert_says(talk, MAIL RCPT("b") DATA);
	say(talk, "250 Ok\r\n450 4.2.0 Later\r\n354 Go on\r\n");
	assert_says(talk, ".\r\n");
	smtp_lost(&talk->smtp, "gone");
	assert_finished(talk, message, MESSAGE_SETTLED);
	assert_recipient(message, 0, RECIPIENT_DEFERRED, "4.2.0", "450 4.2.0 Later");
	assert_false(message->in_doubt);
}

static void rset_after_data_is_refused(void **state)
{
	struct talk *talk = *state;
	struct message *first, *second;

	begin(talk, PIPELINED);
	first = submit(talk, PAIR);
	assert_says(talk, MAIL RCPT("b") RCPT("c") DATA);
	say(talk, "250 Ok\r\n250 Ok\r\n550 5.1.1 No\r\n451 4.3.0 Trouble\r\n");
	assert_finished(talk, first, MESSAGE_SETTLED);
	assert_recipient(first, 0, RECIPIENT_DEFERRED, "4.3.0", "451 4.3.0 Trouble");
	assert_recipient(first, 1, RECIPIENT_FAILED, "5.1.1", "550 5.1.1 No");
	assert_says(talk, "");
	second = submit(talk, LETTER);
	assert_says(talk, "RSET\r\n" MAIL RCPT("b") DATA);
	assert_int_equal(smtp_phase(&talk->smtp), SMTP_COMMAND);
	say(talk, "250 Ok\r\n250 Ok\r\n250 Ok\r\n354 Go on\r\n");
	assert_says(talk, BODY);
	say(talk, "250 Ok\r\n");
	assert_finished(talk, second, MESSAGE_SETTLED);
}

static void rset_refused_ends_the_session(void **state)
{
	struct talk *talk = *state;
	struct message *second;

	begin(talk, PIPELINED);
	(void)submit(talk, LETTER);
	assert_says(talk, MAIL RCPT("b") DATA);
	say(talk, "250 Ok\r\n250 Ok\r\n451 4.3.0 Trouble\r\n");
	assert_non_null(smtp_finished(&talk->smtp));
	second = submit(talk, LETTER);
	assert_says(talk, "RSET\r\n" MAIL RCPT("b") DATA);
	say(talk, "500 What?\r\n");
	assert_finished(talk, second, MESSAGE_UNTRIED);
	assert_ended(talk, SMTP_LOST, "unexpected reply to RSET: 500 What?");
}

static char *many_recipients(size_t count)
{
	char *text = malloc(count * 64 + 256);
	size_t len;

	assert_non_null(text);
	len = (size_t)sprintf(text, "%s", SENDER);
	for (size_t i = 0; i < count; i++)
		len += (size_t)sprintf(text + len, "X-Maildrain-To: <r%zu@example.net>\n", i);
	(void)sprintf(text + len, "%s", HEADER "text\n");
	return text;
}

static void mail_refused_while_recipients_go_out(void **state)
{
	struct talk *talk = *state;
	char *text = many_recipients(100);
	struct message *message;
	size_t asked = 0;

	begin(talk, PIPELINED);
	message = submit(talk, text);
	free(text);
	for (const char *at = output_some(talk, SMTP_COMMAND_MAX + 100);
	     (at = strstr(at, "RCPT")) != NULL; at++)
		asked++;
	assert_in_range(asked, 2, 99);
	say(talk, "550 5.7.1 Not you\r\n");
	assert_says(talk, "");
	for (; asked > 0; asked--) {
		assert_null(smtp_finished(&talk->smtp));
		say(talk, "503 5.5.1 MAIL first\r\n");
	}
	assert_finished(talk, message, MESSAGE_SETTLED);
	assert_int_equal(message->refused_at_mail, 550);
	for (size_t i = 0; i < 100; i++)
		assert_recipient(message, i, RECIPIENT_FAILED, "5.7.1", "550 5.7.1 Not you");
	assert_true(smtp_ready(&talk->smtp));
}

static void many_recipients_in_a_small_buffer(void **state)
{
	const size_t count = 500;
	struct talk *talk = *state;
	char *text = many_recipients(count);
	struct message *message;

	begin(talk, PIPELINED);
	talk->out_room = SMTP_COMMAND_MAX;
	message = submit(talk, text);
	free(text);
	assert_memory_equal(output(talk), MAIL "RCPT TO:<r0@", strlen(MAIL) + 12);
	assert_non_null(strstr(talk->out, "RCPT TO:<r499@example.net>\r\n" DATA));
	reply_with(talk, 250);
	for (size_t i = 0; i < count; i++)
		reply_with(talk, i % 3 == 0 ? 550 : 250);
	reply_with(talk, 354);
	assert_says(talk, BODY);
	reply_with(talk, 250);
	assert_finished(talk, message, MESSAGE_SETTLED);
	for (size_t i = 0; i < count; i++)
		assert_int_equal(message->envelope.recipient[i].state,
		    i % 3 == 0 ? RECIPIENT_FAILED : RECIPIENT_DONE);
}

/* All have been refused before the last is asked: DATA would be in vain. */
static void no_data_when_all_were_refused_meanwhile(void **state)
{
	struct talk *talk = *state;
	struct message *message;

	begin(talk, LOCK_STEP);
	message = submit(talk, PAIR);
	assert_says(talk, MAIL);
	reply_with(talk, 250);
	assert_says(talk, RCPT("b"));
	reply_with(talk, 550);
	assert_says(talk, RCPT("c"));
	reply_with(talk, 450);
	assert_says(talk, "");
	assert_finished(talk, message, MESSAGE_SETTLED);
	(void)submit(talk, LETTER);
	assert_says(talk, "RSET\r\n");
}

static void only_who_is_left_is_asked(void **state)
{
	struct talk *talk = *state;
	struct message *message;

	begin(talk, PIPELINED);
	message = submit(
	    talk, SENDER "X-Maildrain-Done: <x@example.net> 250 Ok\n" TO(
		      "b") "X-Maildrain-Failed: <y@example.net> 550 No\n" TO("c") HEADER "text\n");
	assert_says(talk, MAIL RCPT("b") RCPT("c") DATA);
	say(talk, "250 Ok\r\n450 4.1.1 Later\r\n250 Ok\r\n354 Go on\r\n");
	assert_says(talk, BODY);
	say(talk, "250 Done\r\n");
	assert_finished(talk, message, MESSAGE_SETTLED);
	assert_int_equal(message->envelope.recipient[0].state, RECIPIENT_DONE);
	assert_false(message->envelope.recipient[0].tried);
	assert_recipient(message, 1, RECIPIENT_DEFERRED, "4.1.1", "450 4.1.1 Later");
	assert_false(message->envelope.recipient[2].tried);
	assert_recipient(message, 3, RECIPIENT_DONE, "", "250 Done");
}

/* ---- what the server offers ---- */

static void offers_are_read(void **state)
{
	static const char *const lines[] = {"250-relay.example", "250-PIPELINING\r\n",
	    "250-SIZE 52428800\r\n", "250-8bitmime", "250-SMTPUTF8 ", "250 HELP\r\n"};
	struct smtp_offer offer = {0};

	(void)state;
	for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++)
		smtp_offer_line(&offer, lines[i], strlen(lines[i]));
	assert_true(offer.pipelining && offer.eightbit && offer.smtputf8 && offer.size);
	assert_int_equal(offer.size_max, 52428800);
}

static void offers_that_are_none(void **state)
{
	static const char *const lines[] = {"", "2", "250", "250 ", "250-\r\n", "550-PIPELINING",
	    "250-PIPELININGS", "250-X8BITMIME", "250-SIZEABLE 10", "354 SMTPUTF8"};
	struct smtp_offer offer = {0};

	(void)state;
	for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++)
		smtp_offer_line(&offer, lines[i], strlen(lines[i]));
	assert_false(offer.pipelining || offer.eightbit || offer.smtputf8 || offer.size);
}

static void odd_sizes(void **state)
{
	static const char *const lines[] = {
	    "250 SIZE", "250 SIZE 0", "250 SIZE lots", "250 SIZE 99999999999999999999999999"};

	(void)state;
	for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
		struct smtp_offer offer = {0};

		smtp_offer_line(&offer, lines[i], strlen(lines[i]));
		assert_true(offer.size);
		assert_int_equal(offer.size_max, 0);
	}
}

static void parameters_of_mail(void **state)
{
	static const char eight_bit[] = SENDER TO("b") HEADER "gr\xc3\xbcn\n";
	static const char utf8[] = SENDER TO("gr\xc3\xbcn") HEADER "text\n";
	const struct smtp_offer all = {
	    .pipelining = true, .eightbit = true, .smtputf8 = true, .size = true};
	struct talk *talk = *state;

	begin(talk, all);
	(void)submit(talk, LETTER);
	assert_says(talk, "MAIL FROM:<a@example.com> SIZE=29\r\n" RCPT("b") DATA);
	begin(talk, all);
	(void)submit(talk, eight_bit);
	assert_says(talk, "MAIL FROM:<a@example.com> SIZE=30 BODY=8BITMIME\r\n" RCPT("b") DATA);
	begin(talk, all);
	(void)submit(talk, utf8);
	assert_says(
	    talk, "MAIL FROM:<a@example.com> SIZE=29 SMTPUTF8\r\n" RCPT("gr\xc3\xbcn") DATA);
	begin(talk, PIPELINED);
	(void)submit(talk, "X-Maildrain-From: <>\n" TO("b") HEADER "text\n");
	assert_says(talk, "MAIL FROM:<>\r\n" RCPT("b") DATA);
}

static void unsendable_is_settled_without_a_byte(void **state)
{
	static const struct {
		const char *text;
		struct smtp_offer offer;
		const char *status;
	} cases[] = {
	    {LETTER, {.size = true, .size_max = 28}, "5.3.4"},
	    {SENDER TO("b") HEADER "gr\xc3\xbcn\n", {.smtputf8 = true}, "5.6.3"},
	    {SENDER TO("gr\xc3\xbcn") HEADER "text\n", {.eightbit = true}, "5.6.7"},
	    {"X-Maildrain-From: <\xc3\xbc@example.com>\n" TO("b") HEADER "text\n",
		{.eightbit = true}, "5.6.7"},
	    {SENDER TO("b") "From: a@example.com\nSubject: \xc3\xbc\n\ntext\n", {.eightbit = true},
		"5.6.9"},
	};
	struct talk *talk = *state;

	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct message *message;

		begin(talk, cases[i].offer);
		message = submit(talk, cases[i].text);
		assert_finished(talk, message, MESSAGE_SETTLED);
		assert_recipient(message, 0, RECIPIENT_FAILED, cases[i].status, NULL);
		assert_true(message->envelope.recipient[0].reply[0] != '\0');
		assert_int_equal(message->refused_at_mail, 0);
		assert_says(talk, "");
		assert_true(smtp_ready(&talk->smtp));
	}
}

static void one_unsendable_recipient_fails_alone(void **state)
{
	struct talk *talk = *state;
	struct message *message;

	begin(talk, PIPELINED);
	message = submit(talk, SENDER TO("gr\xc3\xbcn") TO("b") HEADER "text\n");
	assert_says(talk, MAIL RCPT("b") DATA);
	say(talk, "250 Ok\r\n250 Ok\r\n354 Go on\r\n");
	assert_says(talk, BODY);
	say(talk, "250 Done\r\n");
	assert_finished(talk, message, MESSAGE_SETTLED);
	assert_recipient(message, 0, RECIPIENT_FAILED, "5.6.7", NULL);
	assert_recipient(message, 1, RECIPIENT_DONE, "", "250 Done");
}

/* ---- CHUNKING ---- */

/* A session in which BDAT is known to work, with room for COUNT in flight; they are submitted. */
static void fly(struct talk *talk, struct message **letter, size_t count)
{
	begin(talk, CHUNKED);
	talk->smtp.chunks = true;
	talk->smtp.window = count;
	for (size_t i = 0; i < count; i++) {
		letter[i] = submit(talk, LETTER);
		(void)unwritten(talk);
	}
}

static void land(struct message **letter, size_t count)
{
	for (size_t i = 0; i < count; i++)
		message_close(letter[i]);
}

static void chunked_dialogue(void **state)
{
	struct talk *talk = *state;
	struct message *letter[3];

	begin(talk, CHUNKED);
	letter[0] = submit(talk, LETTER);
	assert_says(talk, MAIL RCPT("b") FIRST);
	assert_false(smtp_ready(&talk->smtp));
	say(talk, "250 Ok\r\n250 Ok\r\n");
	assert_int_equal(smtp_phase(&talk->smtp), SMTP_DATA);
	assert_says(talk, "");
	say(talk, "250 1 octet\r\n");
	assert_says(talk, REST);
	assert_int_equal(smtp_phase(&talk->smtp), SMTP_DOT);
	assert_false(smtp_ready(&talk->smtp));
	say(talk, "250 2.0.0 Queued\r\n");
	assert_finished(talk, letter[0], MESSAGE_SETTLED);
	assert_recipient(letter[0], 0, RECIPIENT_DONE, "2.0.0", "250 2.0.0 Queued");

	letter[1] = submit(talk, LETTER);
	assert_says(talk, WHOLE);
	letter[2] = submit(talk, LETTER);
	assert_says(talk, "RSET\r\n" WHOLE);
	assert_false(smtp_ready(&talk->smtp));
	say(talk, "250 Ok\r\n250 Ok\r\n250 Queued\r\n250 Ok\r\n250 Ok\r\n250 Ok\r\n");
	assert_finished(talk, letter[1], MESSAGE_SETTLED);
	assert_int_equal(smtp_phase(&talk->smtp), SMTP_DOT);
	say(talk, "250 Queued\r\n");
	assert_finished(talk, letter[2], MESSAGE_SETTLED);
	assert_int_equal(talk->smtp.settled, 3);
}

static void no_chunks_without_pipelining_or_depth(void **state)
{
	struct talk *talk = *state;

	begin(talk, (struct smtp_offer){.chunking = true});
	(void)submit(talk, LETTER);
	assert_says(talk, MAIL);
	talk->depth = 0;
	begin(talk, CHUNKED);
	(void)submit(talk, LETTER);
	assert_says(talk, MAIL RCPT("b") DATA);
}

static void dots_are_not_doubled_in_chunks(void **state)
{
	struct talk *talk = *state;

	begin(talk, CHUNKED);
	talk->smtp.chunks = true;
	(void)submit(talk, SENDER TO("b") HEADER ".\n..\n.");
	assert_says(
	    talk, MAIL RCPT("b") "BDAT 33 LAST\r\nFrom: a@example.com\r\n\r\n.\r\n..\r\n.\r\n");
}

static void window_grows_and_shrinks(void **state)
{
	struct talk *talk = *state;
	struct message *letter[LETTERS_MAX];

	talk->depth = 3;
	fly(talk, letter, 1);
	for (size_t i = 1; i < 4; i++) {
		(void)unwritten(talk);
		smtp_written(&talk->smtp, (size_t)(talk->smtp.given - talk->smtp.written));
		say(talk, "250 Ok\r\n250 Ok\r\n250 Queued\r\n");
		assert_int_equal(talk->smtp.window, i + 1 < 3 ? i + 1 : 3);
		letter[i] = submit(talk, LETTER);
	}
	(void)output(talk);
	say(talk, "250 Ok\r\n450 Not now\r\n554 Nobody\r\n");
	assert_int_equal(talk->smtp.window, 1);
	letter[4] = submit(talk, LETTER);
	assert_says(talk, "RSET\r\n" WHOLE);
	assert_false(smtp_ready(&talk->smtp));
	land(letter, 5);
}

/* Refused in the middle: the others are not touched by it. */
static void one_of_many_is_refused(void **state)
{
	static const char *const replies[] = {
	    "550 5.7.1 No\r\n503 x\r\n503 x\r\n",
	    "250 Ok\r\n550 5.7.1 No\r\n554 x\r\n",
	    "250 Ok\r\n250 Ok\r\n550 5.7.1 No\r\n",
	    "250 Ok\r\n250 Ok\r\n503 5.7.1 No\r\n",
	};
	struct talk *talk = *state;
	struct message *letter[5];

	for (size_t kind = 0; kind < 4; kind++) {
		fly(talk, letter, 5);
		smtp_written(&talk->smtp, (size_t)talk->smtp.given);
		for (size_t i = 0; i < 5; i++) {
			if (i > 0)
				say(talk, "250 Reset\r\n");
			say(talk, i == 2 ? replies[kind] : "250 Ok\r\n250 Ok\r\n250 Queued\r\n");
			assert_finished(talk, letter[i], MESSAGE_SETTLED);
			assert_recipient(letter[i], 0, i == 2 ? RECIPIENT_FAILED : RECIPIENT_DONE,
			    i == 2 ? "5.7.1" : "", NULL);
		}
		assert_int_equal(letter[2]->refused_at_mail, kind == 0 ? 550 : 0);
		assert_int_equal(talk->smtp.end, SMTP_OPEN);
		/* Those that were out by then are no reason to send more at once. */
		assert_int_equal(talk->smtp.window, 1);
		(void)submit(talk, LETTER);
		(void)unwritten(talk);
		smtp_written(&talk->smtp, (size_t)(talk->smtp.given - talk->smtp.written));
		say(talk, "250 Reset\r\n250 Ok\r\n250 Ok\r\n250 Queued\r\n");
		assert_int_equal(talk->smtp.window, 2);
		land(letter, 5);
	}
}

/* What is to become of the nth of those in flight, WRITTEN octets and ANSWERED whole replies on. */
static void assert_lost(
    const struct message *message, size_t n, size_t written, size_t answered, bool goodbye)
{
	const size_t each = strlen("RSET\r\n" WHOLE);
	const size_t begin = n == 0 ? 0 : strlen(WHOLE) + (n - 1) * each;
	const size_t end = strlen(WHOLE) + n * each;
	const size_t octets = end - strlen(BODY) + strlen(".\r\n");
	const size_t first = n == 0 ? 0 : 4 * n - 1; /* its replies begin behind so many */
	const size_t mine = n == 0 ? 3 : 4;

	assert_true(begin < octets);
	if (answered >= first + mine) {
		assert_int_equal(message->verdict, MESSAGE_SETTLED);
		assert_recipient(message, 0, RECIPIENT_DONE, "", NULL);
	} else if (written >= end && !goodbye) {
		assert_int_equal(message->verdict, MESSAGE_SETTLED);
		assert_recipient(message, 0, RECIPIENT_DEFERRED, "4.4.2", NULL);
		assert_true(message->in_doubt);
	} else if (answered >= first && written > octets &&
		   (!goodbye || (answered == first + mine - 1 && written < end))) {
		assert_int_equal(message->verdict, MESSAGE_SETTLED);
		assert_recipient(message, 0, RECIPIENT_DEFERRED, "4.4.2", NULL);
		assert_false(message->in_doubt);
	} else {
		assert_int_equal(message->verdict, MESSAGE_UNTRIED);
		assert_recipient(message, 0, RECIPIENT_TODO, "", NULL);
		assert_false(message->in_doubt);
	}
}

/* Where the command ends that the nth reply answers. */
static size_t answered_end(size_t n)
{
	static const size_t len[] = {
	    sizeof "RSET\r\n" - 1, sizeof MAIL - 1, sizeof RCPT("b") - 1, sizeof LAST - 1};
	size_t end = 0;

	for (size_t i = 1; i <= n + 1; i++)
		end += len[i % 4];
	return end;
}

static void lose(struct talk *talk, size_t written, size_t answered, bool goodbye)
{
	struct message *letter[5];

	fly(talk, letter, 5);
	smtp_written(&talk->smtp, written);
	for (size_t i = 0; i < answered; i++)
		say(talk, "250 Ok\r\n");
	assert_int_equal(talk->smtp.end, SMTP_OPEN);
	if (goodbye)
		say(talk, "421 4.3.2 Going down\r\n");
	else
		smtp_lost(&talk->smtp, "gone");
	assert_int_not_equal(talk->smtp.end, SMTP_OPEN);
	assert_false(talk->smtp.choked);
	for (size_t i = 0; i < 5; i++) {
		assert_ptr_equal(smtp_finished(&talk->smtp), letter[i]);
		/* In answer to the last chunk it is that message's own result. */
		if (!goodbye || answered != 4 * i + 2 || written < answered_end(answered))
			assert_lost(letter[i], i, written, answered, goodbye);
		else
			assert_recipient(letter[i], 0, RECIPIENT_DEFERRED, "4.3.2", NULL);
	}
	land(letter, 5);
}

/* At each octet that was written, with each number of replies that may have come by then. */
static void lost_at_every_point_in_flight(void **state)
{
	const size_t total = strlen(WHOLE) + 4 * strlen("RSET\r\n" WHOLE);
	struct talk *talk = *state;

	for (size_t written = 0; written <= total; written++)
		for (size_t answered = 0;
		     answered < 19 && (answered == 0 || answered_end(answered - 1) <= written);
		     answered++) {
			lose(talk, written, answered, false);
			lose(talk, written, answered, true);
		}
}

/* An answer to the nth word of a server that has never taken a message by BDAT. */
static void choke_at(struct talk *talk, const char *before, const char *word)
{
	struct message *message;

	begin(talk, CHUNKED);
	message = submit(talk, LETTER);
	(void)output(talk);
	say(talk, before);
	(void)output(talk);
	if (word != NULL)
		say(talk, word);
	else
		smtp_lost(&talk->smtp, "gone");
	assert_true(talk->smtp.choked);
	assert_int_equal(talk->smtp.end, SMTP_LOST);
	assert_ptr_equal(smtp_finished(&talk->smtp), message);
	if (word == NULL && strlen(before) > 20) {
		assert_int_equal(message->verdict, MESSAGE_SETTLED);
		assert_true(message->in_doubt);
	} else {
		assert_int_equal(message->verdict, MESSAGE_UNTRIED);
		assert_recipient(message, 0, RECIPIENT_TODO, "", NULL);
	}
	message_close(message);
}

static void servers_that_choke_on_chunks(void **state)
{
	static const char *const words[] = {"500 What?\r\n", "501 x\r\n", "502 x\r\n", "503 x\r\n",
	    "504 x\r\n", "354 Go on\r\n", "421 4.7.0 Bye\r\n", "What?\r\n", NULL};

	for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
		choke_at(*state, "250 Ok\r\n250 Ok\r\n", words[i]);
		if (i != 7)
			choke_at(*state, "250 Ok\r\n250 Ok\r\n250 Ok\r\n", words[i]);
	}
}

/* It says no to the message, or has left for a reason of its own. */
static void no_choking(void **state)
{
	static const char *const words[] = {"250 Ok\r\n250 Ok\r\n554 No\r\n",
	    "250 Ok\r\n250 Ok\r\n451 No\r\n", "250 Ok\r\n250 Ok\r\n250 Ok\r\n554 No\r\n",
	    "550 No\r\n503 x\r\n503 x\r\n", "250 Ok\r\n550 No\r\n503 x\r\n", "421 Bye\r\n"};
	struct talk *talk = *state;

	for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
		struct message *message;

		begin(talk, CHUNKED);
		message = submit(talk, LETTER);
		for (const char *at = words[i]; *at != '\0'; at = strchr(at, '\n') + 1) {
			(void)output(talk);
			smtp_input(&talk->smtp, at, (size_t)(strchr(at, '\n') + 1 - at));
		}
		assert_false(talk->smtp.choked);
		assert_finished(talk, message, i == 5 ? MESSAGE_UNTRIED : MESSAGE_SETTLED);
		message_close(message);
	}
}

/* 530 to one of many in flight: all that is out gets its reply before the session ends. */
static void relay_fault_in_flight(void **state)
{
	struct talk *talk = *state;
	struct message *letter[4];

	fly(talk, letter, 3);
	smtp_written(&talk->smtp, (size_t)talk->smtp.given);
	say(talk, "530 5.7.0 Login\r\n503 x\r\n503 x\r\n");
	assert_finished(talk, letter[0], MESSAGE_UNTRIED);
	assert_int_equal(talk->smtp.end, SMTP_OPEN);
	assert_false(smtp_ready(&talk->smtp));
	say(talk, "250 Ok\r\n250 Ok\r\n250 Ok\r\n250 Queued\r\n");
	assert_finished(talk, letter[1], MESSAGE_SETTLED);
	assert_recipient(letter[1], 0, RECIPIENT_DONE, "", NULL);
	smtp_lost(&talk->smtp, "gone");
	assert_finished(talk, letter[2], MESSAGE_SETTLED);
	assert_true(letter[2]->in_doubt);
	assert_ended(talk, SMTP_RELAY_FAULT, "530 5.7.0 Login");
	land(letter, 3);
}

/* One recipient has it: that must be recorded. */
static void relay_fault_for_one_recipient(void **state)
{
	struct talk *talk = *state;
	struct message *message;

	begin(talk, CHUNKED);
	talk->smtp.chunks = true;
	message = submit(talk, PAIR);
	(void)output(talk);
	say(talk, "250 Ok\r\n530 5.7.0 Login\r\n250 Ok\r\n250 Queued\r\n");
	assert_finished(talk, message, MESSAGE_SETTLED);
	assert_recipient(message, 0, RECIPIENT_DEFERRED, "4.7.0", "530 5.7.0 Login");
	assert_recipient(message, 1, RECIPIENT_DONE, "", "250 Queued");
	assert_ended(talk, SMTP_RELAY_FAULT, "530 5.7.0 Login");
}

/* Those that are out whole get their replies first. */
static void file_that_shrinks_behind_others(void **state)
{
	struct talk *talk = *state;
	struct message *first, *second;
	const size_t size = (size_t)200 * 1000;
	char *text = malloc(size);
	char path[80];

	assert_non_null(text);
	memset(text, 'x', size - 1);
	text[size - 1] = '\0';
	memcpy(text, SENDER TO("b") HEADER, strlen(SENDER TO("b") HEADER));
	fly(talk, &first, 1);
	talk->smtp.window = 2;
	second = submit(talk, text);
	free(text);
	(void)snprintf(path, sizeof path, "%s/1", talk->dir);
	assert_int_equal(truncate(path, (off_t)size / 2), 0);
	(void)unwritten(talk);
	smtp_written(&talk->smtp, (size_t)talk->smtp.given);
	assert_int_equal(talk->smtp.end, SMTP_OPEN);
	say(talk, "250 Ok\r\n250 Ok\r\n250 Queued\r\n");
	assert_finished(talk, first, MESSAGE_SETTLED);
	assert_recipient(first, 0, RECIPIENT_DONE, "", NULL);
	assert_finished(talk, second, MESSAGE_SETTLED);
	assert_recipient(second, 0, RECIPIENT_DEFERRED, "4.3.0", NULL);
	assert_false(second->in_doubt);
	assert_int_equal(talk->smtp.end, SMTP_LOCAL);
}

static void what_is_out_whole_can_not_be_stopped(void **state)
{
	struct talk *talk = *state;
	struct message *letter[2];

	fly(talk, letter, 2);
	assert_true(smtp_may_stop(&talk->smtp, letter[0]));
	smtp_written(&talk->smtp, strlen(WHOLE) - 1);
	assert_true(smtp_may_stop(&talk->smtp, letter[0]));
	smtp_written(&talk->smtp, 1);
	assert_false(smtp_may_stop(&talk->smtp, letter[0]));
	assert_true(smtp_may_stop(&talk->smtp, letter[1]));
	land(letter, 2);
}

/* Its file and its buffer are not held while it waits for its replies. */
static void in_flight_little_is_held(void **state)
{
	struct talk *talk = *state;
	struct message *letter[3];

	fly(talk, letter, 3);
	for (size_t i = 0; i < 3; i++) {
		assert_int_equal(letter[i]->fd, -1);
		assert_null(letter[i]->buf);
	}
	assert_int_equal(talk->smtp.flight, 3 * letter[0]->size.wire);
}

static void bytes_in_flight_are_bounded(void **state)
{
	/* A bit less than the bound on the wire, and with the other a bit more. */
	const size_t size = (size_t)SMTP_FLIGHT_MAX + strlen(SENDER TO("b")) - 20;
	struct talk *talk = *state;
	char *text = malloc(size + 1);
	struct message *small, *large;

	assert_non_null(text);
	memset(text, 'x', size);
	text[size] = '\0';
	memcpy(text, SENDER TO("b") HEADER, strlen(SENDER TO("b") HEADER));
	fly(talk, &small, 1);
	talk->smtp.window = 8;
	assert_true(smtp_ready(&talk->smtp));
	large = submit(talk, text);
	free(text);
	while (talk->smtp.count == 2 && !smtp_ready(&talk->smtp) && unwritten(talk) > 0)
		continue;
	assert_int_equal(large->fd, -1);
	assert_false(smtp_ready(&talk->smtp));
	smtp_written(&talk->smtp, (size_t)talk->smtp.given);
	say(talk, "250 Ok\r\n250 Ok\r\n250 Queued\r\n");
	assert_true(smtp_ready(&talk->smtp));
}

/* ---- QUIT ---- */

static void quit_when_idle(void **state)
{
	struct talk *talk = *state;

	begin(talk, PIPELINED);
	smtp_quit(&talk->smtp);
	assert_false(smtp_ready(&talk->smtp));
	assert_says(talk, "QUIT\r\n");
	assert_int_equal(smtp_phase(&talk->smtp), SMTP_COMMAND);
	assert_says(talk, "");
	say(talk, "221 2.0.0 Bye\r\n");
	assert_ended(talk, SMTP_CLOSED, "221 2.0.0 Bye");
}

static void quit_waits_for_what_is_under_way(void **state)
{
	struct talk *talk = *state;
	struct message *first, *second;

	begin(talk, PIPELINED);
	first = submit(talk, LETTER);
	assert_says(talk, MAIL RCPT("b") DATA);
	say(talk, "250 Ok\r\n250 Ok\r\n354 Go on\r\n");
	assert_says(talk, BODY);
	second = submit(talk, LETTER);
	smtp_quit(&talk->smtp);
	assert_false(smtp_ready(&talk->smtp));
	assert_says(talk, MAIL RCPT("b") DATA);
	say(talk, "250 Done\r\n250 Ok\r\n250 Ok\r\n354 Go on\r\n");
	assert_says(talk, BODY);
	say(talk, "250 Done\r\n");
	assert_says(talk, "QUIT\r\n");
	assert_finished(talk, first, MESSAGE_SETTLED);
	assert_finished(talk, second, MESSAGE_SETTLED);
	say(talk, "221 Bye\r\n");
	assert_int_equal(talk->smtp.end, SMTP_CLOSED);
}

/* ---- who asks for less ---- */

struct asked {
	const char *reply;
	bool under_way; /* in answer to a message of its own */
	bool idle;	/* with nothing under way */
};

static const struct asked asked[] = {
    {"421 4.7.0 Too much mail from you\r\n", true, true},
    {"421-4.7.28 Gmail has detected an unusual rate\r\n421 4.7.28 of mail\r\n", true, true},
    {"421 4.3.2 Going down\r\n", false, false},
    {"421 Too many messages in one connection\r\n", false, false},
    {"421 4.4.2 Idle for too long\r\n", false, false},
    {"450 4.7.1 Too much mail from you\r\n", true, false},
    {"451 4.7.1 Greylisted\r\n", false, false},
    {"452 4.3.2 Not just now\r\n", true, false},
    {"454 Throttling failure: Maximum sending rate exceeded.\r\n", true, false},
    {"450 4.2.0 Greylisted\r\n", false, false},
    {"451 4.3.0 Error\r\n", false, false},
    {"452 4.2.2 Mailbox full\r\n", false, false},
    {"550 5.7.1 Too much mail from you\r\n", false, false},
    {"250 4.7.1 Odd\r\n", false, false},
};

#define ASKED (sizeof asked / sizeof asked[0])

static void told_to_slow_down(void **state)
{
	static const char *const before[] = {
	    "", "250 Ok\r\n", "250 Ok\r\n250 Ok\r\n", "250 Ok\r\n250 Ok\r\n354 Go on\r\n"};
	struct talk *talk = *state;
	struct message *message;

	for (size_t i = 0; i < ASKED * 4; i++) {
		begin(talk, PIPELINED);
		message = submit(talk, LETTER);
		(void)output(talk);
		say(talk, before[i % 4]);
		(void)output(talk);
		say(talk, asked[i / 4].reply);
		assert_int_equal(message->slow_down, asked[i / 4].under_way);
		assert_false(talk->smtp.slow_down);
	}
}

static void told_to_slow_down_when_idle(void **state)
{
	struct talk *talk = *state;

	for (size_t i = 0; i < ASKED; i++) {
		begin(talk, PIPELINED);
		say(talk, asked[i].reply);
		assert_int_equal(talk->smtp.slow_down, asked[i].idle);
	}
}

/* It is told once, not by each message that can't go out any more. */
static void only_who_is_answered_is_told_to_slow_down(void **state)
{
	struct talk *talk = *state;
	struct message *first, *second;

	begin(talk, PIPELINED);
	first = submit(talk, LETTER);
	(void)output(talk);
	say(talk, "250 Ok\r\n250 Ok\r\n354 Go on\r\n");
	(void)output(talk);
	second = submit(talk, LETTER);
	(void)output(talk);
	say(talk, "250 Queued\r\n421 4.7.0 Too much mail from you\r\n");
	assert_finished(talk, first, MESSAGE_SETTLED);
	assert_finished(talk, second, MESSAGE_UNTRIED);
	assert_false(first->slow_down);
	assert_true(second->slow_down);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(pipelined_dialogue),
	    TEST(lock_step_dialogue),
	    TEST(all_replies_pipelined),
	    TEST(all_replies_lock_step),
	    TEST(all_replies_chunked),
	    TEST(all_replies_byte_by_byte),
	    TEST(all_replies_with_a_small_buffer),
	    TEST(lost_at_each_stage),
	    TEST(end_421_at_each_stage),
	    TEST(relay_fault_at_each_stage),
	    TEST(nonsense_at_each_stage),
	    TEST(positive_replies_in_the_wrong_place),
	    TEST(unsolicited_reply),
	    TEST(unsolicited_421_after_work_is_a_close),
	    TEST(lost_in_the_body_is_no_doubt),
	    TEST(early_replies_in_lock_step),
	    TEST(early_replies_pipelined),
	    TEST(two_replies_to_the_dot),
	    TEST(early_reply_to_quit),
	    TEST(replies_are_counted),
	    TEST(reply_before_the_dot),
	    TEST(file_that_shrinks),
	    TEST(lone_dot_after_354_for_nobody),
	    TEST(lost_behind_a_lone_dot_is_no_doubt),
	    TEST(rset_after_data_is_refused),
	    TEST(rset_refused_ends_the_session),
	    TEST(mail_refused_while_recipients_go_out),
	    TEST(many_recipients_in_a_small_buffer),
	    TEST(no_data_when_all_were_refused_meanwhile),
	    TEST(only_who_is_left_is_asked),
	    TEST(offers_are_read),
	    TEST(offers_that_are_none),
	    TEST(odd_sizes),
	    TEST(parameters_of_mail),
	    TEST(unsendable_is_settled_without_a_byte),
	    TEST(one_unsendable_recipient_fails_alone),
	    TEST(chunked_dialogue),
	    TEST(no_chunks_without_pipelining_or_depth),
	    TEST(dots_are_not_doubled_in_chunks),
	    TEST(window_grows_and_shrinks),
	    TEST(one_of_many_is_refused),
	    TEST(lost_at_every_point_in_flight),
	    TEST(servers_that_choke_on_chunks),
	    TEST(no_choking),
	    TEST(relay_fault_in_flight),
	    TEST(relay_fault_for_one_recipient),
	    TEST(file_that_shrinks_behind_others),
	    TEST(what_is_out_whole_can_not_be_stopped),
	    TEST(in_flight_little_is_held),
	    TEST(bytes_in_flight_are_bounded),
	    TEST(quit_when_idle),
	    TEST(quit_waits_for_what_is_under_way),
	    TEST(told_to_slow_down),
	    TEST(told_to_slow_down_when_idle),
	    TEST(only_who_is_answered_is_told_to_slow_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
