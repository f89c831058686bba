#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "confvalue.h"
#include "entry.h"
#include "pace.h"
#include "place.h"
#include "state.h"

#define SECOND METER_SECOND
#define NOW    (INT64_C(1763790000) * SECOND)
#define HOUR   (3600 * SECOND)
#define DAY    (24 * HOUR)
#define LATE   1000 /* microseconds by which a slot may be late and is not lost */
#define HOSTS  3
#define SENT   20000

static const struct meter_limits none = {0};
static const struct meter_limits fourteen = {.rate = 14, .seconds = 1};
static const struct meter_limits ten_an_hour = {.rate = 10, .seconds = 3600};
static const struct meter_limits hundred_a_day = {.quota = 100};

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

static void open_pace(struct pace *pace, struct spool *spool, const struct meter_limits *limits)
{
	const struct relay_config relay = {.name = (char *)(uintptr_t) "main",
	    .rate = {limits->rate, limits->seconds},
	    .quota = {limits->quota, 86400}};

	pace_open(pace, spool, &relay);
}

static struct pace opened(struct place *place, const struct meter_limits *limits)
{
	struct pace pace;

	open_pace(&pace, &place->spool, limits);
	return pace;
}

static int64_t wait_ms(struct place *place, struct pace *pace, int64_t now)
{
	enum pace_hold hold;
	const int64_t ms = pace_wait_ms(pace, now, &hold, &place->err);

	assert_int_not_equal(ms, -1);
	assert_true((ms == 0) == (hold == PACE_FREE));
	return ms;
}

static enum pace_hold held_by(struct place *place, struct pace *pace, int64_t now)
{
	enum pace_hold hold;

	assert_int_not_equal(pace_wait_ms(pace, now, &hold, &place->err), -1);
	return hold;
}

static bool takes(struct place *place, struct pace *pace, int64_t recipients, int64_t now)
{
	const int taken = pace_take(pace, recipients, now, &place->err);

	assert_int_not_equal(taken, -1);
	return taken == 1;
}

static void closes(struct place *place, struct pace *pace, int64_t now)
{
	assert_int_equal(pace_close(pace, now, &place->err), 0);
}

static struct state record(struct place *place)
{
	struct state state;

	assert_int_equal(state_load(&place->spool, "pace-main", &state, &place->err), 0);
	return state;
}

static int64_t value(struct place *place, char key)
{
	struct state state = record(place);

	return *state_value(&state, key);
}

static int64_t used(struct place *place, const struct meter_limits *limits, int64_t now)
{
	const struct relay_config relay = {
	    .name = (char *)(uintptr_t) "main", .quota = {limits->quota, 86400}};
	int64_t recipients = -1;

	assert_int_equal(pace_used(&place->spool, &relay, now, &recipients, &place->err), 0);
	return recipients;
}

/* Takes single recipients from *NOW to END, each as soon as it may; how many. */
static int drive(struct place *place, struct pace *pace, int64_t *now, int64_t end)
{
	int sent = 0;

	while (*now < end) {
		const int64_t ms = wait_ms(place, pace, *now);

		if (ms == 0 && takes(place, pace, 1, *now))
			sent++;
		else
			*now += (ms > 0 ? ms : 1) * 1000;
	}
	return sent;
}

static void without_limits_no_state_is_touched(void **state)
{
	struct place *place = *state;
	struct pace pace = opened(place, &none);
	const int fd = place->spool.state;

	place->spool.state = 9999; /* any use of it fails */
	for (int i = 0; i < 100; i++) {
		assert_int_equal(wait_ms(place, &pace, NOW), 0);
		assert_true(takes(place, &pace, 1000, NOW));
	}
	closes(place, &pace, NOW);
	place->spool.state = fd;
}

static void a_rate_is_held_and_used_up(void **state)
{
	struct place *place = *state;
	struct pace pace = opened(place, &fourteen);
	int64_t now = NOW;

	assert_in_range(drive(place, &pace, &now, NOW + 10 * SECOND), 139, 141);
}

static void a_second_of_slots_costs_one_change(void **state)
{
	struct place *place = *state;
	struct pace pace = opened(place, &fourteen);
	char file[ENTRY_NAME_MAX + 1];
	int64_t now = NOW;

	assert_true(takes(place, &pace, 1, now));
	(void)snprintf(file, sizeof file, "%s", record(place).file);
	assert_int_equal(value(place, 'T'), NOW - LATE + SECOND);
	assert_int_equal(drive(place, &pace, &now, NOW + SECOND - 2 * LATE), 13);
	assert_string_equal(record(place).file, file);
}

/* Two runs, one behind the other. */
static void what_is_left_is_given_back(void **state)
{
	struct place *place = *state;
	struct pace first = opened(place, &fourteen);
	struct pace second = opened(place, &fourteen);
	int64_t now = NOW;

	assert_true(takes(place, &first, 1, NOW));
	assert_int_equal(wait_ms(place, &second, NOW), 999);
	closes(place, &first, NOW);
	assert_int_equal(value(place, 'R'), 1);
	second = opened(place, &fourteen);
	assert_in_range(wait_ms(place, &second, NOW), 70, 72);
	assert_in_range(drive(place, &second, &now, NOW + SECOND - 2 * LATE), 13, 13);
}

static void slow_rates_lose_nothing(void **state)
{
	struct place *place = *state;
	int64_t now = NOW;
	int sent = 0;

	for (; now < NOW + 10 * HOUR; now += 60 * SECOND) {
		struct pace pace = opened(place, &ten_an_hour);
		int64_t at = now;

		sent += drive(place, &pace, &at, now + 50 * SECOND);
		closes(place, &pace, at);
	}
	assert_in_range(sent, 99, 101);
}

static void nothing_is_saved_up(void **state)
{
	struct place *place = *state;
	struct pace pace = opened(place, &fourteen);
	int64_t now = NOW;

	assert_true(takes(place, &pace, 1, now));
	now += HOUR;
	assert_in_range(drive(place, &pace, &now, now + SECOND), 14, 15);
	now += SECOND / 2;
	assert_in_range(drive(place, &pace, &now, now + SECOND / 2), 7, 8);
}

static void many_recipients_take_as_many_slots(void **state)
{
	struct place *place = *state;
	struct pace pace = opened(place, &ten_an_hour);

	assert_true(takes(place, &pace, 50, NOW));
	assert_in_range(wait_ms(place, &pace, NOW), 5 * HOUR / 1000 - 1, 5 * HOUR / 1000);
	assert_false(takes(place, &pace, 1, NOW + 5 * HOUR - SECOND));
	closes(place, &pace, NOW);
	pace = opened(place, &ten_an_hour);
	assert_false(takes(place, &pace, 1, NOW + 5 * HOUR - SECOND));
	assert_true(takes(place, &pace, 1, NOW + 5 * HOUR));
}

/* What is in stock is used for it, and the rest taken anew. */
static void many_recipients_use_what_is_in_stock(void **state)
{
	struct place *place = *state;
	struct pace pace = opened(place, &fourteen);

	assert_true(takes(place, &pace, 4, NOW));
	assert_true(takes(place, &pace, 28, NOW + SECOND / 2));
	assert_in_range(wait_ms(place, &pace, NOW + SECOND / 2), 1999, 2000);
	assert_int_equal(value(place, 'R'), 28);
}

/* Slots that another run has taken stay its own when this one is killed, or ends later. */
static void nobody_gives_back_what_is_behind_another(void **state)
{
	struct place *place = *state;
	struct pace first = opened(place, &fourteen);
	struct pace second = opened(place, &fourteen);
	int64_t next;

	place->spool.shared = true;
	assert_true(takes(place, &first, 1, NOW));
	assert_true(takes(place, &second, 1, NOW + SECOND));
	next = value(place, 'T');
	closes(place, &first, NOW + SECOND / 10);
	assert_int_equal(value(place, 'T'), next);
	assert_false(takes(place, &first, 14, NOW + SECOND + SECOND / 10));
}

static void a_killed_run_makes_nothing_faster(void **state)
{
	struct place *place = *state;
	int64_t now = NOW;
	int sent = 0;

	for (int i = 0; i < 40; i++) {
		struct pace pace = opened(place, &fourteen);

		sent += drive(place, &pace, &now, now + SECOND / 4);
	}
	assert_in_range(sent, 30, 141);
}

static void the_quota_is_held(void **state)
{
	struct place *place = *state;
	int64_t now = NOW;
	int sent = 0;

	for (; now < NOW + DAY; now += 60 * SECOND) {
		struct pace pace = opened(place, &hundred_a_day);

		while (takes(place, &pace, 3, now))
			sent += 3;
		closes(place, &pace, now);
	}
	assert_int_equal(sent, 99);
	assert_int_equal(used(place, &hundred_a_day, now), 99);
}

/* Also where there is less room than a run takes ahead. */
static void the_last_of_the_quota_is_used(void **state)
{
	struct place *place = *state;
	const struct meter_limits limits = {.quota = 10000};
	struct pace pace = opened(place, &limits);
	int64_t now = NOW;

	assert_true(takes(place, &pace, 9995, NOW));
	assert_int_equal(drive(place, &pace, &now, NOW + SECOND), 5);
	assert_int_equal(used(place, &limits, NOW), 10000);
}

static void it_is_said_what_holds(void **state)
{
	struct place *place = *state;
	const struct meter_limits both = {.rate = 14, .seconds = 1, .quota = 5};
	struct pace pace = opened(place, &both);

	assert_int_equal(held_by(place, &pace, NOW), PACE_FREE);
	assert_true(takes(place, &pace, 3, NOW));
	assert_int_equal(held_by(place, &pace, NOW + 1), PACE_RATE);
	assert_false(takes(place, &pace, 3, NOW + SECOND));
	assert_int_equal(held_by(place, &pace, NOW + SECOND), PACE_QUOTA);
	assert_in_range(
	    wait_ms(place, &pace, NOW + SECOND), DAY / 1000 - 1000, DAY / 1000 + 5400000);
	closes(place, &pace, NOW + SECOND);
	pace = opened(place, &both);
	assert_int_equal(held_by(place, &pace, NOW + 2 * SECOND), PACE_FREE);
	assert_true(takes(place, &pace, 2, NOW + 2 * SECOND));
	pace = opened(place, &both);
	assert_int_equal(held_by(place, &pace, NOW + 5 * SECOND), PACE_QUOTA);
	assert_false(pace_slow(&pace, 0, NOW) && pace_slow(&pace, 0, NOW));
	assert_true(pace_slow(&pace, 86400 * 3, NOW + 9 * SECOND));
	assert_int_equal(held_by(place, &pace, NOW + 10 * SECOND), PACE_QUOTA);
	pace = opened(place, &none);
	assert_true(pace_slow(&pace, 30, NOW));
	assert_int_equal(held_by(place, &pace, NOW), PACE_ASKED);
	assert_int_equal(wait_ms(place, &pace, NOW), 30000);
	assert_false(takes(place, &pace, 1, NOW + 30 * SECOND - 1));
	assert_true(takes(place, &pace, 1, NOW + 30 * SECOND));
}

static void what_the_relay_asks_for_holds_beside_the_rate(void **state)
{
	struct place *place = *state;
	struct pace pace = opened(place, &fourteen);
	int64_t now = NOW;

	assert_in_range(drive(place, &pace, &now, NOW + 5 * SECOND), 69, 71);
	assert_true(pace_slow(&pace, 0, now));
	assert_in_range(drive(place, &pace, &now, NOW + 6 * SECOND), 6, 8);
	now = NOW + 120 * SECOND;
	assert_in_range(drive(place, &pace, &now, NOW + 125 * SECOND), 69, 71);
}

static void without_a_rate_half_of_what_was_sent_goes_on(void **state)
{
	struct place *place = *state;
	struct pace pace = opened(place, &none);
	int64_t now = NOW;

	for (; now < NOW + 10 * SECOND; now += SECOND / 10)
		assert_true(takes(place, &pace, 3, now));
	assert_true(pace_slow(&pace, 0, now));
	assert_in_range(drive(place, &pace, &now, NOW + 11 * SECOND), 13, 16);
}

static void a_clock_set_back_shifts_what_was_asked_for(void **state)
{
	struct place *place = *state;
	struct pace pace = opened(place, &none);

	assert_true(pace_slow(&pace, 30, NOW));
	assert_int_equal(wait_ms(place, &pace, NOW - HOUR), 30000);
}

/* It goes alone rather than never. */
static void a_message_beyond_the_quota_takes_all_of_it(void **state)
{
	struct place *place = *state;
	struct pace pace = opened(place, &hundred_a_day);

	assert_int_equal(pace_message_max(&pace), 100);
	assert_true(takes(place, &pace, 250, NOW));
	assert_int_equal(used(place, &hundred_a_day, NOW), 100);
	assert_false(takes(place, &pace, 1, NOW));
	pace = opened(place, &none);
	assert_true(pace_message_max(&pace) > 1000000);
}

static void what_was_not_sent_has_room_again(void **state)
{
	struct place *place = *state;
	struct pace pace = opened(place, &hundred_a_day);

	assert_true(takes(place, &pace, 100, NOW));
	pace_give(&pace, 40, NOW);
	closes(place, &pace, NOW);
	assert_int_equal(used(place, &hundred_a_day, NOW), 60);
	assert_true(takes(place, &pace, 40, NOW));
	pace_give(&pace, 40, NOW - DAY);
	closes(place, &pace, NOW);
	assert_int_equal(used(place, &hundred_a_day, NOW), 100);
}

static void a_slot_that_was_not_used_is_free_again(void **state)
{
	struct place *place = *state;
	struct pace pace = opened(place, &ten_an_hour);

	assert_true(takes(place, &pace, 3, NOW));
	assert_int_not_equal(wait_ms(place, &pace, NOW), 0);
	pace_give(&pace, 3, NOW);
	assert_int_equal(wait_ms(place, &pace, NOW + 1), 0);
	closes(place, &pace, NOW + 2);
	pace = opened(place, &ten_an_hour);
	assert_true(takes(place, &pace, 1, NOW + 3));
	assert_in_range(wait_ms(place, &pace, NOW + 3), 359000, 360000);
	pace = opened(place, &none);
	assert_true(pace_slow(&pace, 0, NOW));
	assert_true(takes(place, &pace, 1, NOW + 10 * SECOND));
	pace_give(&pace, 1, NOW + 10 * SECOND);
	assert_int_equal(wait_ms(place, &pace, NOW + 10 * SECOND), 0);
}

/* Else two would go at once: the later one had its slot behind the other's. */
static void only_the_last_slot_is_free_again(void **state)
{
	struct place *place = *state;
	struct pace pace = opened(place, &fourteen);

	assert_true(takes(place, &pace, 1, NOW));
	assert_true(takes(place, &pace, 1, NOW + SECOND / 2));
	pace_give(&pace, 1, NOW);
	assert_in_range(wait_ms(place, &pace, NOW + SECOND / 2), 70, 72);
	pace_give(&pace, 1, NOW + SECOND / 2);
	assert_int_equal(wait_ms(place, &pace, NOW + SECOND / 2), 0);
	pace_give(&pace, 1, NOW + SECOND / 2);
	assert_true(takes(place, &pace, 1, NOW + SECOND / 2));
	assert_int_not_equal(wait_ms(place, &pace, NOW + SECOND / 2), 0);
}

/* Credit that was taken in one bucket is not used in the next, where it would be forgotten early.
 */
static void credit_moves_on_to_the_next_bucket(void **state)
{
	struct place *place = *state;
	const struct meter_limits limits = {.quota = 10000};
	const int64_t turn = (meter_bucket(NOW) + 1) * METER_BUCKET_SECONDS * SECOND;
	struct pace pace = opened(place, &limits);

	assert_true(takes(place, &pace, 1, turn - 1));
	assert_int_equal(used(place, &limits, turn - 1), 10);
	assert_true(takes(place, &pace, 1, turn));
	closes(place, &pace, turn);
	assert_int_equal(used(place, &limits, turn), 2);
	assert_int_equal(value(place, (char)('A' + meter_bucket(turn) % METER_BUCKETS)), 1);
	assert_int_equal(value(place, (char)('A' + meter_bucket(turn - 1) % METER_BUCKETS)), 1);
}

static void a_wrong_clock_of_long_ago_stops_nothing(void **state)
{
	struct place *place = *state;
	const struct meter_limits both = {.rate = 14, .seconds = 1, .quota = 100};
	struct pace pace = opened(place, &both);

	assert_true(takes(place, &pace, 1, NOW + 3650 * DAY));
	pace = opened(place, &both);
	assert_in_range(wait_ms(place, &pace, NOW), 1, 1000);
	pace = opened(place, &both);
	assert_true(takes(place, &pace, 1, NOW + SECOND));
	/* Also where the first to look is one that takes. */
	assert_true(takes(place, &pace, 1, NOW + 3650 * DAY));
	pace = opened(place, &both);
	assert_false(takes(place, &pace, 1, NOW));
	assert_true(takes(place, &pace, 1, NOW + SECOND));
	/* What the clock took for a day of ten years ago is forgotten. */
	assert_int_equal(used(place, &both, NOW + SECOND), 2);
}

static void a_clock_set_back_under_a_run_stops_nothing(void **state)
{
	struct place *place = *state;
	struct pace pace = opened(place, &fourteen);
	int64_t now = NOW;

	(void)drive(place, &pace, &now, NOW + 2 * SECOND + SECOND / 2);
	now = NOW - HOUR / 2;
	assert_in_range(wait_ms(place, &pace, now), 1, 1000);
	assert_in_range(drive(place, &pace, &now, NOW - HOUR / 2 + 10 * SECOND), 126, 141);
}

/* In a shared spool an hour may be a difference of clocks; a day is a wrong one. */
static void clocks_that_differ_are_borne_with(void **state)
{
	struct place *place = *state;
	struct pace ahead = opened(place, &fourteen);
	struct pace behind = opened(place, &fourteen);

	place->spool.shared = true;
	assert_true(takes(place, &ahead, 1, NOW + HOUR / 2));
	assert_in_range(wait_ms(place, &behind, NOW), HOUR / 2000, HOUR / 2000 + 1000);
	assert_true(takes(place, &ahead, 1, NOW + DAY));
	behind = opened(place, &fourteen);
	assert_in_range(wait_ms(place, &behind, NOW), 1, 1000);
}

static void what_can_not_be_written_is_not_taken(void **state)
{
	struct place *place = *state;
	struct pace pace = opened(place, &fourteen);
	const int fd = place->spool.state;

	assert_true(takes(place, &pace, 14, NOW));
	place->spool.state = 9999;
	assert_int_equal(pace_take(&pace, 1, NOW + 2 * SECOND, &place->err), -1);
	assert_non_null(strstr(place->err.text, place->path));
	pace = opened(place, &fourteen);
	assert_int_equal(pace_take(&pace, 1, NOW + 2 * SECOND, &place->err), -1);
	place->spool.state = fd;
	assert_true(takes(place, &pace, 1, NOW + 2 * SECOND));
}

static void the_longest_record_fits_a_name(void **state)
{
	struct place *place = *state;
	const struct relay_config relay = {
	    .name = (char *)(uintptr_t) "a-relay-with-a-name-of-32-letter",
	    .rate = {METER_RATE_MAX, 1},
	    .quota = {METER_QUOTA_MAX, 86400}};
	struct pace pace;
	struct state found;
	int64_t now = NOW;

	place->spool.shared = true;
	pace_open(&pace, &place->spool, &relay);
	for (int i = 0; i < METER_BUCKETS; i++, now += METER_BUCKET_SECONDS * SECOND)
		assert_true(takes(place, &pace, i < 9 ? 1000000 : 100000, now));
	assert_int_equal(state_load(&place->spool, pace.record, &found, &place->err), 0);
	assert_int_equal(strlen(relay.name), CONFVALUE_NAME_MAX);
	assert_in_range(strlen(found.file), 230, ENTRY_NAME_MAX);
	assert_int_equal(*state_value(&found, 'R'), 100000);
	assert_int_equal(*state_value(&found, 'Z'), meter_bucket(now) - 1);
}

/* ---- any order of events ---- */

struct sent {
	int64_t at;
	int64_t recipients;
};

struct world {
	struct place *place;
	struct spool spool[HOSTS];
	struct pace pace[HOSTS];
	struct meter_limits limits;
	int64_t now;
	int64_t skew; /* by which the clock of each host is ahead of that of the one before it */
	struct sent sent[SENT];
	size_t count;
};

static int64_t any(int64_t most)
{
	return random() % most;
}

static void begin_run(struct world *world, int host)
{
	open_pace(&world->pace[host], &world->spool[host], &world->limits);
}

/* A week after another, which counts no more. */
static void begin(struct world *world, struct place *place, const struct meter_limits *limits)
{
	const int64_t now = (world->now > NOW ? world->now : NOW) + 7 * DAY;

	*world = (struct world){.place = place, .limits = *limits, .now = now};
	for (int i = 0; i < HOSTS; i++) {
		world->spool[i] = place->spool;
		world->spool[i].shared = true;
		world->spool[i].pid = 100 + i;
		begin_run(world, i);
	}
}

/* A run is killed, ends, or takes what a message needs, which it may not need after all. */
static void act(struct world *world, int host, int64_t recipients)
{
	struct pace *pace = &world->pace[host];
	const int64_t now = world->now + world->skew * host;

	if (any(50) == 0) {
		if (any(2) == 0)
			closes(world->place, pace, now);
		begin_run(world, host);
	}
	if (world->count == SENT || wait_ms(world->place, pace, now) > 0 ||
	    !takes(world->place, pace, recipients, now))
		return;
	if (any(20) == 0)
		pace_give(pace, recipients, now);
	else
		world->sent[world->count++] = (struct sent){world->now, recipients};
}

/* In no window are there more than what the rate allows, and OVER. */
static void check_rate(const struct world *world, int64_t over)
{
	for (size_t i = 0; i < world->count; i++) {
		int64_t recipients = 0;

		for (size_t j = i; j < world->count && j < i + 300; j++) {
			recipients += world->sent[j].recipients;
			assert_true(meter_length(&world->limits, recipients - over) <=
				    world->sent[j].at - world->sent[i].at + LATE +
					world->skew * (HOSTS - 1));
		}
	}
}

static void check_quota(const struct world *world)
{
	int64_t recipients = 0;
	size_t first = 0;

	for (size_t i = 0; i < world->count; i++) {
		recipients += world->sent[i].recipients;
		while (world->sent[first].at <= world->sent[i].at - DAY)
			recipients -= world->sent[first++].recipients;
		assert_true(recipients <= world->limits.quota);
	}
}

static int64_t sum(const struct world *world)
{
	int64_t recipients = 0;

	for (size_t i = 0; i < world->count; i++)
		recipients += world->sent[i].recipients;
	return recipients;
}

static struct world world;

/* Messages to one at any time, from runs of three hosts that end or are killed. */
static void no_window_has_more_than_the_rate(void **state)
{
	const struct meter_limits rates[] = {{.rate = 14, .seconds = 1},
	    {.rate = 200, .seconds = 60}, {.rate = 2000, .seconds = 3600},
	    {.rate = 999, .seconds = 1}};

	srandom(6);
	for (size_t i = 0; i < sizeof rates / sizeof rates[0]; i++) {
		const int64_t length = meter_length(&rates[i], 1) + SECOND / 100;

		begin(&world, *state, &rates[i]);
		for (int step = 0; step < 2000; step++) {
			world.now += any(length);
			act(&world, (int)any(HOSTS), 1);
		}
		check_rate(&world, 1);
		assert_true(world.count > 300);
	}
}

/* What may be sent early is what the rate gives in the time by which the clocks differ. */
static void clocks_that_differ_by_seconds_keep_the_rate(void **state)
{
	srandom(9);
	begin(&world, *state, &fourteen);
	world.skew = 2 * SECOND;
	for (int step = 0; step < 10000; step++) {
		world.now += any(SECOND / 14);
		act(&world, (int)any(HOSTS), 1);
	}
	check_rate(&world, 1);
	assert_true(world.count > 1000);
}

/* One run that always has mail loses next to nothing. */
static void a_busy_run_keeps_the_rate(void **state)
{
	struct place *place = *state;
	const struct meter_limits limits = {.rate = 200, .seconds = 60};
	struct pace pace = opened(place, &limits);
	int64_t now = NOW;

	assert_in_range(drive(place, &pace, &now, NOW + 600 * SECOND), 1990, 2001);
}

/* The last one may be ahead of its slots. */
static void messages_to_many_keep_the_rate(void **state)
{
	srandom(7);
	begin(&world, *state, &fourteen);
	for (int step = 0; step < 4000; step++) {
		world.now += any(SECOND / 7);
		act(&world, (int)any(HOSTS), 1 + any(50));
	}
	check_rate(&world, 50);
	assert_true(sum(&world) > 1000);
}

static void no_day_has_more_than_the_quota(void **state)
{
	const struct meter_limits quotas[] = {
	    {.quota = 100}, {.quota = 5000}, {.rate = 300, .seconds = 3600, .quota = 2000}};

	srandom(8);
	for (size_t i = 0; i < sizeof quotas / sizeof quotas[0]; i++) {
		begin(&world, *state, &quotas[i]);
		for (int step = 0; step < 3000; step++) {
			const int64_t recipients = 1 + any(quotas[i].quota / 50);

			world.now += any(5 * DAY / 3000 * 2);
			act(&world, (int)any(HOSTS), recipients);
		}
		check_quota(&world);
		/* No more than a portion is lost by each run that is killed, and some by the
		 * buckets. */
		assert_true(sum(&world) > 3 * quotas[i].quota);
	}
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
	    TEST(without_limits_no_state_is_touched),
	    TEST(a_rate_is_held_and_used_up),
	    TEST(a_second_of_slots_costs_one_change),
	    TEST(what_is_left_is_given_back),
	    TEST(slow_rates_lose_nothing),
	    TEST(nothing_is_saved_up),
	    TEST(many_recipients_take_as_many_slots),
	    TEST(many_recipients_use_what_is_in_stock),
	    TEST(nobody_gives_back_what_is_behind_another),
	    TEST(a_killed_run_makes_nothing_faster),
	    TEST(the_quota_is_held),
	    TEST(the_last_of_the_quota_is_used),
	    TEST(it_is_said_what_holds),
	    TEST(what_the_relay_asks_for_holds_beside_the_rate),
	    TEST(without_a_rate_half_of_what_was_sent_goes_on),
	    TEST(a_clock_set_back_shifts_what_was_asked_for),
	    TEST(a_message_beyond_the_quota_takes_all_of_it),
	    TEST(what_was_not_sent_has_room_again),
	    TEST(a_slot_that_was_not_used_is_free_again),
	    TEST(only_the_last_slot_is_free_again),
	    TEST(credit_moves_on_to_the_next_bucket),
	    TEST(a_wrong_clock_of_long_ago_stops_nothing),
	    TEST(a_clock_set_back_under_a_run_stops_nothing),
	    TEST(clocks_that_differ_are_borne_with),
	    TEST(what_can_not_be_written_is_not_taken),
	    TEST(the_longest_record_fits_a_name),
	    TEST(no_window_has_more_than_the_rate),
	    TEST(clocks_that_differ_by_seconds_keep_the_rate),
	    TEST(a_busy_run_keeps_the_rate),
	    TEST(messages_to_many_keep_the_rate),
	    TEST(no_day_has_more_than_the_quota),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
