#include "smtp_hello.h"

#include <stdio.h>
#include <string.h>

void smtp_hello_init(struct smtp_hello *hello, const char *name)
{
	*hello = (struct smtp_hello){.name = name, .offer = {.lmtp = true}};
	reply_init(&hello->parser);
}

static void fail(struct smtp_hello *hello, const char *fault)
{
	hello->state = SMTP_HELLO_FAILED;
	hello->fault = fault;
}

size_t smtp_hello_output(struct smtp_hello *hello, char *buf, size_t size)
{
	int len;

	if (hello->state != SMTP_HELLO_LHLO || hello->said)
		return 0;
	len = snprintf(buf, size, "LHLO %s\r\n", hello->name);
	if (len < 0 || (size_t)len >= size) {
		fail(hello, "the name for LHLO is too long");
		return 0;
	}
	hello->said = true;
	return (size_t)len;
}

/* Keeps a piece of a line; what is too long the parser does not take either. */
static void keep(struct smtp_hello *hello, const char *bytes, size_t len)
{
	const size_t room = sizeof hello->line - hello->line_len;

	if (len > room)
		len = room;
	memcpy(hello->line + hello->line_len, bytes, len);
	hello->line_len += len;
}

static void end_line(struct smtp_hello *hello)
{
	if (hello->on_line != NULL)
		hello->on_line(hello->context, hello->line, hello->line_len);
	if (hello->state == SMTP_HELLO_LHLO)
		smtp_offer_line(&hello->offer, hello->line, hello->line_len);
	hello->line_len = 0;
}

static void take_reply(struct smtp_hello *hello, int code)
{
	const bool greeting = hello->state == SMTP_HELLO_GREETING;

	if (code / 100 == 2) {
		hello->state = greeting ? SMTP_HELLO_LHLO : SMTP_HELLO_DONE;
		return;
	}
	fail(hello, greeting ? "the relay refuses the session" : "the relay refuses LHLO");
}

static bool is_asked(const struct smtp_hello *hello)
{
	return hello->state == SMTP_HELLO_GREETING ||
	       (hello->state == SMTP_HELLO_LHLO && hello->said);
}

/* Takes one line, or the piece of it that is there. */
static size_t take_line(struct smtp_hello *hello, const char *bytes, size_t len)
{
	const char *end = memchr(bytes, '\n', len);
	enum reply_progress progress;
	size_t used;

	if (end != NULL)
		len = (size_t)(end - bytes) + 1;
	keep(hello, bytes, len);
	progress = reply_feed(&hello->parser, bytes, len, &used);
	if (end != NULL)
		end_line(hello);
	if (progress == REPLY_WHOLE)
		take_reply(hello, hello->parser.reply.code);
	else if (progress == REPLY_BROKEN)
		fail(hello, "the peer does not speak LMTP");
	return len;
}

void smtp_hello_input(struct smtp_hello *hello, const char *bytes, size_t len)
{
	while (len > 0 && is_asked(hello)) {
		const size_t used = take_line(hello, bytes, len);

		bytes += used;
		len -= used;
	}
	if (len > 0 && hello->state != SMTP_HELLO_FAILED)
		fail(hello, "the relay said more than it was asked");
}
