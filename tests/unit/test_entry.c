#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "entry.h"

#define UNIQUE "1763790000.M12P34Q1.web1"

static struct entry parse(const char *name)
{
	struct entry entry;

	assert_true(entry_parse(name, &entry));
	return entry;
}

static void check_format(const struct entry *entry, const char *expected)
{
	char buf[ENTRY_NAME_MAX + 1];

	assert_int_equal(entry_format(entry, buf, sizeof buf), strlen(expected));
	assert_string_equal(buf, expected);
}

/* NAME, parsed and formatted, must be EXPECTED. */
static void check_name(const char *name, const char *expected)
{
	struct entry entry = parse(name);

	check_format(&entry, expected);
}

static void same(const char *name)
{
	check_name(name, name);
}

static void bare_name(void **state)
{
	struct entry entry = parse(UNIQUE);

	(void)state;
	assert_int_equal(entry.unique_len, strlen(UNIQUE));
	assert_int_equal(entry.attempts, 0);
	assert_int_equal(entry.priority, ENTRY_PRIORITY_DEFAULT);
	assert_int_equal(entry.not_before, 0);
	assert_int_equal(entry.expires, 0);
	assert_int_equal(entry.notify, 0);
	assert_int_equal(entry.warned, 0);
	assert_null(entry.claim);
	assert_string_equal(entry.status, "");
	assert_null(entry.flags);
}

static void every_field(void **state)
{
	const char name[] =
	    "letter.eml,A=3,C=web-1-4242,D=1763790500,E=4.4.2,N=1763790501,P=1,T=1763790600,"
	    "X=1763795000:2,FS";
	struct entry entry = parse(name);

	(void)state;
	assert_int_equal(entry.unique_len, strlen("letter.eml"));
	assert_int_equal(entry.attempts, 3);
	assert_int_equal(entry.priority, 1);
	assert_int_equal(entry.not_before, 1763790600);
	assert_int_equal(entry.expires, 1763795000);
	assert_int_equal(entry.warned, 1763790500);
	assert_int_equal(entry.notify, 1763790501);
	assert_int_equal(entry.claim_len, strlen("web-1-4242"));
	assert_memory_equal(entry.claim, "web-1-4242", entry.claim_len);
	assert_string_equal(entry.status, "4.4.2");
	assert_string_equal(entry.flags, "FS");
	check_format(&entry, name);
}

static void round_trips(void **state)
{
	(void)state;
	same("X");
	same("X,A=3:2,S");
	same("X:2,");
	same("X,A=999999");
	same("X,P=0,T=9223372036854775807");
	same("X,E=5.999.999");
	same("X,S=123,W=130:2,S");
	same("X,A=1,S=123,T=5");
	same("\xc3\xa9 b=c.eml,A=1");
}

static void values_that_mean_nothing_are_kept(void **state)
{
	const char *const fields[] = {"A=foo", "A=", "A=-1", "A=+1", "A= 1", "A=1000000", "A",
	    "A=18446744073709551617", "E=3.0.0", "E=4.0", "E=4.1.2.3", "E=5.1.1x", "E=5.1.1234",
	    "E=5.1234.1", "E=4..1", "E=.4.1", "E=4.1x1", "E=4x1.1", "E=4.1.", "A12", "T5", "T=-1",
	    "T=9223372036854775808", "T=1e9", "P=12", "P=-1", "P=", "X=", "X=x", "C=", "C=web1",
	    "C=web1-", "C=-4242", "C=web1-0", "C=web1-2147483648", "C=web1-12a", "D=", "D=x",
	    "N=-1", "N=9223372036854775808", "S=123", "foo", "", "=", "=1", "AA=1", "a=1"};
	char name[64];

	(void)state;
	for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
		struct entry entry;

		(void)snprintf(name, sizeof name, "X,%s", fields[i]);
		entry = parse(name);
		assert_int_equal(entry.attempts, 0);
		assert_int_equal(entry.priority, ENTRY_PRIORITY_DEFAULT);
		assert_int_equal(entry.not_before + entry.expires, 0);
		assert_int_equal(entry.notify + entry.warned, 0);
		assert_null(entry.claim);
		assert_string_equal(entry.status, "");
		check_format(&entry, name);
	}
}

/* A foreign value must not stop a message from being claimed and counted. */
static void value_beside_one_that_means_nothing(void **state)
{
	struct entry entry = parse("X,A=foo,C=web1");
	char name[ENTRY_NAME_MAX + 1];

	(void)state;
	entry.attempts = 1;
	entry.claim = "web1-7";
	entry.claim_len = strlen(entry.claim);
	check_format(&entry, "X,A=1,A=foo,C=web1-7,C=web1");
	assert_true(entry_format(&entry, name, sizeof name) > 0);
	entry = parse(name);
	assert_int_equal(entry.attempts, 1);
	assert_int_equal(entry.claim_len, strlen("web1-7"));
	entry.attempts = 0;
	entry.claim = NULL;
	check_format(&entry, "X,A=foo,C=web1");
}

static void of_two_values_none_counts(void **state)
{
	struct entry entry = parse("X,A=1,A=2,P=1,P=2,T=5,T=5,X=6,X=7,C=h-1,C=h-2,E=4.0.0,E=5.0.0");

	(void)state;
	assert_int_equal(entry.attempts, 0);
	assert_int_equal(entry.priority, ENTRY_PRIORITY_DEFAULT);
	assert_int_equal(entry.not_before, 0);
	assert_int_equal(entry.expires, 0);
	assert_null(entry.claim);
	assert_string_equal(entry.status, "");
	same("X,A=1,A=2,A=3,T=5,T=5");
	same("X,P=1,P=2");
}

static void new_value_takes_the_place_of_two(void **state)
{
	struct entry entry = parse("X,A=1,A=2,S=9,T=5,T=5");

	(void)state;
	entry.attempts = 1;
	check_format(&entry, "X,A=1,S=9,T=5,T=5");
	entry.not_before = 8;
	check_format(&entry, "X,A=1,S=9,T=8");
}

static void keys_get_alphabetical(void **state)
{
	(void)state;
	check_name("X,T=5,S=123,P=1,A=2", "X,A=2,P=1,S=123,T=5");
	check_name("X,b=2,a=1,Z=1,b=1,=,", "X,=,,Z=1,a=1,b=2,b=1");
	check_name("X,PP=1,P=1,PA=1", "X,P=1,PA=1,PP=1");
	check_name("X,O=100,A=1", "X,A=1,O=100");
}

static void absent_values_are_left_out(void **state)
{
	struct entry entry = parse("X,A=2,C=h-1,E=5.1.1,P=3,T=5,X=6:2,S");

	(void)state;
	check_name("X,A=0,P=5,T=0,X=0", "X");
	check_name("X,A=007,T=010", "X,A=7,T=10");
	entry.attempts = 0;
	entry.claim = NULL;
	entry.status[0] = '\0';
	entry.priority = ENTRY_PRIORITY_DEFAULT;
	entry.not_before = entry.expires = 0;
	entry.flags = NULL;
	check_format(&entry, "X");
}

static void foreign_info_is_kept_until_flags_are_set(void **state)
{
	const char *const names[] = {"X:1,A=3", "X:", "X:2", "X,A=1:3,S", "X:x:2,S", "X,S=1:2"};
	struct entry entry;

	(void)state;
	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
		entry = parse(names[i]);
		assert_null(entry.flags);
		assert_int_equal(entry.unique_len, 1);
		check_format(&entry, names[i]);
	}
	entry = parse("X:1,A=3");
	assert_int_equal(entry.attempts, 0);
	entry.flags = "S";
	check_format(&entry, "X:2,S");
}

static void what_is_no_name(void **state)
{
	const char *const names[] = {"", ".", "..", ".X", ",A=1", ":2,S", "a/b", "X,A=1/2", "X\n",
	    "X,A=\x7f", "X:2,\t", "\x01"};
	struct entry entry;

	(void)state;
	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
		assert_false(entry_parse(names[i], &entry));
}

static void length_limit(void **state)
{
	char name[ENTRY_NAME_MAX + 2], buf[ENTRY_NAME_MAX + 2];
	struct entry entry;

	(void)state;
	memset(name, 'x', sizeof name);
	name[ENTRY_NAME_MAX + 1] = '\0';
	assert_false(entry_parse(name, &entry));
	name[ENTRY_NAME_MAX] = '\0';
	entry = parse(name);
	assert_int_equal(entry_format(&entry, buf, sizeof buf), ENTRY_NAME_MAX);
	entry.attempts = 1;
	assert_int_equal(entry_format(&entry, buf, sizeof buf), -1);
	name[ENTRY_NAME_MAX - 4] = '\0';
	entry = parse(name);
	entry.attempts = 1;
	assert_int_equal(entry_format(&entry, buf, sizeof buf), ENTRY_NAME_MAX);
	assert_int_equal(entry_format(&entry, buf, ENTRY_NAME_MAX), -1);
	entry.flags = "";
	assert_int_equal(entry_format(&entry, buf, sizeof buf), -1);
}

static void long_claim_and_small_buffers(void **state)
{
	char host[2 * ENTRY_NAME_MAX], buf[ENTRY_NAME_MAX + 1];
	struct entry entry = parse("X,A=1");

	(void)state;
	for (size_t size = 0; size <= strlen("X,A=1"); size++)
		assert_int_equal(entry_format(&entry, buf, size), -1);
	assert_int_equal(entry_format(&entry, buf, sizeof "X,A=1"), strlen("X,A=1"));
	memset(host, 'h', sizeof host);
	entry.claim = host;
	entry.claim_len = sizeof host;
	assert_int_equal(entry_format(&entry, buf, sizeof buf), -1);
	entry.claim_len = ENTRY_NAME_MAX;
	assert_int_equal(entry_format(&entry, buf, sizeof buf), -1);
}

static void as_many_fields_as_a_name_holds(void **state)
{
	char name[ENTRY_NAME_MAX + 1];

	(void)state;
	memset(name, ',', sizeof name);
	name[0] = 'X';
	name[ENTRY_NAME_MAX] = '\0';
	same(name);
	for (size_t i = 1; i + 1 < ENTRY_NAME_MAX; i += 2)
		name[i + 1] = i < 100 ? 'b' : 'a';
	check_name("X,b,b,a,a", "X,a,a,b,b");
	assert_int_equal(parse(name).attempts, 0);
}

static int sign(int n)
{
	return (n > 0) - (n < 0);
}

static void order_of_service(void **state)
{
	/* In the order in which they are to be sent. */
	const char *const names[] = {
	    "b,P=0", "a,A=1,P=0", "a", "aa,S=1", "b:2,S", "\xc3\xa9", "a,A=2", "b,A=1", "a,P=9"};
	size_t count = sizeof names / sizeof names[0];

	(void)state;
	for (size_t i = 0; i < count; i++)
		for (size_t j = 0; j < count; j++) {
			struct entry a = parse(names[i]);
			struct entry b = parse(names[j]);

			assert_int_equal(sign(entry_compare(&a, &b)), (i > j) - (i < j));
		}
}

static void birth(void **state)
{
	const char *const foreign[] = {"letter", "1763790000", "1763790000.M1P2Q3",
	    "1763790000.M1P2Q3.", "1763790000.M1P2.web1", "1763790000.MP2Q3.web1",
	    "x1763790000.M1P2Q3.web1", "99999999999999999999.M1P2Q3.web1", "1763790000.M1P2Q3,A=1",
	    "1763790000.M1P2Q3.,A=1"};
	struct entry entry;

	(void)state;
	entry = parse(UNIQUE);
	assert_int_equal(entry_birth(&entry), 1763790000);
	entry = parse(UNIQUE "-2,A=1:2,S");
	assert_int_equal(entry_birth(&entry), 1763790000);
	for (size_t i = 0; i < sizeof foreign / sizeof foreign[0]; i++) {
		entry = parse(foreign[i]);
		assert_int_equal(entry_birth(&entry), -1);
	}
}

static void claims(void **state)
{
	struct entry entry = parse("X,A=1,C=web-1-4242,T=5");
	struct entry unclaimed = parse("X,A=1");
	long pid = 0;

	(void)state;
	assert_true(entry_claimed_by_host(&entry, "web-1", &pid));
	assert_int_equal(pid, 4242);
	assert_false(entry_claimed_by_host(&entry, "web", &pid));
	assert_false(entry_claimed_by_host(&entry, "web-2", &pid));
	assert_false(entry_claimed_by_host(&entry, "web-1-4242", &pid));
	assert_false(entry_claimed_by_host(&entry, "", &pid));
	assert_false(entry_claimed_by_host(&unclaimed, "web-1", &pid));
}

static void classes(void **state)
{
	struct entry deferred = parse("X,E=4.4.2");
	struct entry failed = parse("X,E=5.1.1");
	struct entry none = parse("X");

	(void)state;
	assert_true(entry_has_class(&deferred, '4'));
	assert_false(entry_has_class(&deferred, '5'));
	assert_true(entry_has_class(&failed, '5'));
	assert_false(entry_has_class(&failed, '4'));
	assert_false(entry_has_class(&none, '4'));
	assert_false(entry_has_class(&none, '\0'));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(bare_name),
	    cmocka_unit_test(every_field),
	    cmocka_unit_test(round_trips),
	    cmocka_unit_test(values_that_mean_nothing_are_kept),
	    cmocka_unit_test(value_beside_one_that_means_nothing),
	    cmocka_unit_test(of_two_values_none_counts),
	    cmocka_unit_test(new_value_takes_the_place_of_two),
	    cmocka_unit_test(keys_get_alphabetical),
	    cmocka_unit_test(absent_values_are_left_out),
	    cmocka_unit_test(foreign_info_is_kept_until_flags_are_set),
	    cmocka_unit_test(what_is_no_name),
	    cmocka_unit_test(length_limit),
	    cmocka_unit_test(long_claim_and_small_buffers),
	    cmocka_unit_test(as_many_fields_as_a_name_holds),
	    cmocka_unit_test(order_of_service),
	    cmocka_unit_test(birth),
	    cmocka_unit_test(claims),
	    cmocka_unit_test(classes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
