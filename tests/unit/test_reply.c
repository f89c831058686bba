#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "reply.h"

/* Feeds TEXT in one piece; the whole of it must make one reply or none. */
static enum reply_progress feed(struct reply_parser *parser, const char *text)
{
	size_t used;
	enum reply_progress progress;

	reply_init(parser);
	progress = reply_feed(parser, text, strlen(text), &used);
	if (progress != REPLY_BROKEN)
		assert_int_equal(used, strlen(text));
	return progress;
}

static void check_reply(const char *text, int code, const char *status, const char *shown)
{
	struct reply_parser parser;

	assert_int_equal(feed(&parser, text), REPLY_WHOLE);
	assert_int_equal(parser.reply.code, code);
	assert_string_equal(parser.reply.status, status);
	assert_string_equal(parser.reply.text, shown);
}

static void one_line(void **state)
{
	(void)state;
	check_reply("250 2.0.0 Ok: queued as 4F\r\n", 250, "2.0.0", "250 2.0.0 Ok: queued as 4F");
	check_reply("354 End data with <CR><LF>.<CR><LF>\r\n", 354, "",
	    "354 End data with <CR><LF>.<CR><LF>");
	check_reply("250\r\n", 250, "", "250");
	check_reply("250 \r\n", 250, "", "250");
	check_reply("599 x\n", 599, "", "599 x");
	check_reply("550 5.123.456 x\r\n", 550, "5.123.456", "550 5.123.456 x");
	check_reply("550 5.1.1\r\n", 550, "5.1.1", "550 5.1.1");
	check_reply("250 a\rb\r\r\n", 250, "", "250 a?b?");
}

static void no_enhanced_status(void **state)
{
	(void)state;
	check_reply("550 5.1234.1 x\r\n", 550, "", "550 5.1234.1 x");
	check_reply("550 5.1.1234 x\r\n", 550, "", "550 5.1.1234 x");
	check_reply("550 5.1.1: x\r\n", 550, "", "550 5.1.1: x");
	check_reply("550 3.1.1 x\r\n", 550, "", "550 3.1.1 x");
	check_reply("550 5.1 x\r\n", 550, "", "550 5.1 x");
	check_reply("550 5x1.1 x\r\n", 550, "", "550 5x1.1 x");
	check_reply("550 5..1 x\r\n", 550, "", "550 5..1 x");
	check_reply("550 5.1.\r\n", 550, "", "550 5.1.");
	check_reply("550  5.1.1 x\r\n", 550, "", "550  5.1.1 x");
}

static void several_lines(void **state)
{
	(void)state;
	check_reply("550-5.7.1 Refused.\r\n550-5.7.1 See\r\n550 5.7.1 https://example.com\r\n", 550,
	    "5.7.1", "550 5.7.1 Refused. See https://example.com");
	check_reply("550-5.7.1 a\r\n550 5.7.10 b\r\n", 550, "5.7.1", "550 5.7.1 a 5.7.10 b");
	check_reply("550-a\r\n550 5.7.1 b\r\n", 550, "", "550 a 5.7.1 b");
	check_reply("450-\r\n450-a\r\n450\r\n", 450, "", "450 a");
	check_reply("450-4.2.0\r\n450 4.2.0\r\n", 450, "4.2.0", "450 4.2.0");
}

static void text_is_made_printable(void **state)
{
	(void)state;
	check_reply("550 a\tb\x1b[31m\x7f\r\n", 550, "", "550 a?b?[31m?");
	check_reply("550 gr\xc3\xbc\xc3\x9f\xe2\x82\xac\xf0\x9f\x93\xa7\r\n", 550, "",
	    "550 gr\xc3\xbc\xc3\x9f\xe2\x82\xac\xf0\x9f\x93\xa7");
	check_reply("550 \xe0\xa0\x80\xed\x9f\xbf\xf4\x8f\xbf\xbf\xc3\xbf\xf0\x90\x80\x80\r\n", 550,
	    "", "550 \xe0\xa0\x80\xed\x9f\xbf\xf4\x8f\xbf\xbf\xc3\xbf\xf0\x90\x80\x80");
	check_reply("550 \xff\xc0\xaf \xe0\x9f\xbf \xed\xa0\x80 \xf4\x90\x80\x80\r\n", 550, "",
	    "550 ??? ??? ??? ????");
	check_reply("550 \xc2\x9b \xc2\xa0 \xc3\r\n", 550, "", "550 ?? \xc2\xa0 ?");
	check_reply(
	    "550 \xf5\x80\x80\x80 \xe2\x82 \xf0\x8f\xbf\xbf\r\n", 550, "", "550 ???? ?? ????");
}

static void nul_is_shown(void **state)
{
	const char text[] = "250 a\0b\r\n";
	struct reply_parser parser;
	size_t used;

	(void)state;
	reply_init(&parser);
	assert_int_equal(reply_feed(&parser, text, sizeof text - 1, &used), REPLY_WHOLE);
	assert_string_equal(parser.reply.text, "250 a?b");
}

static void statuses(void **state)
{
	const struct {
		struct reply reply;
		const char *status;
	} cases[] = {
	    {{550, "5.1.1", ""}, "5.1.1"},
	    {{550, "", ""}, "5.0.0"},
	    {{500, "", ""}, "5.0.0"},
	    {{499, "", ""}, "4.0.0"},
	    {{450, "", ""}, "4.0.0"},
	    {{550, "4.1.1", ""}, "5.0.0"},
	    {{450, "5.7.1", ""}, "4.0.0"},
	    {{421, "4.4.2", ""}, "4.4.2"},
	    {{354, "2.0.0", ""}, "4.0.0"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
		assert_string_equal(reply_status(&cases[i].reply), cases[i].status);
}

static void long_text_is_cut_at_a_character(void **state)
{
	struct reply_parser parser;
	char text[REPLY_LINE_MAX + 1];

	(void)state;
	for (int lead = 0; lead < 4; lead++) {
		size_t len = (size_t)sprintf(text, "550-%.*s", lead, "aaaa");

		while (len + 5 < REPLY_LINE_MAX)
			len += (size_t)sprintf(text + len, "\xe2\x82\xac");
		(void)snprintf(text + len, sizeof text - len, "\r\n");
		assert_int_equal(feed(&parser, text), REPLY_MORE);
		assert_in_range(strlen(parser.reply.text), REPLY_TEXT_MAX - 5, REPLY_TEXT_MAX - 1);
		assert_int_equal((strlen(parser.reply.text) - 4 - (size_t)lead) % 3, 0);
		len = strlen(parser.reply.text);
		reply_feed(&parser, "550 more\r\n", 10, &(size_t){0});
		assert_int_equal(strlen(parser.reply.text), len);
	}
}

/* Fills a line of LEN bytes, with its CRLF. */
static void make_line(char *line, size_t len)
{
	(void)snprintf(line, len + 1, "250 %0*d\r\n", (int)len - 6, 0);
}

static void line_length_is_limited(void **state)
{
	struct reply_parser parser;
	char line[REPLY_LINE_MAX + 2];
	size_t used;

	(void)state;
	make_line(line, REPLY_LINE_MAX);
	assert_int_equal(feed(&parser, line), REPLY_WHOLE);
	make_line(line, REPLY_LINE_MAX + 1);
	assert_int_equal(feed(&parser, line), REPLY_BROKEN);
	reply_init(&parser);
	for (size_t i = 0; i < REPLY_LINE_MAX - 1; i++)
		assert_int_equal(reply_feed(&parser, "2", 1, &used), REPLY_MORE);
	assert_int_equal(reply_feed(&parser, "2", 1, &used), REPLY_BROKEN);
}

static void line_count_is_limited(void **state)
{
	struct reply_parser parser;
	size_t used;

	(void)state;
	reply_init(&parser);
	for (int i = 0; i < REPLY_LINES_MAX - 1; i++)
		assert_int_equal(reply_feed(&parser, "250-a\r\n", 7, &used), REPLY_MORE);
	assert_int_equal(reply_feed(&parser, "250 a\r\n", 7, &used), REPLY_WHOLE);
	for (int i = 0; i < REPLY_LINES_MAX; i++)
		assert_int_equal(reply_feed(&parser, "250-a\r\n", 7, &used), REPLY_MORE);
	assert_int_equal(reply_feed(&parser, "250 a\r\n", 7, &used), REPLY_BROKEN);
}

static void broken_for_good(void **state)
{
	const char *const texts[] = {"\r\n", "\n", "25\r\n", "25x ok\r\n", "150 ok\r\n",
	    "650 ok\r\n", "2500 ok\r\n", "250_ok\r\n", "250\tok\r\n", " 250 ok\r\n",
	    "250-a\r\n251 b\r\n", "250-a\r\nb\r\n", "-50 ok\r\n", "HTTP/1.1 400 Bad Request\r\n"};
	struct reply_parser parser;
	size_t used;

	(void)state;
	for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
		assert_int_equal(feed(&parser, texts[i]), REPLY_BROKEN);
		assert_int_equal(reply_feed(&parser, "250 ok\r\n", 8, &used), REPLY_BROKEN);
		assert_int_equal(used, 0);
	}
}

static const char dialogue[] = "220 mail ESMTP\r\n250-mail\r\n250-SIZE 10\r\n250 PIPELINING\r\n"
			       "250 2.1.0 Ok\n550-5.1.1 no\r\n550 5.1.1 such user\r\n354\r\n";
static const char *const replies[] = {"220 mail ESMTP", "250 mail SIZE 10 PIPELINING",
    "250 2.1.0 Ok", "550 5.1.1 no such user", "354"};

#define REPLIES (sizeof replies / sizeof replies[0])

/* Feeds one piece of the dialogue; checks each reply as it gets complete. */
static void feed_piece(struct reply_parser *parser, const char *piece, size_t len, size_t *count)
{
	size_t used;

	for (; len > 0; piece += used, len -= used) {
		enum reply_progress progress = reply_feed(parser, piece, len, &used);

		assert_int_not_equal(progress, REPLY_BROKEN);
		assert_in_range(used, 1, len);
		if (progress == REPLY_MORE) {
			assert_int_equal(used, len);
		} else {
			assert_int_equal(piece[used - 1], '\n');
			const char *expected = *count < REPLIES ? replies[*count] : "no reply";

			assert_string_equal(parser->reply.text, expected);
			++*count;
		}
	}
}

static void dialogue_at_every_two_cuts(void **state)
{
	size_t len = sizeof dialogue - 1;
	struct reply_parser parser;

	(void)state;
	for (size_t a = 0; a <= len; a++)
		for (size_t b = a; b <= len; b++) {
			size_t count = 0;

			reply_init(&parser);
			feed_piece(&parser, dialogue, a, &count);
			feed_piece(&parser, dialogue + a, b - a, &count);
			feed_piece(&parser, dialogue + b, len - b, &count);
			assert_int_equal(count, REPLIES);
		}
}

static void dialogue_byte_by_byte(void **state)
{
	struct reply_parser parser;
	size_t count = 0;

	(void)state;
	reply_init(&parser);
	for (size_t i = 0; i < sizeof dialogue - 1; i++)
		feed_piece(&parser, dialogue + i, 1, &count);
	assert_int_equal(count, REPLIES);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(one_line),
	    cmocka_unit_test(no_enhanced_status),
	    cmocka_unit_test(several_lines),
	    cmocka_unit_test(text_is_made_printable),
	    cmocka_unit_test(nul_is_shown),
	    cmocka_unit_test(statuses),
	    cmocka_unit_test(long_text_is_cut_at_a_character),
	    cmocka_unit_test(line_length_is_limited),
	    cmocka_unit_test(line_count_is_limited),
	    cmocka_unit_test(broken_for_good),
	    cmocka_unit_test(dialogue_at_every_two_cuts),
	    cmocka_unit_test(dialogue_byte_by_byte),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
