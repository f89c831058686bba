#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "retry.h"

#define NOW 1763790000

static const struct retry schedule = {{60, 300, 86400}, 3};

static void one_attempt_more_than_delays(void **state)
{
	const struct retry none = {{0}, 0};

	(void)state;
	assert_false(retry_exhausted(&schedule, 0));
	assert_false(retry_exhausted(&schedule, 3));
	assert_true(retry_exhausted(&schedule, 4));
	assert_true(retry_exhausted(&schedule, 999999));
	assert_false(retry_exhausted(&none, 0));
	assert_true(retry_exhausted(&none, 1));
}

static void spread_reaches_both_ends(void **state)
{
	(void)state;
	for (unsigned attempts = 1; attempts <= 3; attempts++) {
		int64_t delay = schedule.delay[attempts - 1];
		int64_t least = INT64_MAX, most = 0;

		for (uint32_t random = 0; random < 100000; random++) {
			int64_t next = retry_next(&schedule, attempts, NOW, random) - NOW;

			assert_true(NOW + next <= retry_latest(&schedule, NOW));
			least = next < least ? next : least;
			most = next > most ? next : most;
		}
		assert_int_equal(least, delay - delay / 10);
		assert_int_equal(most, delay + delay / 10);
	}
}

/* Ten slices of the range get about a tenth each: the backlog is spread, not moved. */
static void spread_is_even(void **state)
{
	unsigned slice[10] = {0};
	uint32_t random = 1;

	(void)state;
	for (unsigned i = 0; i < 100000; i++) {
		int64_t next;

		random = random * 1664525 + 1013904223;
		next = retry_next(&schedule, 3, NOW, random >> 8) - NOW - (86400 - 8640);
		slice[next * 10 / (2 * 8640 + 1)]++;
	}
	for (unsigned i = 0; i < 10; i++)
		assert_in_range(slice[i], 9000, 11000);
}

static void short_delays_and_large_numbers(void **state)
{
	const struct retry tiny = {{0, 1, 9}, 3};

	(void)state;
	assert_int_equal(retry_next(&tiny, 1, NOW, UINT32_MAX), NOW);
	assert_int_equal(retry_next(&tiny, 2, NOW, UINT32_MAX), NOW + 1);
	assert_int_equal(retry_next(&tiny, 3, NOW, UINT32_MAX), NOW + 9);
	assert_in_range(retry_next(&schedule, 1, NOW, UINT32_MAX), NOW + 54, NOW + 66);
}

static void the_last_attempt_follows_all_delays(void **state)
{
	const struct retry retry = {{1, 20, 300}, 3};

	(void)state;
	assert_int_equal(retry_last(&retry, 1, NOW), NOW + 320);
	assert_int_equal(retry_last(&retry, 2, NOW), NOW + 300);
	assert_int_equal(retry_last(&retry, 3, NOW), NOW);
	assert_int_equal(retry_last(&retry, 99, NOW), NOW);
	assert_int_equal(retry_last(&retry, 1, INT64_MAX), INT64_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(one_attempt_more_than_delays),
	    cmocka_unit_test(spread_reaches_both_ends),
	    cmocka_unit_test(spread_is_even),
	    cmocka_unit_test(short_delays_and_large_numbers),
	    cmocka_unit_test(the_last_attempt_follows_all_delays),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
