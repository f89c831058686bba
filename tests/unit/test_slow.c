#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "slow.h"

#define SECOND INT64_C(1000000)
#define NOW    (INT64_C(1763790000) * SECOND)
#define RATE   (10 * SECOND) /* ten a second */

/* The number of single recipients that go from BEGIN to END, as fast as they may. */
static int64_t drive(struct slow *slow, int64_t begin, int64_t end)
{
	int64_t sent = 0;

	for (int64_t now = begin; now < end; now += 1000)
		while (slow_until(slow) <= now && slow_per_second(slow, now) != INT64_MAX) {
			slow_take(slow, 1, now);
			sent++;
		}
	return sent;
}

static void nobody_asked_nothing_waits(void **state)
{
	struct slow slow = {0};

	(void)state;
	for (int i = 0; i < 100; i++)
		slow_take(&slow, 1000, NOW);
	assert_true(slow_until(&slow) <= NOW);
	assert_int_equal(slow_per_second(&slow, NOW), INT64_MAX);
}

static void a_complaint_halves_the_rate(void **state)
{
	struct slow slow = {0};

	(void)state;
	assert_true(slow_down(&slow, RATE, 0, NOW));
	assert_int_equal(slow_until(&slow), NOW + SECOND / 5);
	assert_in_range(drive(&slow, NOW, NOW + SECOND), 4, 5);
}

static void complaints_in_one_second_count_once(void **state)
{
	struct slow slow = {0};

	(void)state;
	assert_true(slow_down(&slow, RATE, 0, NOW));
	for (int i = 1; i < 50; i++)
		assert_false(slow_down(&slow, RATE, 0, NOW + i * 20000 - 1));
	assert_int_equal(slow_per_second(&slow, NOW), 5);
	assert_true(slow_down(&slow, RATE, 0, NOW + SECOND));
	assert_int_equal(slow_per_second(&slow, NOW + SECOND), 2);
}

static void it_is_back_in_a_minute_by_equal_steps(void **state)
{
	struct slow slow = {0};
	int64_t last = 3;

	(void)state;
	assert_true(slow_down(&slow, RATE, 0, NOW));
	assert_true(slow_down(&slow, RATE, 0, NOW + SECOND));
	for (int i = 1; i <= 4; i++) {
		const int64_t begin = NOW + i * 10 * SECOND;
		const int64_t sent = drive(&slow, begin, begin + SECOND);

		assert_in_range(sent, last + 1, last + 3);
		last = sent;
	}
	assert_int_equal(slow_per_second(&slow, NOW + 60 * SECOND), 10);
	assert_int_equal(slow_per_second(&slow, NOW + 61 * SECOND), INT64_MAX);
}

/* However often it is asked: one in ten seconds. */
static void there_is_a_floor(void **state)
{
	struct slow slow = {0};
	int64_t now = NOW;

	(void)state;
	for (int i = 0; i < 50; i++, now += SECOND)
		(void)slow_down(&slow, SECOND, 0, now);
	assert_in_range(slow_until(&slow) - now, 8 * SECOND, 10 * SECOND);
}

/* A rate that is slower than the floor is kept, not exceeded. */
static void a_slow_rate_stays(void **state)
{
	struct slow slow = {0};

	(void)state;
	assert_true(slow_down(&slow, SECOND / 3600, 0, NOW));
	assert_true(slow_until(&slow) >= NOW + 3600 * SECOND);
}

static void without_a_rate_the_pace_is_measured(void **state)
{
	struct slow slow = {0};

	(void)state;
	for (int i = 0; i < 200; i++) /* of a minute ago, no more of interest */
		slow_take(&slow, 1, NOW - 60 * SECOND + i);
	for (int i = 0; i < 400; i++)
		slow_take(&slow, 2, NOW + i * SECOND / 40);
	assert_true(slow_down(&slow, 0, 0, NOW + 10 * SECOND - 1));
	assert_in_range(slow_per_second(&slow, NOW + 10 * SECOND), 39, 41);
}

static void in_the_first_second_what_was_sent_is_the_pace(void **state)
{
	struct slow slow = {0};
	struct slow unused = {0};

	(void)state;
	slow_take(&slow, 30, NOW);
	assert_true(slow_down(&slow, 0, 0, NOW + SECOND / 2));
	assert_int_equal(slow_per_second(&slow, NOW + SECOND / 2), 15);
	assert_true(slow_down(&unused, 0, 0, NOW));
	assert_int_equal(slow_until(&unused), NOW + 10 * SECOND);
}

static void recipients_count_and_not_messages(void **state)
{
	struct slow slow = {0};

	(void)state;
	assert_true(slow_down(&slow, RATE, 0, NOW));
	slow_take(&slow, 50, NOW + SECOND);
	assert_in_range(slow_until(&slow) - NOW, 10 * SECOND, 11 * SECOND);
}

static void retry_after_is_obeyed(void **state)
{
	struct slow slow = {0};

	(void)state;
	assert_true(slow_down(&slow, RATE, 30, NOW));
	assert_int_equal(slow_until(&slow), NOW + 30 * SECOND);
	assert_false(slow_down(&slow, RATE, 10, NOW + SECOND / 2));
	assert_int_equal(slow_until(&slow), NOW + 30 * SECOND);
	assert_false(slow_down(&slow, RATE, 40, NOW + SECOND / 2));
	assert_int_equal(slow_until(&slow), NOW + 40 * SECOND + SECOND / 2);
	(void)slow_down(&slow, RATE, INT64_MAX, NOW + 5 * SECOND);
	assert_int_equal(slow_until(&slow), NOW + 5 * SECOND + 86400 * SECOND);
}

static void a_clock_set_back_changes_nothing(void **state)
{
	const int64_t shift = 7200 * SECOND;
	struct slow slow = {0};

	(void)state;
	slow_take(&slow, 100, NOW);
	assert_true(slow_down(&slow, RATE, 30, NOW));
	slow_shift(&slow, shift);
	assert_int_equal(slow_until(&slow), NOW - shift + 30 * SECOND);
	assert_int_equal(slow_per_second(&slow, NOW - shift), 5);
	assert_int_equal(slow_per_second(&slow, NOW - shift + 61 * SECOND), INT64_MAX);
	slow_take(&slow, 6, NOW - shift);
	assert_true(slow_down(&slow, 0, 0, NOW - shift + 70 * SECOND));
	assert_int_equal(slow_per_second(&slow, NOW - shift + 70 * SECOND), 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(nobody_asked_nothing_waits),
	    cmocka_unit_test(a_complaint_halves_the_rate),
	    cmocka_unit_test(complaints_in_one_second_count_once),
	    cmocka_unit_test(it_is_back_in_a_minute_by_equal_steps),
	    cmocka_unit_test(there_is_a_floor),
	    cmocka_unit_test(a_slow_rate_stays),
	    cmocka_unit_test(without_a_rate_the_pace_is_measured),
	    cmocka_unit_test(in_the_first_second_what_was_sent_is_the_pace),
	    cmocka_unit_test(recipients_count_and_not_messages),
	    cmocka_unit_test(retry_after_is_obeyed),
	    cmocka_unit_test(a_clock_set_back_changes_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
