#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "meter.h"

#define NOW    (INT64_C(1763790000) * METER_SECOND)
#define BUCKET (METER_BUCKET_SECONDS * METER_SECOND)
#define DAY    (INT64_C(86400) * METER_SECOND)

static const struct meter_limits fourteen = {.rate = 14, .seconds = 1};
static const struct meter_limits hundred = {.quota = 100};

static void lengths_are_rounded_up(void **state)
{
	const struct meter_limits slow = {.rate = 10, .seconds = 3600};
	const struct meter_limits fastest = {.rate = METER_RATE_MAX, .seconds = METER_SECONDS_MAX};

	(void)state;
	assert_int_equal(meter_length(&fourteen, 1), 71429);
	assert_int_equal(meter_length(&fourteen, 14), 1000000);
	assert_int_equal(meter_length(&slow, 1), 360 * METER_SECOND);
	assert_int_equal(meter_length(&slow, 10000), 3600000 * METER_SECOND);
	assert_int_equal(meter_length(&fastest, METER_RATE_MAX), DAY);
	assert_int_equal(meter_length(&hundred, 7), 0);
}

static void what_fits_is_left_alone(void **state)
{
	struct meter meter = {.next = NOW + 71429, .ahead = 1, .newest = meter_bucket(NOW)};

	(void)state;
	meter.count[3] = 9;
	assert_false(meter_settle(&meter, &fourteen, NOW, 0));
	assert_int_equal(meter.next, NOW + 71429);
	assert_int_equal(meter_used(&meter), 9);
}

/* Whatever the record says, it was written before now, and before it the slots were free. */
static void a_time_in_the_future_is_what_the_rate_explains(void **state)
{
	struct meter meter = {.next = NOW + 365 * DAY, .ahead = 14, .newest = meter_bucket(NOW)};

	(void)state;
	assert_true(meter_settle(&meter, &fourteen, NOW, 0));
	assert_int_equal(meter.next, NOW + METER_SECOND);
	meter.next = NOW + 3 * METER_SECOND;
	assert_false(meter_settle(&meter, &fourteen, NOW, 2 * METER_SECOND));
	assert_true(meter_settle(&meter, &fourteen, NOW, METER_SECOND));
	assert_int_equal(meter.next, NOW + METER_SECOND);
}

static void absurd_numbers_stop_nothing_for_long(void **state)
{
	const int64_t absurd = INT64_C(999999999999999999);
	struct meter meter = {.next = absurd, .ahead = absurd, .newest = absurd};
	const struct meter_limits limits = {.rate = 14, .seconds = 1, .quota = METER_QUOTA_MAX};

	(void)state;
	for (int i = 0; i < METER_BUCKETS; i++)
		meter.count[i] = absurd;
	assert_true(meter_settle(&meter, &limits, NOW, 0));
	assert_true(meter.next < NOW + DAY);
	assert_int_equal(meter_used(&meter), METER_QUOTA_MAX);
	assert_int_equal(meter.newest, meter_bucket(NOW));
	assert_true(meter_room_at(&meter, &limits, 1) > NOW + DAY);
	assert_true(meter_room_at(&meter, &limits, 1) <= NOW + DAY + BUCKET);
}

/* Also when it stands in several buckets, none of which is too full by itself. */
static void counts_beyond_any_quota_are_mended_once(void **state)
{
	struct meter meter = {.newest = meter_bucket(NOW)};

	(void)state;
	meter.count[0] = METER_QUOTA_MAX - 1;
	meter.count[1] = 2;
	assert_true(meter_settle(&meter, &hundred, NOW, 0));
	assert_int_equal(meter_used(&meter), METER_QUOTA_MAX);
	assert_false(meter_settle(&meter, &hundred, NOW, 0));
}

static void a_recipient_counts_for_a_day_and_at_most_a_bucket_more(void **state)
{
	(void)state;
	for (int64_t at = NOW; at < NOW + 2 * BUCKET; at += BUCKET / 7) {
		struct meter meter = {.newest = meter_bucket(at)};

		meter_count(&meter, meter.newest, 100);
		assert_false(meter_settle(&meter, &hundred, at + DAY, 0));
		assert_int_equal(meter_used(&meter), 100);
		assert_in_range(
		    meter_room_at(&meter, &hundred, 1), at + DAY + 1, at + DAY + BUCKET);
		assert_false(
		    meter_settle(&meter, &hundred, meter_room_at(&meter, &hundred, 1) - 1, 0));
		assert_int_equal(meter_used(&meter), 100);
		assert_false(meter_settle(&meter, &hundred, meter_room_at(&meter, &hundred, 1), 0));
		assert_int_equal(meter_used(&meter), 0);
	}
}

static void room_comes_with_the_oldest_bucket_that_suffices(void **state)
{
	const int64_t newest = meter_bucket(NOW);
	struct meter meter = {.newest = newest};

	(void)state;
	meter_count(&meter, newest - 16, 10);
	meter_count(&meter, newest - 3, 50);
	meter_count(&meter, newest, 40);
	assert_int_equal(meter_used(&meter), 100);
	assert_int_equal(meter_room_at(&meter, &hundred, 0), 0);
	assert_int_equal(meter_room_at(&meter, &hundred, 10), (newest + 1) * BUCKET);
	assert_int_equal(meter_room_at(&meter, &hundred, 11), (newest + 14) * BUCKET);
	assert_int_equal(meter_room_at(&meter, &hundred, 100), (newest + 17) * BUCKET);
	assert_int_equal(meter_room_at(&meter, &fourteen, 1000), 0);
}

static void what_is_forgotten_is_not_counted(void **state)
{
	const int64_t newest = meter_bucket(NOW);
	struct meter meter = {.newest = newest};

	(void)state;
	meter_count(&meter, newest - METER_BUCKETS, 5);
	meter_count(&meter, newest + 1, 5);
	assert_int_equal(meter_used(&meter), 0);
	meter_count(&meter, newest, 5);
	meter_count(&meter, newest, -7);
	assert_int_equal(meter_used(&meter), 0);
}

/* A clock that differs by an hour neither forgets nor keeps for ever. */
static void a_clock_set_back_counts_longer_not_shorter(void **state)
{
	struct meter meter = {.newest = meter_bucket(NOW)};

	(void)state;
	meter_count(&meter, meter.newest, 60);
	assert_false(meter_settle(&meter, &hundred, NOW - BUCKET, 0));
	assert_int_equal(meter.newest, meter_bucket(NOW));
	assert_true(meter_settle(&meter, &hundred, NOW - 2 * BUCKET, 0));
	assert_int_equal(meter.newest, meter_bucket(NOW - 2 * BUCKET));
	assert_int_equal(meter_used(&meter), 60);
	assert_false(meter_settle(&meter, &hundred, NOW - 2 * BUCKET + DAY, 0));
	assert_int_equal(meter_used(&meter), 60);
	assert_false(meter_settle(&meter, &hundred, NOW - BUCKET + DAY, 0));
	assert_int_equal(meter_used(&meter), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(lengths_are_rounded_up),
	    cmocka_unit_test(what_fits_is_left_alone),
	    cmocka_unit_test(a_time_in_the_future_is_what_the_rate_explains),
	    cmocka_unit_test(absurd_numbers_stop_nothing_for_long),
	    cmocka_unit_test(counts_beyond_any_quota_are_mended_once),
	    cmocka_unit_test(a_recipient_counts_for_a_day_and_at_most_a_bucket_more),
	    cmocka_unit_test(room_comes_with_the_oldest_bucket_that_suffices),
	    cmocka_unit_test(what_is_forgotten_is_not_counted),
	    cmocka_unit_test(a_clock_set_back_counts_longer_not_shorter),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
