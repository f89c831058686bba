#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "smtp_hello.h"

#define GREETING "220 lab.example LMTP\r\n"
#define LHLO	 "LHLO web1.example\r\n"
#define OFFER                                                                                      \
	"250-lab.example\r\n250-PIPELINING\r\n250-chunking\r\n250-SIZE 1000\r\n250 8BITMIME\r\n"

static void init(struct smtp_hello *hello)
{
	smtp_hello_init(hello, "web1.example");
}

static void say(struct smtp_hello *hello, const char *text)
{
	smtp_hello_input(hello, text, strlen(text));
}

static void assert_says(struct smtp_hello *hello, const char *text)
{
	char buf[300];
	const size_t len = smtp_hello_output(hello, buf, sizeof buf);

	assert_int_equal(len, strlen(text));
	assert_memory_equal(buf, text, len);
}

static void greet(struct smtp_hello *hello)
{
	init(hello);
	assert_says(hello, "");
	say(hello, GREETING);
	assert_int_equal(hello->state, SMTP_HELLO_LHLO);
	assert_says(hello, LHLO);
	assert_says(hello, "");
}

static void assert_failed(struct smtp_hello *hello, const char *fault)
{
	assert_int_equal(hello->state, SMTP_HELLO_FAILED);
	assert_string_equal(hello->fault, fault);
	assert_says(hello, "");
	say(hello, "250 Ok\r\n");
	assert_int_equal(hello->state, SMTP_HELLO_FAILED);
	assert_string_equal(hello->fault, fault);
}

static void what_it_offers(void **state)
{
	struct smtp_hello hello;

	(void)state;
	greet(&hello);
	say(&hello, OFFER);
	assert_int_equal(hello.state, SMTP_HELLO_DONE);
	assert_true(hello.offer.lmtp && hello.offer.pipelining && hello.offer.chunking);
	assert_true(hello.offer.eightbit && hello.offer.size && !hello.offer.smtputf8);
	assert_int_equal(hello.offer.size_max, 1000);
	assert_says(&hello, "");
}

static void byte_by_byte(void **state)
{
	static const char said[] = "220-lab\r\n220-SMTPUTF8\r\n" GREETING;
	struct smtp_hello hello;

	(void)state;
	init(&hello);
	for (size_t i = 0; i < strlen(said); i++)
		smtp_hello_input(&hello, said + i, 1);
	assert_says(&hello, LHLO);
	for (size_t i = 0; i < strlen(OFFER); i++) {
		assert_int_equal(hello.state, SMTP_HELLO_LHLO);
		smtp_hello_input(&hello, &OFFER[i], 1);
	}
	assert_int_equal(hello.state, SMTP_HELLO_DONE);
	assert_int_equal(hello.offer.size_max, 1000);
	/* What a greeting says offers nothing. */
	assert_false(hello.offer.smtputf8);
}

static void gather(void *context, const char *line, size_t len)
{
	(void)strncat(context, line, len);
}

static void every_line_is_told(void **state)
{
	char told[400] = "";
	struct smtp_hello hello;

	(void)state;
	init(&hello);
	hello.on_line = gather;
	hello.context = told;
	say(&hello, GREETING);
	assert_says(&hello, LHLO);
	say(&hello, OFFER);
	assert_string_equal(told, GREETING OFFER);
}

static void refusals(void **state)
{
	struct smtp_hello hello;

	(void)state;
	init(&hello);
	say(&hello, "421 4.3.2 Going down\r\n");
	assert_failed(&hello, "the relay refuses the session");
	init(&hello);
	say(&hello, "554-5.7.1 No\r\n554 5.7.1 access\r\n");
	assert_failed(&hello, "the relay refuses the session");
	greet(&hello);
	say(&hello, "451 4.3.0 Later\r\n");
	assert_failed(&hello, "the relay refuses LHLO");
	greet(&hello);
	say(&hello, "500 5.5.2 Unknown command\r\n");
	assert_failed(&hello, "the relay refuses LHLO");
	greet(&hello);
	say(&hello, "354 Go on\r\n");
	assert_failed(&hello, "the relay refuses LHLO");
}

static void what_is_no_lmtp(void **state)
{
	char line[REPLY_LINE_MAX + 10];
	struct smtp_hello hello;

	(void)state;
	init(&hello);
	say(&hello, "* OK IMAP4rev1 ready\r\n");
	assert_failed(&hello, "the peer does not speak LMTP");
	greet(&hello);
	say(&hello, "250-lab.example\r\n251 SIZE\r\n");
	assert_failed(&hello, "the peer does not speak LMTP");
	memset(line, 'x', sizeof line);
	memcpy(line, "220 ", 4);
	line[sizeof line - 1] = '\n';
	for (size_t piece = 1; piece < sizeof line; piece += 700) {
		init(&hello);
		smtp_hello_input(&hello, line, piece);
		smtp_hello_input(&hello, line + piece, sizeof line - piece);
		assert_failed(&hello, "the peer does not speak LMTP");
	}
}

/* Its surplus must not pass for the answer to what comes next. */
static void more_than_was_asked(void **state)
{
	struct smtp_hello hello;

	(void)state;
	init(&hello);
	say(&hello, GREETING "250");
	assert_failed(&hello, "the relay said more than it was asked");
	init(&hello);
	say(&hello, GREETING);
	say(&hello, "250 SIZE\r\n");
	assert_failed(&hello, "the relay said more than it was asked");
	greet(&hello);
	say(&hello, OFFER "250 Ok\r\n");
	assert_failed(&hello, "the relay said more than it was asked");
}

static void a_name_that_does_not_fit(void **state)
{
	struct smtp_hello hello;
	char buf[sizeof LHLO - 1];

	(void)state;
	init(&hello);
	say(&hello, GREETING);
	assert_int_equal(smtp_hello_output(&hello, buf, sizeof buf), 0);
	assert_int_equal(hello.state, SMTP_HELLO_FAILED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(what_it_offers),
	    cmocka_unit_test(byte_by_byte),
	    cmocka_unit_test(every_line_is_told),
	    cmocka_unit_test(refusals),
	    cmocka_unit_test(what_is_no_lmtp),
	    cmocka_unit_test(more_than_was_asked),
	    cmocka_unit_test(a_name_that_does_not_fit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
