#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "intake.h"

/* Takes TEXT in pieces of STEP bytes. */
static void check_dot(const char *text, size_t step, const char *expected, bool ended)
{
	struct intake_dot dot = {.ended = false};
	const size_t len = strlen(text);
	char made[200];
	size_t used = 0;

	for (size_t at = 0; at < len; at += step) {
		const size_t piece = len - at < step ? len - at : step;
		char *out = malloc(piece + INTAKE_SPARE);
		const size_t n = intake_dot_take(&dot, text + at, piece, out);

		assert_true(n <= piece + INTAKE_SPARE);
		memcpy(made + used, out, n);
		used += n;
		free(out);
	}
	made[used] = '\0';
	assert_string_equal(made, expected);
	assert_int_equal(dot.ended, ended);
}

static void a_dot_ends(void **state)
{
	(void)state;
	for (size_t step = 1; step < 10; step++) {
		check_dot("a\n.\nb\n", step, "a\n", true);
		check_dot("a\r\n.\r\nb\r\n", step, "a\r\n", true);
		check_dot(".\nb", step, "", true);
		check_dot("a\n.\n.\n", step, "a\n", true);
		/* As the very last byte. */
		check_dot("a\n.", step, "a\n", false);
		check_dot("a\n.\r", step, "a\n", false);
	}
}

static void other_dots_are_text(void **state)
{
	static const char *const texts[] = {"a\n..\n", "a.\n", ". \n", ".\rb\n", ".\r\r\n",
	    ".\r.\n", "\r.\rb\n", "..", "a\n.b", "\n\n", ".\r.\r\nx\n"};

	(void)state;
	for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
		for (size_t step = 1; step < 10; step++)
			check_dot(texts[i], step, texts[i], false);
}

/* The same whether it comes at once or byte by byte. */
static void check_head(const char *text, size_t start, size_t end, size_t body)
{
	const size_t len = strlen(text);
	struct intake_head once = {.start = 0};
	struct intake_head bytes = {.start = 0};
	size_t given = 0;

	assert_true(intake_head_find(&once, text, len, true));
	assert_int_equal(once.start, start);
	assert_int_equal(once.end, end);
	assert_int_equal(once.body, body);
	while (!intake_head_find(&bytes, text, given, given == len))
		assert_true(given++ < len);
	assert_int_equal(bytes.start, start);
	assert_int_equal(bytes.end, end);
	assert_int_equal(bytes.body, body);
}

static void headers(void **state)
{
	(void)state;
	check_head("A: b\n\ntext\n", 0, 5, 6);
	check_head("A: b\r\n\r\ntext\n", 0, 6, 8);
	check_head("A: b\n\tc\nD: e\n\n", 0, 13, 14);
	check_head("A: b\n", 0, 5, 5);
	check_head("A: b", 0, 4, 4);
	check_head("A: b\rC: d\r\rtext", 0, 10, 11);
	check_head("A: b\n\n\n", 0, 5, 6);
	check_head("A: b\n \ntext", 0, 7, 7);
}

static void no_header(void **state)
{
	(void)state;
	check_head("", 0, 0, 0);
	check_head("hello\n", 0, 0, 0);
	check_head("hello", 0, 0, 0);
	check_head("\nA: b\n", 0, 0, 1);
	check_head(" A: b\n", 0, 0, 0);
	check_head("two words: b\n", 0, 0, 0);
}

static void a_line_of_the_body_ends_it(void **state)
{
	(void)state;
	check_head("A: b\nhello\n", 0, 5, 5);
	check_head("A: b\n>From x\n", 0, 5, 5);
}

static void mailbox_lines(void **state)
{
	(void)state;
	check_head("From a Mon Jan  1\nA: b\n\nc", 18, 23, 24);
	check_head("From a\n>From b\n>>From c\nA: b\n", 24, 29, 29);
	check_head("From a\n", 7, 7, 7);
	check_head("From a\n A: b\n", 7, 7, 7);
	check_head("From: a\n", 0, 8, 8);
	check_head("Fro", 0, 0, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_dot_ends),
	    cmocka_unit_test(other_dots_are_text),
	    cmocka_unit_test(headers),
	    cmocka_unit_test(no_header),
	    cmocka_unit_test(a_line_of_the_body_ends_it),
	    cmocka_unit_test(mailbox_lines),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
