/*
 * A folder of messages and one session of the transaction machine: the test plays the server.
 *
 * Letters are short; the macros have what the machine says for them.
 */
#ifndef TALK_H
#define TALK_H

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "smtp.h"

#define SENDER	    "X-Maildrain-From: <a@example.com>\n"
#define TO(who)	    "X-Maildrain-To: <" who "@example.net>\n"
#define HEADER	    "From: a@example.com\n\n"
#define LETTER	    SENDER TO("b") HEADER "text\n"
#define PAIR	    SENDER TO("b") TO("c") HEADER "text\n"
#define BODY	    "From: a@example.com\r\n\r\ntext\r\n.\r\n"
#define MAIL	    "MAIL FROM:<a@example.com>\r\n"
#define RCPT(who)   "RCPT TO:<" who "@example.net>\r\n"
#define DATA	    "DATA\r\n"
#define PIPELINED   ((struct smtp_offer){.pipelining = true})
#define LOCK_STEP   ((struct smtp_offer){.pipelining = false})
#define OUT_MAX	    ((size_t)256 * 1024)
#define CHUNKED	    ((struct smtp_offer){.pipelining = true, .chunking = true})
#define FIRST	    "BDAT 1\r\nF"
#define REST	    "BDAT 28 LAST\r\nrom: a@example.com\r\n\r\ntext\r\n"
#define LAST	    "BDAT 29 LAST\r\nFrom: a@example.com\r\n\r\ntext\r\n"
#define WHOLE	    MAIL RCPT("b") LAST
#define LETTERS_MAX 8
#define DEPTH_MAX   8

/* A folder of messages, and one session with what it has said last. */
struct talk {
	char dir[64];
	int dirfd;
	struct message letter[LETTERS_MAX];
	size_t letters;
	struct smtp smtp;
	struct smtp_transaction ring[DEPTH_MAX];
	size_t depth;
	bool chunks; /* the server has taken a message by BDAT before */
	char *out;
	size_t out_room; /* what smtp_output is given at a time */
	size_t in_step;	 /* bytes that smtp_input is given at a time; 0: all */
};

static inline int setup(void **state)
{
	struct talk *talk = calloc(1, sizeof *talk);

	assert_non_null(talk);
	(void)snprintf(talk->dir, sizeof talk->dir, "/tmp/test_smtp.XXXXXX");
	assert_non_null(mkdtemp(talk->dir));
	talk->dirfd = open(talk->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(talk->dirfd >= 0);
	talk->out = malloc(OUT_MAX);
	assert_non_null(talk->out);
	talk->out_room = OUT_MAX - 1;
	talk->depth = DEPTH_MAX;
	for (size_t i = 0; i < LETTERS_MAX; i++)
		message_init(&talk->letter[i]);
	*state = talk;
	return 0;
}

static inline int teardown(void **state)
{
	struct talk *talk = *state;
	char name[16];

	for (size_t i = 0; i < LETTERS_MAX; i++) {
		message_free(&talk->letter[i]);
		(void)snprintf(name, sizeof name, "%zu", i);
		(void)unlinkat(talk->dirfd, name, 0);
	}
	(void)close(talk->dirfd);
	(void)rmdir(talk->dir);
	free(talk->out);
	free(talk);
	return 0;
}

static inline void begin(struct talk *talk, struct smtp_offer offer)
{
	smtp_init(&talk->smtp, &offer, talk->ring, talk->depth);
	talk->letters = 0;
}

/* Loads the text as one message file. */
static inline struct message *load(struct talk *talk, const char *text)
{
	struct message *message = &talk->letter[talk->letters];
	struct envelope_fault fault;
	char name[16];
	int fd;

	assert_true(talk->letters < LETTERS_MAX);
	(void)snprintf(name, sizeof name, "%zu", talk->letters++);
	fd = openat(talk->dirfd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	assert_int_equal(close(fd), 0);
	assert_int_equal(message_load(message, talk->dirfd, name, &fault), MESSAGE_LOADED);
	return message;
}

static inline struct message *submit(struct talk *talk, const char *text)
{
	struct message *message = load(talk, text);

	assert_true(smtp_ready(&talk->smtp));
	smtp_submit(&talk->smtp, message);
	return message;
}

/* All that may be written now. */
static inline size_t unwritten(struct talk *talk)
{
	size_t len = 0;
	size_t n;

	do {
		const size_t left = OUT_MAX - 1 - len;

		n = smtp_output(
		    &talk->smtp, talk->out + len, left < talk->out_room ? left : talk->out_room);
		len += n;
	} while (n > 0);
	talk->out[len] = '\0';
	return len;
}

/* The same, and it is written. */
static inline const char *output(struct talk *talk)
{
	smtp_written(&talk->smtp, unwritten(talk));
	return talk->out;
}

/* Writes SIZE bytes at most. */
static inline const char *output_some(struct talk *talk, size_t size)
{
	const size_t n = smtp_output(&talk->smtp, talk->out, size);

	smtp_written(&talk->smtp, n);
	talk->out[n] = '\0';
	return talk->out;
}

static inline void say(struct talk *talk, const char *text)
{
	const size_t len = strlen(text);
	const size_t step = talk->in_step > 0 ? talk->in_step : len;

	for (size_t i = 0; i < len; i += step)
		smtp_input(&talk->smtp, text + i, len - i < step ? len - i : step);
}

#define assert_says(talk, text) assert_string_equal(output(talk), text)

/* MESSAGE is the next that is through. */
static inline void assert_finished(
    struct talk *talk, struct message *message, enum message_verdict verdict)
{
	assert_ptr_equal(smtp_finished(&talk->smtp), message);
	assert_int_equal(message->verdict, verdict);
}

static inline void assert_recipient(const struct message *message, size_t i,
    enum recipient_state state, const char *status, const char *reply)
{
	const struct recipient *recipient = &message->envelope.recipient[i];

	assert_int_equal(recipient->state, state);
	assert_string_equal(recipient->status, status);
	if (reply != NULL)
		assert_string_equal(recipient->reply, reply);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

#endif
