#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "conftext.h"

/* An environment with one variable set and one empty. */
static char *environment(const char *name)
{
	static char value[] = "x", empty[] = "";

	if (strcmp(name, "SET") == 0)
		return value;
	return strcmp(name, "EMPTY") == 0 ? empty : NULL;
}

/*
 * Reads LEN bytes to their end in a block of just that size, so that a sanitizer sees a byte too
 * many. Returns what the last conftext_next did; SEEN counts the items, COPY gets the text back.
 */
static int read_bytes(const char *text, size_t len, struct conftext *ct, int *seen, char *copy)
{
	static const char *const spared[] = {"other", "spared", NULL};
	char *block = malloc(len ? len : 1);
	struct conftext_item item;
	int got;

	assert_non_null(block);
	memcpy(block, text, len);
	conftext_start(ct, block, len, environment, spared);
	for (*seen = 0; (got = conftext_next(ct, &item)) == 1; ++*seen)
		;
	if (copy) {
		memcpy(copy, block, len);
		copy[len] = '\0';
	}
	free(block);
	return got;
}

static void accepts(const char *text, int items)
{
	struct conftext ct;
	int seen;

	if (read_bytes(text, strlen(text), &ct, &seen, NULL) != 0)
		fail_msg("%s\nline %u: %s", text, ct.fault_line, ct.fault);
	assert_int_equal(seen, items);
}

static void refuses_bytes(const char *text, size_t len, unsigned line, const char *why)
{
	struct conftext ct;
	int seen;

	if (read_bytes(text, len, &ct, &seen, NULL) != -1)
		fail_msg("%s\nwas accepted", text);
	if (ct.fault_line != line || !strstr(ct.fault, why))
		fail_msg("%s\ngave line %u: %s", text, ct.fault_line, ct.fault);
}

static void refuses(const char *text, unsigned line, const char *why)
{
	refuses_bytes(text, strlen(text), line, why);
}

static void test_accepted(void **state)
{
	(void)state;
	accepts("", 0);
	accepts("\n \t\r\n", 0);
	accepts("a = 1", 1);
	accepts("a=1\nb=2", 2);
	accepts("a = \"x y\" b = 'z' # c\nc = 3", 3);
	accepts("a = {}", 1);
	accepts("a = {1,\n 2, \"three\",}\n", 1);
	accepts("a =\n{ 1 }", 1);
	accepts("relay \"m\" { url = \"smtp://x\" }", 2);
	accepts("relay m{a=1}relay n{}", 3);
	accepts("relay { }", 1);
	accepts("a = \"\\\"\\\\\\${X}\" b = 'it\\'s \\n'", 2);
	accepts("a = \"//x#y\"", 1);
	accepts("a = 1\r\nb = \"2\"\r\n", 2);
}

static void test_comments_become_blanks(void **state)
{
	static const char text[] = "# }\"\na = 1 // b\n/* c\n** = */ b = 2 /**/ #";
	char copy[sizeof text];
	struct conftext ct;
	int seen;

	(void)state;
	assert_int_equal(read_bytes(text, strlen(text), &ct, &seen, copy), 0);
	assert_int_equal(seen, 2);
	assert_int_equal(ct.line, 4);
	assert_string_equal(copy, "    \na = 1     \n    \n        b = 2       ");
}

static void test_items(void **state)
{
	char text[] = "a = {1}\n\nrelay \"m\"\n{\n  u = 2 }\nrelay n { }";
	struct conftext ct;
	struct conftext_item item;

	(void)state;
	conftext_start(&ct, text, strlen(text), environment, NULL);
	assert_int_equal(conftext_next(&ct, &item), 1);
	assert_int_equal(item.kind, CONFTEXT_LIST);
	assert_int_equal(item.line, 1);
	assert_int_equal(item.section_line, 0);
	assert_int_equal(conftext_next(&ct, &item), 1);
	assert_int_equal(item.kind, CONFTEXT_SECTION);
	assert_int_equal(item.line, 3);
	assert_int_equal(item.section_line, 0);
	assert_int_equal(item.title_len, 1);
	assert_memory_equal(item.title, "m", 1);
	assert_int_equal(conftext_next(&ct, &item), 1);
	assert_int_equal(item.kind, CONFTEXT_VALUE);
	assert_int_equal(item.line, 5);
	assert_int_equal(item.section_line, 3);
	assert_int_equal(item.name_len, 1);
	assert_memory_equal(item.name, "u", 1);
	assert_int_equal(conftext_next(&ct, &item), 1);
	assert_int_equal(item.section_line, 0);
	assert_memory_equal(item.title, "n", 1);
	assert_int_equal(conftext_next(&ct, &item), 0);
}

static void test_unclosed(void **state)
{
	(void)state;
	refuses("a = 1\nrelay \"m\" {\n b = 2\n", 2, "never closed");
	refuses("relay \"m\" {\n a = 1\n\nrelay \"n\" {\n}\n", 4, "opened on line 1");
	refuses("\na = {1,\n2", 2, "never closed");
	refuses("a = {1\nb = 2", 2, "opened on line 1");
	refuses("a = 1\n/* b\nc", 2, "never closed");
	refuses("/*/", 1, "never closed");
	refuses("a = \"x\nb = \"y\"", 1, "never closed");
	refuses("a = 'x", 1, "never closed");
	refuses("a = \"x\r\n", 1, "never closed");
	refuses("a = 1\n}", 2, "closes nothing");
}

static void test_unquoted(void **state)
{
	static const char *const wrong[] = {"a = smtp://host", "a = x#y", "a = 4;", "a = x+y",
	    "a = u@h", "a = /tmp", "a = 4\"x\"", "a = x/*y*/", "a = \xc3\xa4", "a = x=y",
	    "a = ${SET}/x"};
	size_t i;

	(void)state;
	for (i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
		refuses(wrong[i], 1, "double quotes");
	refuses("a = //host", 1, "no value");
	refuses("a = #1\nb = 2", 1, "no value");
	refuses("a =", 1, "no value");
	refuses("a = ,", 1, "unexpected ','");
	accepts("a = A.b_c-9", 1);
	accepts("a = ${SET}", 1);
}

static void test_variables(void **state)
{
	(void)state;
	accepts("a = \"${SET}/${UNSET:-/etc}/x\" b = \"${UNSET:-}\" c = \"$x $\"", 3);
	accepts("spared = \"${UNSET}/${EMPTY}\" other = \"${UNSET}\"", 2);
	refuses("\na = \"x${UNSET}\"", 2, "${UNSET} is not set");
	refuses("a = ${UNSET}", 1, "${UNSET} is not set");
	refuses("a = {1,\n\"${UNSET}\"}", 2, "${UNSET} is not set");
	refuses("relay \"${UNSET}\" {}", 1, "${UNSET} is not set");
	refuses("a = \"${EMPTY}\"", 1, "${EMPTY} is empty");
	refuses("a = \"${EMPTY:-x}\"", 1, "or unset it");
	refuses("spared2 = \"${UNSET}\"", 1, "not set");
	refuses("spare = \"${UNSET}\"", 1, "not set");
	refuses("a = \"${SET\"\n}", 1, "without an end");
	refuses("a = \"${SET-x}\"", 1, "without an end");
	refuses("a = \"${SET:x}\"", 1, "without an end");
	refuses("a = \"${}\"", 1, "without an end");
	refuses("a = \"${S T}\"", 1, "without an end");
	refuses("a = \"${SET:-\"x\"}\"", 1, "without an end");
	refuses("a = \"${SET:-x", 1, "without an end");
	refuses("a = \"${SET:-x\ny}\"", 1, "without an end");
	refuses("a = ${SET:-x\ny}", 1, "without an end");
	refuses("a = \"${aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa}\"", 1,
	    "too long");
	refuses("a = '${SET}'", 1, "single quotes");
}

static void test_quotes(void **state)
{
	(void)state;
	refuses("a = \"\"", 1, "empty value");
	refuses("a = ''", 1, "empty value");
	refuses("a = {\n\"\"}", 2, "empty value");
	refuses("a = \"x\\ny\"", 1, "backslash");
	refuses("a = \"\\x41\"", 1, "backslash");
	refuses("a = \"\\101\"", 1, "backslash");
	refuses("a = \"x\\\ny\"", 1, "backslash");
	refuses("a = \"x\\", 1, "backslash");
	refuses("a = \"x\"y\"", 1, "unexpected 'y'");
	refuses("a = \"x\";", 1, "unexpected ';'");
	refuses("a = \"x\ty\"", 1, "control character 0x09");
}

static void test_grammar(void **state)
{
	(void)state;
	refuses("include(\"x\")", 1, "include is not supported");
	refuses("\ninclude \"x\"", 2, "include is not supported");
	refuses("relay m {\ninclude (x)", 2, "include is not supported");
	refuses("a(1)", 1, "no '=' behind 'a'");
	refuses("a \"x\"", 1, "no '=' behind 'a'");
	refuses("a\nb = 1", 1, "no '=' behind 'a'");
	refuses("a", 1, "no '=' behind 'a'");
	refuses("a /x", 1, "no '=' behind 'a'");
	refuses("a += {1}", 1, "'+='");
	refuses("a = \n1", 1, "no value behind 'a ='");
	refuses("\"a\" = 1", 1, "unexpected '\"'");
	refuses("a = 1, b = 2", 1, "unexpected ','");
	refuses("a|b = 1", 1, "unexpected '|'");
	refuses("a.b = 1", 1, "unexpected '.'");
	refuses("relay.{ }", 1, "unexpected '.'");
	refuses("a${SET} = 1", 1, "unexpected '$'");
	refuses("a, = 1", 1, "unexpected ','");
	refuses("a = {1, )", 1, "unexpected ')'");
	refuses("a = {\"\\n\"}", 1, "backslash");
	refuses("a = 1 # \x01", 1, "control character 0x01");
	refuses("relay \"m\" /* x", 1, "never closed");
	refuses("= 1", 1, "unexpected '='");
	refuses("a = {,}", 1, "unexpected ','");
	refuses("a = {1 2}", 1, "no ',' or '}'");
	refuses("a = {{1}}", 1, "unexpected '{'");
	refuses("\xef\xbb\xbf", 1, "unexpected byte 0xef");
}

static void test_control_characters(void **state)
{
	static const char nul_in_comment[] = "a = 1\n# x\0y\n", nul[] = "a = 1\n\0",
			  nul_value[] = "a = \0";
	static const char nul_word[] = "a = x\0", nul_quoted[] = "a = \"x\0\"",
			  nul_block[] = "/* \0 */";

	(void)state;
	refuses_bytes(nul_in_comment, sizeof nul_in_comment - 1, 2, "control character 0x00");
	refuses_bytes(nul, sizeof nul - 1, 2, "0x00");
	refuses_bytes(nul_value, sizeof nul_value - 1, 1, "0x00");
	refuses_bytes(nul_word, sizeof nul_word - 1, 1, "0x00");
	refuses_bytes(nul_quoted, sizeof nul_quoted - 1, 1, "0x00");
	refuses_bytes(nul_block, sizeof nul_block - 1, 1, "0x00");
	refuses("a = \"\x1b[1m\"", 1, "control character 0x1b");
	refuses("a = \"\x7f\"", 1, "control character 0x7f");
	refuses("a = 1\rb = 2", 1, "control character 0x0d");
	refuses("a = 1\n\f", 2, "unexpected byte 0x0c");
}

/* Every beginning of a text is read without a byte too many, and ends in an answer. */
static void test_truncated(void **state)
{
	static const char text[] =
	    "a = {\"1\\\"\", ${SET}, '\\''} /* x */ relay \"m\" { b = \"${UNSET:-y}\" # z\r\n}\n";
	struct conftext ct;
	size_t len;
	int seen;

	(void)state;
	for (len = 0; len < sizeof text; len++) {
		int got = read_bytes(text, len, &ct, &seen, NULL);

		assert_true(got == 0 || got == -1);
		assert_true(got == 0 || ct.fault_line > 0);
	}
	assert_int_equal(seen, 3);
}

static void variables_of_sections_may_be_spared(void **state)
{
	static const char inside[] = "a = 1\nrelay \"x\" {\n\turl = \"${UNSET}/${EMPTY}\"\n}\n";
	static const char outside[] = "relay \"x\" {\n}\nspool = \"${UNSET}\"\n";
	char text[128];
	struct conftext ct;
	struct conftext_item item;
	int got;

	(void)state;
	(void)strcpy(text, inside);
	conftext_start(&ct, text, strlen(text), environment, CONFTEXT_SECTIONS);
	while ((got = conftext_next(&ct, &item)) == 1)
		;
	assert_int_equal(got, 0);
	(void)strcpy(text, outside);
	conftext_start(&ct, text, strlen(text), environment, CONFTEXT_SECTIONS);
	while ((got = conftext_next(&ct, &item)) == 1)
		;
	assert_int_equal(got, -1);
	assert_int_equal(ct.fault_line, 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(variables_of_sections_may_be_spared),
	    cmocka_unit_test(test_accepted),
	    cmocka_unit_test(test_comments_become_blanks),
	    cmocka_unit_test(test_items),
	    cmocka_unit_test(test_unclosed),
	    cmocka_unit_test(test_unquoted),
	    cmocka_unit_test(test_variables),
	    cmocka_unit_test(test_quotes),
	    cmocka_unit_test(test_grammar),
	    cmocka_unit_test(test_control_characters),
	    cmocka_unit_test(test_truncated),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
