#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "address.h"

#define LONG_MAX_BYTES 5000

/* What address_list gave, joined by "|". */
struct given {
	char text[2 * LONG_MAX_BYTES];
	size_t count;
	int stop_at; /* the number of the address at which to say stop; 0 for never */
};

static int collect(void *context, const char *addr, size_t len)
{
	struct given *given = context;
	size_t end = strlen(given->text);

	assert_true(end + len + 2 < sizeof given->text);
	(void)snprintf(given->text + end, sizeof given->text - end, "%s%.*s",
	    given->count > 0 ? "|" : "", (int)len, addr);
	return (int)++given->count == given->stop_at ? 42 : 0;
}

static void check_list(const char *text, const char *expected)
{
	struct given given = {.stop_at = 0};
	const char *fault;

	if (address_list(text, strlen(text), collect, &given, &fault) != 0)
		fail_msg("%s: %s", text, fault);
	assert_null(fault);
	assert_string_equal(given.text, expected);
}

static void check_fault(const char *text, const char *expected)
{
	struct given given = {.stop_at = 0};
	const char *fault = NULL;

	if (address_list(text, strlen(text), collect, &given, &fault) != -1)
		fail_msg("%s: taken as %s", text, given.text);
	assert_string_equal(fault, expected);
}

static void plain_addresses(void **state)
{
	(void)state;
	check_list("a@b", "a@b");
	check_list("a@b,c@d", "a@b|c@d");
	check_list(" a.b+c@d.example ,\r\n\tc@d\r\n", "a.b+c@d.example|c@d");
	check_list("j\xc3\xbcrg@b\xc3\xbc"
		   "cher.example",
	    "j\xc3\xbcrg@b\xc3\xbc"
	    "cher.example");
	check_list("a..b@c, .a@c, a.@c", "a..b@c|.a@c|a.@c");
}

static void display_names(void **state)
{
	(void)state;
	check_list("A B <a@b>", "a@b");
	check_list("<a@b>", "a@b");
	check_list("\"Doe, J. \\\"x\\\" <z@z>\" <a@b>", "a@b");
	check_list("J. R. \"Bob\" Doe <a@b>, x@y", "a@b|x@y");
	check_list("=?utf-8?q?J=C3=BCrg?= =?utf-8?b?w7w=?= <a@b>", "a@b");
	check_list("J\xc3\xbcrg <a@b>", "a@b");
	check_list("\"\" <a@b>", "a@b");
	check_list("Doe\r\n <a@b\r\n >", "a@b");
}

static void groups(void **state)
{
	(void)state;
	check_list("undisclosed-recipients:;", "");
	check_list("A B: a@b, C <c@d>;", "a@b|c@d");
	check_list("a@b, G:c@d;, e@f", "a@b|c@d|e@f");
	check_list("G:,,a@b,,;,,\"H, I\":c@d;", "a@b|c@d");
	check_list("G (x) : (y) a@b (z) ; (end)", "a@b");
}

static void empty_elements(void **state)
{
	(void)state;
	check_list("", "");
	check_list(" \r\n ", "");
	check_list(",,a@b,, ,(nothing), c@d,", "a@b|c@d");
}

static void comments(void **state)
{
	(void)state;
	check_list("(x) a (y) @ (z) b (w)", "a@b");
	check_list("a@b (J, D <x@y> \\) (nested \\( (deep)))", "a@b");
	check_list("A (x) <(y)a@b(z)> (w), c@d", "a@b|c@d");
	check_list("a (x) . (y) b@c (x) . (y) d", "a.b@c.d");
}

static void quoted_local_parts(void **state)
{
	(void)state;
	check_list("\"john\"@b", "john@b");
	check_list("\"j\\ohn.doe\"@b", "john.doe@b");
	check_list("\"john doe\"@b", "\"john doe\"@b");
	check_list("\"a\\\"b\\\\c\"@b", "\"a\\\"b\\\\c\"@b");
	check_list("\"a@b,c\"@d", "\"a@b,c\"@d");
	check_list("\"a..b\"@d, \".a\"@d, \"a.\"@d", "\"a..b\"@d|\".a\"@d|\"a.\"@d");
	check_list("\"\"@d", "\"\"@d");
	check_list("a.\"b\".c@d, a.\"b c\"@d", "a.b.c@d|\"a.b c\"@d");
	check_list("\"a\r\n b\"@d", "\"a b\"@d");
}

static void domain_literals(void **state)
{
	(void)state;
	check_list("a@[192.0.2.1]", "a@[192.0.2.1]");
	check_list("A <a@ [IPv6:2001:db8::1] (x)>, c@d", "a@[IPv6:2001:db8::1]|c@d");
	check_list("a@[ 192.0.\r\n 2.1 ]", "a@[192.0.2.1]");
	check_list("a@[x\\]y]", "a@[x]y]");
}

/* What is no address but does no harm to its neighbours is for address_fault to refuse. */
static void names_without_domain(void **state)
{
	(void)state;
	check_list("root, a@b", "root|a@b");
	check_list("John Doe, <root>, a@b", "John Doe|root|a@b");
	check_list("\"Doe, John\", a@b", "\"Doe, John\"|a@b");
	check_list("a@, @b, A <>", "a@|@b|");
	check_list("a\x01@b, \x7f@c", "a\x01@b|\x7f@c");
}

static void no_lists(void **state)
{
	(void)state;
	check_fault("a@b, <@a,@b:c@d>", "a route address");
	check_fault("<@a:c@d>", "a route address");
	check_fault("<,@a:c@d>", "a route address");
	check_fault("a b@c", "several words before an \"@\"");
	check_fault("\"a\"b@c", "several words before an \"@\"");
	check_fault("a(x)b@c", "several words before an \"@\"");
	check_fault("a@b c@d", "text that belongs to no address");
	check_fault("a@b <c@d>", "text that belongs to no address");
	check_fault("a@b@c", "text that belongs to no address");
	check_fault("a\\b@c", "text that belongs to no address");
	check_fault("a@b)", "text that belongs to no address");
	check_fault("[a]@b", "text that belongs to no address");
	check_fault("A <a@b> c", "text that belongs to no address");
	check_fault("a@[b].c", "text that belongs to no address");
	check_fault("A <a@b", "a \"<\" without its address and \">\"");
	check_fault("A <a@b, c@d>", "a \"<\" without its address and \">\"");
	check_fault("A <<a@b>>", "a \"<\" without its address and \">\"");
	check_fault("\"a@b", "a quoted string that is not closed");
	check_fault("\"a@b\\", "a quoted string that is not closed");
	check_fault("a@b (x", "a comment that is not closed");
	check_fault("a@b (x\\", "a comment that is not closed");
	check_fault("(x) (", "a comment that is not closed");
	check_fault("a@[b", "a domain literal that is not closed");
	check_fault("a@[b[c]]", "a domain literal that is not closed");
	check_fault("a@b; c@d", "a \";\" outside a group");
	check_fault("G:a@b", "a group without its \";\"");
	check_fault("G:a@b; c@d", "text right behind a group");
	check_fault("G:H:a@b;;", "a group within a group");
	check_fault(":a@b;", "a group without a name");
}

static void comment_depth_is_limited(void **state)
{
	char text[LONG_MAX_BYTES] = "a@b";

	(void)state;
	memset(text + 3, '(', 64);
	memset(text + 3 + 64, ')', 64);
	check_list(text, "a@b");
	memset(text + 3, '(', 65);
	memset(text + 3 + 65, ')', 65);
	check_fault(text, "comments nested too deeply");
	memset(text + 3, '(', sizeof text - 4);
	check_fault(text, "comments nested too deeply");
}

/* One that is far too long is refused, and its neighbours are not lost for it. */
static void far_too_long_address(void **state)
{
	char text[LONG_MAX_BYTES + 16];
	struct given given = {.stop_at = 0};
	const char *fault;

	(void)state;
	memset(text, 'x', LONG_MAX_BYTES);
	(void)snprintf(text + LONG_MAX_BYTES, sizeof text - LONG_MAX_BYTES, "@b, c@d");
	assert_int_equal(address_list(text, strlen(text), collect, &given, &fault), 0);
	assert_int_equal(given.count, 2);
	assert_in_range(strlen(given.text), ADDRESS_MAX + 1 + strlen("|c@d"), LONG_MAX_BYTES);
	assert_string_equal(strchr(given.text, '|'), "|c@d");
}

static void each_can_stop(void **state)
{
	struct given given = {.stop_at = 2};
	const char *fault = "unset";

	(void)state;
	assert_int_equal(address_list("a@b, c@d, e@f", 13, collect, &given, &fault), 42);
	assert_string_equal(given.text, "a@b|c@d");
	assert_null(fault);
}

/* Any prefix of a list is a list or a fault, and nothing is read behind its end. */
static void every_prefix_ends(void **state)
{
	const char text[] =
	    "\"D\\\"oe, J\" (c (d\\))) <\"a b\".c@[1 \\2]>, G: x@y . z;, =?q?= <r@s>";

	(void)state;
	for (size_t len = 0; len < sizeof text; len++) {
		char exact[sizeof text];
		struct given given = {.stop_at = 0};
		const char *fault;
		int result;

		memcpy(exact + sizeof exact - len, text, len);
		result = address_list(exact + sizeof exact - len, len, collect, &given, &fault);
		assert_int_equal(result, fault ? -1 : 0);
	}
}

static const char *fault_of(const char *addr)
{
	return address_fault(addr, strlen(addr));
}

static void good_addresses(void **state)
{
	const char *const good[] = {"a@b", "a..b@c", "\"a@b\"@c", "\"\"@c", "a@[192.0.2.1]",
	    "j\xc3\xbcrg@\xe4\xbe\x8b.example", "\xf0\x9f\x93\xa7@b",
	    "\xe0\xa0\x80\xed\x9f\xbf\xf4\x8f\xbf\xbf\xc3\xbf\xf0\x90\x80\x80@b",
	    "o'neil+tag@b.example", "\"a,b\"@c", "\"(a);\\\\\\\":[b]\"@c", "\"a\".\"b,c\"@d",
	    "a@[IPv6:2001:db8::1]", "!#$%&*/=?^_`{|}~-@b"};

	(void)state;
	for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
		assert_null(fault_of(good[i]));
}

#define IN_QUOTES "an address with a character that must stand in quotes"

static void faulty_addresses(void **state)
{
	const struct {
		const char *addr;
		const char *fault;
	} cases[] = {
	    {"", "an empty address"},
	    {"a b@c", "a space in the address"},
	    {"\"a b\"@c", "a space in the address"},
	    {"a@b ", "a space in the address"},
	    {"a\r\n@b", "a control character in the address"},
	    {"a\t@b", "a control character in the address"},
	    {"a@b\x7f", "a control character in the address"},
	    {"<a@b", "an angle bracket in the address"},
	    {"\"a>\"@b", "an angle bracket in the address"},
	    {"\xff@b", "an address that is not valid UTF-8"},
	    {"a\xc3@b", "an address that is not valid UTF-8"},
	    {"a@b\xc3", "an address that is not valid UTF-8"},
	    {"\xc0\xaf@b", "an address that is not valid UTF-8"},
	    {"\xed\xa0\x80@b", "an address that is not valid UTF-8"},
	    {"\xe0\x80\x80@b", "an address that is not valid UTF-8"},
	    {"\xf4\x90\x80\x80@b", "an address that is not valid UTF-8"},
	    {"root", "an address without \"@\""},
	    {"\"x@y\"", "an address without \"@\""},
	    {"\"x\\\"@y\"", "an address without \"@\""},
	    {"\"x@y", "an address without \"@\""},
	    {"\"x@y\\", "an address without \"@\""},
	    {"@b", "an address with nothing on one side of its \"@\""},
	    {"a@", "an address with nothing on one side of its \"@\""},
	    {"@", "an address with nothing on one side of its \"@\""},
	    {"a@b@", "an address with more than one \"@\""},
	    {"a@b@c", "an address with more than one \"@\""},
	    {"\"a\"@b@c", "an address with more than one \"@\""},
	    {"a@[b@c]", "an address with more than one \"@\""},
	    {"a,b@c", IN_QUOTES},
	    {"a@b,c", IN_QUOTES},
	    {"a;b@c", IN_QUOTES},
	    {"a:b@c", IN_QUOTES},
	    {"(a)b@c", IN_QUOTES},
	    {"a@b(c)", IN_QUOTES},
	    {"a\\b@c", IN_QUOTES},
	    {"a[b]@c", IN_QUOTES},
	    {"\"a\",b@c", IN_QUOTES},
	    {"a\"b@c", IN_QUOTES},
	    {"\"a\\\",b\",c@d", IN_QUOTES},
	    {"@a:b@c", "an address with nothing on one side of its \"@\""},
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		const char *fault = fault_of(cases[i].addr);

		if (!fault || strcmp(fault, cases[i].fault) != 0)
			fail_msg("%s: %s", cases[i].addr, fault ? fault : "no fault");
	}
	assert_string_equal(address_fault("a\0@b", 4), "a control character in the address");
}

static void length_of_addresses(void **state)
{
	char addr[ADDRESS_MAX + 1];

	(void)state;
	memset(addr, 'x', sizeof addr);
	addr[1] = '@';
	assert_null(address_fault(addr, ADDRESS_MAX));
	assert_string_equal(
	    address_fault(addr, ADDRESS_MAX + 1), "an address of more than 254 bytes");
}

static void ascii(void **state)
{
	(void)state;
	assert_true(address_is_ascii("a@b\x7f", 4));
	assert_false(address_is_ascii("a@b\x80", 4));
	assert_true(address_is_ascii("a@b\x80", 3));
}

/* Puts "@" into each gap. */
struct filled {
	const char *text;
	char made[200];
	size_t len;
	size_t done;
};

static void fill(void *context, size_t offset)
{
	struct filled *filled = context;

	assert_true(offset > filled->done);
	filled->len +=
	    (size_t)snprintf(filled->made + filled->len, sizeof filled->made - filled->len, "%.*s@",
		(int)(offset - filled->done), filled->text + filled->done);
	filled->done = offset;
}

static void check_gaps(const char *text, const char *expected)
{
	struct filled filled = {.text = text};

	assert_int_equal(address_gaps(text, strlen(text), fill, &filled), 0);
	(void)snprintf(
	    filled.made + filled.len, sizeof filled.made - filled.len, "%s", text + filled.done);
	assert_string_equal(filled.made, expected);
}

static void gaps(void **state)
{
	(void)state;
	check_gaps("root", "root@");
	check_gaps(" root (Cron Daemon)\n", " root@ (Cron Daemon)\n");
	check_gaps("a, <b>, C D <e> ,f@g, \"h\"", "a@, <b@>, C D <e@> ,f@g, \"h\"@");
	check_gaps("www-data.x\r\n\t,b", "www-data.x@\r\n\t,b@");
	check_gaps("staff: a, b@c, d;, e", "staff: a@, b@c, d@;, e@");
	/* These are addresses, or nobody can say what they are. */
	check_gaps("a@b, <>, , \"x y\", two words, j\xc3\xbcrg, a\x01"
		   "b, .x, \"a@b\"",
	    "a@b, <>, , \"x y\", two words, j\xc3\xbcrg, a\x01"
	    "b, .x, \"a@b\"");
	check_gaps("undisclosed-recipients:;", "undisclosed-recipients:;");
}

static void gaps_of_no_list(void **state)
{
	struct filled filled = {.text = ""};

	(void)state;
	assert_int_equal(address_gaps("(", 1, fill, &filled), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(plain_addresses),
	    cmocka_unit_test(display_names),
	    cmocka_unit_test(groups),
	    cmocka_unit_test(empty_elements),
	    cmocka_unit_test(comments),
	    cmocka_unit_test(quoted_local_parts),
	    cmocka_unit_test(domain_literals),
	    cmocka_unit_test(names_without_domain),
	    cmocka_unit_test(no_lists),
	    cmocka_unit_test(comment_depth_is_limited),
	    cmocka_unit_test(far_too_long_address),
	    cmocka_unit_test(each_can_stop),
	    cmocka_unit_test(every_prefix_ends),
	    cmocka_unit_test(good_addresses),
	    cmocka_unit_test(faulty_addresses),
	    cmocka_unit_test(length_of_addresses),
	    cmocka_unit_test(ascii),
	    cmocka_unit_test(gaps),
	    cmocka_unit_test(gaps_of_no_list),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
