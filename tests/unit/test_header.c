#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "header.h"

static void finds(const char *head, const char *name, const char *value)
{
	struct header_line found;

	assert_true(header_find(head, strlen(head), name, &found));
	assert_int_equal(found.len, strlen(value));
	assert_memory_equal(found.text, value, found.len);
}

static void finds_none(const char *head, const char *name)
{
	struct header_line found;

	assert_false(header_find(head, strlen(head), name, &found));
}

static void a_field_is_found(void **state)
{
	static const char head[] = "A: b\r\nMessage-Id : <1@x>\n\t(c)\nMESSAGE-ID: 2\n\nB: body\n";

	(void)state;
	finds(head, "Message-ID", " <1@x>\n\t(c)");
	finds(head, "A", " b");
	finds_none(head, "B");
	finds_none(head, "Message");
	finds_none("", "A");
}

static void a_line_ends_in_lf_crlf_or_cr(void **state)
{
	static const char head[] = "A: 1\nB: 2\r\nC: 3\rD: 4";

	(void)state;
	finds(head, "A", " 1");
	finds(head, "B", " 2");
	finds(head, "C", " 3");
	finds(head, "D", " 4");
}

static void a_name_has_its_length_up_to_the_colon(void **state)
{
	static const struct {
		const char *line;
		size_t len;
	} cases[] = {
	    {"Subject: x", 7},
	    {"Subject : x", 7},
	    {"Subject\n : x", 7},
	    {"Subject", 0},
	    {": x", 0},
	    {" x: y", 0},
	    {"two words: x", 0},
	    {"gr\xc3\xbc\xc3\x9f: x", 0},
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		const struct header_line line = {
		    .text = cases[i].line, .len = strlen(cases[i].line)};

		assert_int_equal(header_name_len(&line), cases[i].len);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_field_is_found),
	    cmocka_unit_test(a_line_ends_in_lf_crlf_or_cr),
	    cmocka_unit_test(a_name_has_its_length_up_to_the_colon),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
