#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "filter.h"

static bool name_matches(const struct filter *filter, const char *name, bool failed)
{
	struct entry entry;

	assert_true(entry_parse(name, &entry));
	return filter_matches_entry(filter, &entry, failed);
}

static bool status_matches(const char *asked, const char *name)
{
	const struct filter filter = {.status = asked, .older_than = -1, .newer_than = -1};

	assert_true(filter_status_is_valid(asked));
	return name_matches(&filter, name, true);
}

static bool file_matches(const struct filter *filter, const char *head)
{
	struct envelope envelope = {0};
	struct envelope_fault fault;
	bool matches;

	assert_int_equal(envelope_parse(&envelope, head, strlen(head), &fault), 0);
	matches = filter_matches_envelope(filter, &envelope);
	envelope_free(&envelope);
	return matches;
}

static void nothing_asked_is_all(void **state)
{
	const struct filter filter = FILTER_ALL;

	(void)state;
	assert_false(filter_asks(&filter));
	assert_false(filter_asks_age(&filter));
	assert_false(filter_asks_envelope(&filter));
	assert_true(name_matches(&filter, "1.h,A=1,E=5.1.1", true));
	assert_true(name_matches(&filter, "1.h", false));
	assert_true(filter_matches_age(&filter, 0, 100));
	assert_true(file_matches(&filter, "From: a@x\nTo: b@x\n\n"));
}

static void each_question_counts(void **state)
{
	const struct filter asking[] = {
	    {.failed = true, .older_than = -1, .newer_than = -1},
	    {.deferred = true, .older_than = -1, .newer_than = -1},
	    {.status = "4", .older_than = -1, .newer_than = -1},
	    {.older_than = 0, .newer_than = -1},
	    {.older_than = -1, .newer_than = 0},
	    {.sender = "*", .older_than = -1, .newer_than = -1},
	    {.recipient = "*", .older_than = -1, .newer_than = -1},
	    {.relay = "", .older_than = -1, .newer_than = -1},
	};

	(void)state;
	for (size_t i = 0; i < sizeof asking / sizeof asking[0]; i++) {
		assert_true(filter_asks(&asking[i]));
		assert_int_equal(filter_asks_age(&asking[i]), i == 3 || i == 4);
		assert_int_equal(filter_asks_envelope(&asking[i]), i > 4);
	}
}

static void by_state(void **state)
{
	struct filter filter = FILTER_ALL;

	(void)state;
	filter.failed = true;
	assert_true(name_matches(&filter, "1.h,A=1,E=5.1.1", true));
	assert_false(name_matches(&filter, "1.h,A=1,E=4.1.1", false));
	filter.deferred = true;
	assert_true(name_matches(&filter, "1.h,A=1,E=5.1.1", true));
	assert_true(name_matches(&filter, "1.h,A=1,E=4.1.1", false));
	filter.failed = false;
	assert_false(name_matches(&filter, "1.h,A=1,E=5.1.1", true));
	assert_true(name_matches(&filter, "1.h,A=1,E=4.1.1", false));
}

static void by_whole_parts_of_a_status(void **state)
{
	(void)state;
	assert_true(status_matches("5", "1.h,A=1,E=5.1.1"));
	assert_true(status_matches("5.1", "1.h,A=1,E=5.1.1"));
	assert_true(status_matches("5.1.1", "1.h,A=1,E=5.1.1"));
	assert_false(status_matches("5.1", "1.h,A=1,E=5.10.0"));
	assert_false(status_matches("5.1.1", "1.h,A=1,E=5.1.10"));
	assert_false(status_matches("5.1.10", "1.h,A=1,E=5.1.1"));
	assert_false(status_matches("4", "1.h,A=1,E=5.4.4"));
	assert_false(status_matches("5", "1.h,A=1"));
	assert_true(status_matches("4.4.7", "1.h,A=1,E=4.4.7,T=5"));
}

static void a_status_has_one_to_three_numbers(void **state)
{
	static const char *const good[] = {"4", "5", "5.1", "5.10", "5.999", "4.4.7", "5.999.999"};
	static const char *const bad[] = {"", "2", "6", "55", "5.", ".1", "5.1.", "5..1", "5.1.1.1",
	    "5.1000", "5.1.1000", "5.x", "x", "5 ", " 5", "5.1,", "5.-1", "4*"};

	(void)state;
	for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
		assert_true(filter_status_is_valid(good[i]));
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		assert_false(filter_status_is_valid(bad[i]));
}

static void by_age(void **state)
{
	struct filter filter = FILTER_ALL;

	(void)state;
	filter.older_than = 60;
	assert_false(filter_matches_age(&filter, 941, 1000));
	assert_true(filter_matches_age(&filter, 940, 1000));
	assert_true(filter_matches_age(&filter, -5, 1000));
	assert_false(filter_matches_age(&filter, INT64_MAX, 1000));
	filter.newer_than = 120;
	assert_true(filter_matches_age(&filter, 940, 1000));
	assert_true(filter_matches_age(&filter, 881, 1000));
	assert_false(filter_matches_age(&filter, 880, 1000));
	filter.older_than = -1;
	assert_true(filter_matches_age(&filter, INT64_MAX, 1000));
	filter.newer_than = 0;
	assert_false(filter_matches_age(&filter, 1000, 1000));
}

#define BLOCK                                                                                      \
	"X-Maildrain-From: <Shop@Example.com>\n"                                                   \
	"X-Maildrain-Done: <done@example.net> 250 Ok\n"                                            \
	"X-Maildrain-Failed: <Failed@example.net> 550 No\n"                                        \
	"X-Maildrain-To: <todo@example.org>\n"
#define REST "Subject: x\n\n"

static bool sender_matches(const char *pattern, const char *head)
{
	const struct filter filter = {.sender = pattern, .older_than = -1, .newer_than = -1};

	return file_matches(&filter, head);
}

static bool recipient_matches(const char *pattern, const char *head)
{
	const struct filter filter = {.recipient = pattern, .older_than = -1, .newer_than = -1};

	return file_matches(&filter, head);
}

static void by_sender(void **state)
{
	static const char null[] = "X-Maildrain-From: <>\nX-Maildrain-To: <b@x>\n" REST;

	(void)state;
	assert_true(sender_matches("shop@example.com", BLOCK REST));
	assert_true(sender_matches("*@EXAMPLE.com", BLOCK REST));
	assert_true(sender_matches("*", BLOCK REST));
	assert_true(sender_matches("s[gh]op@example.???", BLOCK REST));
	assert_false(sender_matches("example.com", BLOCK REST));
	assert_false(sender_matches("*@example.co", BLOCK REST));
	assert_false(sender_matches("<>", BLOCK REST));
	assert_false(sender_matches("", BLOCK REST));
	assert_true(sender_matches("<>", null));
	assert_true(sender_matches("", null));
	assert_false(sender_matches("?*", null));
	assert_true(sender_matches("a@x", "From: a@x\nTo: b@x\n\n"));
}

static void by_a_recipient_who_has_not_got_it(void **state)
{
	(void)state;
	assert_true(recipient_matches("failed@*", BLOCK REST));
	assert_true(recipient_matches("todo@example.org", BLOCK REST));
	assert_false(recipient_matches("done@*", BLOCK REST));
	assert_false(recipient_matches("shop@*", BLOCK REST));
	assert_true(recipient_matches("b@x", "From: a@x\nTo: b@x\n\n"));
}

static void by_the_relay_that_is_asked_for(void **state)
{
	struct filter filter = FILTER_ALL;

	(void)state;
	filter.relay = "bulk";
	assert_true(file_matches(&filter, BLOCK "X-Maildrain-Relay: bulk\n" REST));
	assert_false(file_matches(&filter, BLOCK "X-Maildrain-Relay: bulk2\n" REST));
	assert_false(file_matches(&filter, BLOCK "X-Maildrain-Relay: Bulk\n" REST));
	assert_false(file_matches(&filter, BLOCK REST));
}

static void all_of_it_must_hold(void **state)
{
	struct filter filter = FILTER_ALL;

	(void)state;
	filter.sender = "shop@*";
	filter.recipient = "todo@*";
	filter.relay = "bulk";
	assert_true(file_matches(&filter, BLOCK "X-Maildrain-Relay: bulk\n" REST));
	assert_false(file_matches(&filter, BLOCK REST));
	filter.relay = NULL;
	assert_true(file_matches(&filter, BLOCK REST));
	filter.sender = "x";
	assert_false(file_matches(&filter, BLOCK REST));
	filter.sender = "shop@*";
	filter.recipient = "x";
	assert_false(file_matches(&filter, BLOCK REST));
	filter.failed = true;
	filter.status = "5.1";
	assert_true(name_matches(&filter, "1.h,A=1,E=5.1.1", true));
	assert_false(name_matches(&filter, "1.h,A=1,E=5.2.1", true));
	assert_false(name_matches(&filter, "1.h,A=1,E=5.1.1", false));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(nothing_asked_is_all),
	    cmocka_unit_test(each_question_counts),
	    cmocka_unit_test(by_state),
	    cmocka_unit_test(by_whole_parts_of_a_status),
	    cmocka_unit_test(a_status_has_one_to_three_numbers),
	    cmocka_unit_test(by_age),
	    cmocka_unit_test(by_sender),
	    cmocka_unit_test(by_a_recipient_who_has_not_got_it),
	    cmocka_unit_test(by_the_relay_that_is_asked_for),
	    cmocka_unit_test(all_of_it_must_hold),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
