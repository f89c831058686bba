#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "skip.h"

static void remembers_names(void **state)
{
	struct skip skip = {.seed = 7};

	(void)state;
	assert_false(skip_has(&skip, "a"));
	assert_true(skip_add(&skip, "a"));
	assert_false(skip_add(&skip, "a"));
	assert_true(skip_has(&skip, "a"));
	assert_false(skip_has(&skip, "b"));
	assert_false(skip_has(&skip, ""));
	assert_true(skip_add(&skip, ""));
	assert_true(skip_has(&skip, ""));
	skip_free(&skip);
	assert_false(skip_has(&skip, "a"));
	skip_free(&skip);
}

static void grows(void **state)
{
	struct skip skip = {.seed = 1};
	char name[32];

	(void)state;
	for (int i = 0; i < 20000; i++) {
		(void)snprintf(name, sizeof name, "name-%d", i);
		assert_true(skip_add(&skip, name));
	}
	for (int i = 0; i < 40000; i++) {
		(void)snprintf(name, sizeof name, "name-%d", i);
		assert_int_equal(skip_has(&skip, name), i < 20000);
	}
	assert_true(skip.count * 2 <= skip.room);
	skip_free(&skip);
}

static void memory_is_bounded(void **state)
{
	struct skip skip = {.seed = 3};
	char name[32];

	(void)state;
	for (size_t i = 0; i < SKIP_MAX + 1000; i++) {
		(void)snprintf(name, sizeof name, "%zu", i);
		assert_true(skip_add(&skip, name));
	}
	assert_int_equal(skip.count, SKIP_MAX);
	assert_true(skip_has(&skip, "0"));
	/* One too many is told each time, never lost in an endless look for a free place. */
	(void)snprintf(name, sizeof name, "%zu", SKIP_MAX + 500);
	assert_false(skip_has(&skip, name));
	assert_true(skip_add(&skip, name));
	skip_free(&skip);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(remembers_names),
	    cmocka_unit_test(grows),
	    cmocka_unit_test(memory_is_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
