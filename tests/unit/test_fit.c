/* fit: lines at the edge, in columns; wide and combining characters, and what is no text. */
#include <locale.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "fit.h"

struct paper {
	struct fit fit;
	FILE *out;
	char *text;
	size_t size;
};

static void begin(struct paper *paper, size_t columns)
{
	paper->out = open_memstream(&paper->text, &paper->size);
	assert_non_null(paper->out);
	fit_begin(&paper->fit, paper->out, columns);
}

static void ends_as(struct paper *paper, const char *expected)
{
	fit_end(&paper->fit);
	assert_int_equal(fclose(paper->out), 0);
	assert_string_equal(paper->text, expected);
	free(paper->text);
}

static void fits(size_t columns, const char *text, const char *expected)
{
	struct paper paper;

	begin(&paper, columns);
	fit_put(&paper.fit, text, strlen(text));
	ends_as(&paper, expected);
}

static void a_line_is_cut_at_the_edge(void **state)
{
	(void)state;
	fits(5, "1234", "1234\n");
	fits(5, "12345", "12345\n");
	fits(5, "123456", "1234…\n");
	fits(5, "", "\n");
	fits(1, "12", "…\n");
	fits(0, "as long as it likes", "as long as it likes\n");
}

static void no_character_is_cut_in_two(void **state)
{
	(void)state;
	fits(5, "äöüßé", "äöüßé\n");
	fits(5, "äöüßéx", "äöüß…\n");
	fits(0, "äöüßéx", "äöüßéx\n");
}

static void a_wide_character_takes_two_columns(void **state)
{
	(void)state;
	fits(6, "你好吗", "你好吗\n");
	fits(5, "你好吗", "你好…\n");
	fits(6, "你好吗?", "你好…\n");
	fits(4, "a你好", "a你…\n");
}

static void a_combining_character_takes_none(void **state)
{
	(void)state;
	fits(3,
	    "e\xcc\x81"
	    "e\xcc\x81"
	    "e\xcc\x81",
	    "e\xcc\x81"
	    "e\xcc\x81"
	    "e\xcc\x81\n");
	fits(3,
	    "e\xcc\x81"
	    "e\xcc\x81"
	    "e\xcc\x81x",
	    "e\xcc\x81"
	    "e\xcc\x81…\n");
}

static void what_is_obeyed_is_harmless(void **state)
{
	(void)state;
	fits(9, "a\x1b[2J\xff\xc2\x9b\n", "a?[2J????\n");
	fits(0, "a\x1b[2J\xe2\x80\xaez", "a?[2J???z\n");
}

static void pads_to_a_column(void **state)
{
	struct paper paper;

	(void)state;
	begin(&paper, 9);
	fit_put(&paper.fit, "你", strlen("你"));
	fit_pad(&paper.fit, 4);
	fit_put(&paper.fit, "long", 4);
	fit_pad(&paper.fit, 5);
	ends_as(&paper, "你  long \n");
	begin(&paper, 3);
	fit_pad(&paper.fit, 2000000000);
	ends_as(&paper, "  …\n");
}

static void codes_take_no_column(void **state)
{
	struct paper paper;

	(void)state;
	begin(&paper, 4);
	fit_code(&paper.fit, "\033[31m");
	fit_put(&paper.fit, "red", 3);
	fit_code(&paper.fit, "\033[0m");
	fit_put(&paper.fit, "!", 1);
	ends_as(&paper, "\033[31mred\033[0m!\n");
}

/* Zero columns for each, so only the bytes end it. */
static void a_line_has_an_end_for_all_that(void **state)
{
	struct paper paper;

	(void)state;
	begin(&paper, 4);
	fit_put(&paper.fit, "e", 1);
	for (int i = 0; i < 100000; i++)
		fit_put(&paper.fit, "\xcc\x81", 2);
	assert_true(paper.fit.over);
	fit_end(&paper.fit);
	assert_int_equal(fclose(paper.out), 0);
	assert_true(paper.size <= FIT_BYTES + strlen("…\n"));
	assert_string_equal(paper.text + paper.size - strlen("\xcc\x81…\n"), "\xcc\x81…\n");
	free(paper.text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_line_is_cut_at_the_edge),
	    cmocka_unit_test(no_character_is_cut_in_two),
	    cmocka_unit_test(a_wide_character_takes_two_columns),
	    cmocka_unit_test(a_combining_character_takes_none),
	    cmocka_unit_test(what_is_obeyed_is_harmless),
	    cmocka_unit_test(pads_to_a_column),
	    cmocka_unit_test(codes_take_no_column),
	    cmocka_unit_test(a_line_has_an_end_for_all_that),
	};

	(void)setlocale(LC_CTYPE, "C.UTF-8");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
