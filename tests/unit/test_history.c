#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "history.h"
#include "place.h"

static struct relay_config relays[2] = {
    {.name = (char *)(uintptr_t) "main"}, {.name = (char *)(uintptr_t) "main-2"}};
static const struct config config = {.relay = relays, .relay_count = 2};

static int set_up(void **state)
{
	static struct place place;

	place_make(&place);
	*state = &place;
	return 0;
}

static int tear_down(void **state)
{
	return place_remove(*state);
}

static struct history load(struct place *place)
{
	struct history history;

	assert_int_equal(history_load(&place->spool, &config, &history, &place->err), 0);
	return history;
}

static bool has(const struct place *place, const char *file)
{
	return place_has(place->spool.state, file);
}

static void saw(struct place *place, const char *relay, bool up, bool accepted, int64_t now)
{
	const struct history_seen seen = {up, accepted, now};

	assert_int_equal(history_saw(&place->spool, relay, &seen, &place->err), 0);
}

static void there_is_none_yet(void **state)
{
	const struct history history = load(*state);

	assert_int_equal(history.totals.sent, 0);
	assert_int_equal(history.run.ended, 0);
	assert_int_equal(history.run.status, -1);
	assert_int_equal(history.relay_count, 2);
	assert_string_equal(history.relay[0].name, "main");
	assert_false(history.relay[0].tried);
}

static void totals_add_up_and_the_last_run_counts(void **state)
{
	struct place *place = *state;
	const struct history_totals first = {3, 2, 1};
	const struct history_totals second = {10, 0, 0};
	const struct history_run run = {.ended = 1000, .took = 250, .status = 0};
	const struct history_run next = {.ended = 1060, .took = 7, .status = 75};
	struct history history;

	assert_int_equal(history_add(&place->spool, &first, &run, &place->err), 0);
	assert_int_equal(history_add(&place->spool, &second, &next, &place->err), 0);
	assert_true(has(place, "totals,D=2,F=1,S=13"));
	assert_true(has(place, "run,D=7,T=1060"));
	history = load(place);
	assert_int_equal(history.totals.sent, 13);
	assert_int_equal(history.totals.deferred, 2);
	assert_int_equal(history.totals.failed, 1);
	assert_int_equal(history.run.ended, 1060);
	assert_int_equal(history.run.took, 7);
}

static void a_relay_is_up_since_its_turn(void **state)
{
	struct place *place = *state;
	struct history history;

	saw(place, "main", false, false, 1000);
	saw(place, "main", true, true, 1120);
	assert_true(has(place, "relay-main,B=1120,S=1120,U=1"));
	saw(place, "main", true, false, 1180);
	assert_true(has(place, "relay-main,B=1120,S=1120,U=1"));
	saw(place, "main", true, true, 1240);
	assert_true(has(place, "relay-main,B=1120,S=1240,U=1"));
	saw(place, "main", false, true, 1300);
	history = load(place);
	assert_true(history.relay[0].tried);
	assert_false(history.relay[0].up);
	assert_int_equal(history.relay[0].since, 1300);
	assert_int_equal(history.relay[0].accepted, 1300);
	assert_false(history.relay[1].tried);
}

static void a_relay_that_is_down_is_tried_less_and_less(void **state)
{
	static const int64_t minutes[] = {1, 2, 4, 8, 15, 15, 15};
	struct place *place = *state;
	int64_t now = 1000;

	for (size_t i = 0; i < sizeof minutes / sizeof minutes[0]; i++, now += 60) {
		saw(place, "main", false, false, now);
		assert_int_equal(load(place).relay[0].retry_at, now + 60 * minutes[i]);
		assert_int_equal(load(place).relay[0].since, 1000);
	}
	assert_true(has(place, "relay-main,B=1000,F=7,P=2260"));
	saw(place, "main", true, false, 3000);
	assert_true(has(place, "relay-main,B=3000,U=1"));
	saw(place, "main", false, false, 3060);
	assert_int_equal(load(place).relay[0].retry_at, 3120);
}

static void nothing_new_is_not_written(void **state)
{
	struct place *place = *state;
	struct stat before;
	struct stat after;

	saw(place, "main", true, false, 1000);
	assert_int_equal(fstat(place->spool.state, &before), 0);
	saw(place, "main", true, false, 1060);
	assert_int_equal(fstat(place->spool.state, &after), 0);
	assert_memory_equal(&before.st_mtim, &after.st_mtim, sizeof before.st_mtim);
}

/* Only where there is a quota: what else is in the record is of no interest. */
static void the_quota_is_counted(void **state)
{
	struct place *place = *state;
	char file[64];

	(void)snprintf(file, sizeof file, "pace-main,A=7,C=5,Z=%d", (int)(time(NULL) / 5400));
	place_touch(place->spool.state, file);
	assert_int_equal(load(place).relay[0].used, 0);
	relays[0].quota = (struct relay_limit){100, 86400};
	relays[0].rate = (struct relay_limit){14, 1};
	assert_int_equal(load(place).relay[0].used, 12);
	assert_int_equal(load(place).relay[0].quota.count, 100);
	assert_int_equal(load(place).relay[0].rate.count, 14);
	assert_int_equal(load(place).relay[1].used, 0);
	relays[0].quota = (struct relay_limit){0};
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
	    TEST(there_is_none_yet),
	    TEST(totals_add_up_and_the_last_run_counts),
	    TEST(a_relay_is_up_since_its_turn),
	    TEST(a_relay_that_is_down_is_tried_less_and_less),
	    TEST(nothing_new_is_not_written),
	    TEST(the_quota_is_counted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
