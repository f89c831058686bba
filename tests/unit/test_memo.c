/* memo: what is remembered of names. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>

#include "memo.h"

#define MANY 100000

static const char *name_of(size_t i, char name[64])
{
	(void)snprintf(name, 64, "1795333316.M%06zuP%zuQ%zu.web1", i, i % 7, i);
	return name;
}

static void remembers_nothing_at_first(void **state)
{
	const struct memo memo = {.slot = NULL};

	(void)state;
	assert_int_equal(memo_get(&memo, "a"), MEMO_UNKNOWN);
}

static void remembers_each_value_there_can_be(void **state)
{
	struct memo memo = {.slot = NULL};
	char name[64];

	(void)state;
	for (size_t i = 0; i < MEMO_VALUES; i++)
		memo_put(&memo, name_of(i, name), i);
	for (size_t i = 0; i < MEMO_VALUES; i++)
		assert_int_equal(memo_get(&memo, name_of(i, name)), i);
	assert_int_equal(memo_get(&memo, name_of(MEMO_VALUES, name)), MEMO_UNKNOWN);
	memo_free(&memo);
}

static void remembers_the_last_of_a_name(void **state)
{
	struct memo memo = {.slot = NULL};

	(void)state;
	memo_put(&memo, "a", 3);
	memo_put(&memo, "a", 0);
	assert_int_equal(memo_get(&memo, "a"), 0);
	assert_int_equal(memo.count, 1);
	memo_free(&memo);
}

static void remembers_many_and_forgets_all(void **state)
{
	struct memo memo = {.slot = NULL};
	char name[64];

	(void)state;
	for (size_t i = 0; i < MANY; i++)
		memo_put(&memo, name_of(i, name), i % MEMO_VALUES);
	for (size_t i = 0; i < MANY; i++)
		assert_int_equal(memo_get(&memo, name_of(i, name)), i % MEMO_VALUES);
	memo_clear(&memo);
	for (size_t i = 0; i < MANY; i++)
		assert_int_equal(memo_get(&memo, name_of(i, name)), MEMO_UNKNOWN);
	memo_free(&memo);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(remembers_nothing_at_first),
	    cmocka_unit_test(remembers_each_value_there_can_be),
	    cmocka_unit_test(remembers_the_last_of_a_name),
	    cmocka_unit_test(remembers_many_and_forgets_all),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
