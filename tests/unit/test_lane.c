/* lane: which relay a message goes by, and which names wait for it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "clock.h"
#include "lane.h"

#define LANES 4
#define MANY  5000

struct choice {
	struct relay_config relay[LANES];
	struct lane lane[LANES];
	size_t member[LANES];
	struct route_rank rank[2];
	struct route_ranks ranks;
};

/* Two ranks: 0, 1, 2 with weights 3, 1, 1; then 3. */
static void set_up(struct choice *choice)
{
	static const unsigned weights[LANES] = {3, 1, 1, 1};

	memset(choice, 0, sizeof *choice);
	for (size_t i = 0; i < LANES; i++) {
		choice->relay[i].weight = weights[i];
		choice->lane[i].relay = &choice->relay[i];
		choice->member[i] = i;
	}
	choice->rank[0] = (struct route_rank){.relay = choice->member, .count = 3};
	choice->rank[1] = (struct route_rank){.relay = choice->member + 3, .count = 1};
	choice->ranks = (struct route_ranks){.rank = choice->rank, .count = 2};
}

static size_t choose(struct choice *choice, uint64_t size, size_t hint)
{
	size_t found = SIZE_MAX;

	assert_int_equal(lane_choose(choice->lane, &choice->ranks, size, hint, &found), LANE_FOUND);
	return found;
}

static void count_turns(struct choice *choice, size_t turns, size_t count[LANES])
{
	memset(count, 0, LANES * sizeof *count);
	for (size_t i = 0; i < turns; i++)
		count[choose(choice, 1, SIZE_MAX)]++;
}

static void equals_share_by_weight(void **state)
{
	struct choice choice;
	size_t count[LANES];

	(void)state;
	set_up(&choice);
	for (int round = 0; round < 10; round++) {
		count_turns(&choice, 5, count);
		assert_int_equal(count[0], 3);
		assert_int_equal(count[1], 1);
		assert_int_equal(count[2], 1);
		assert_int_equal(count[3], 0);
	}
}

static void who_is_out_gets_nothing(void **state)
{
	struct choice choice;
	size_t count[LANES];

	(void)state;
	set_up(&choice);
	choice.lane[0].state = LANE_OUT;
	count_turns(&choice, 10, count);
	assert_int_equal(count[1], 5);
	assert_int_equal(count[2], 5);
	choice.lane[1].state = choice.lane[2].state = LANE_OUT;
	count_turns(&choice, 10, count);
	assert_int_equal(count[3], 10);
}

static void who_rests_comes_last(void **state)
{
	struct choice choice;

	(void)state;
	set_up(&choice);
	for (size_t i = 0; i < 3; i++)
		choice.lane[i].resting = true;
	assert_int_equal(choose(&choice, 1, SIZE_MAX), 3);
	choice.lane[3].state = LANE_OUT;
	assert_int_equal(choose(&choice, 1, SIZE_MAX), 0);
}

static void who_has_rested_enough_goes_first_again(void **state)
{
	struct choice choice;

	(void)state;
	set_up(&choice);
	for (size_t i = 0; i < 3; i++) {
		choice.lane[i].rests_until = clock_now() + 100;
		lane_look_again(&choice.lane[i]);
	}
	assert_int_equal(choose(&choice, 1, SIZE_MAX), 3);
	choice.lane[1].rests_until = clock_now() - 1;
	lane_look_again(&choice.lane[1]);
	assert_int_equal(choose(&choice, 1, SIZE_MAX), 1);
}

/* But the next rank is for relays that are down, not for those that had enough. */
static void who_has_had_enough_leaves_it_to_its_equals(void **state)
{
	struct choice choice;
	size_t count[LANES];

	(void)state;
	set_up(&choice);
	choice.lane[0].over = true;
	count_turns(&choice, 10, count);
	assert_int_equal(count[1], 5);
	assert_int_equal(count[2], 5);
	choice.lane[1].over = choice.lane[2].over = true;
	count_turns(&choice, 5, count);
	assert_int_equal(count[0], 3);
	assert_int_equal(count[3], 0);
}

static void a_hint_is_taken_while_it_is_of_use(void **state)
{
	struct choice choice;

	(void)state;
	set_up(&choice);
	for (int i = 0; i < 9; i++)
		assert_int_equal(choose(&choice, 1, 2), 2);
	assert_int_equal(choose(&choice, 1, 3), 0);
	choice.lane[2].state = LANE_OUT;
	assert_int_not_equal(choose(&choice, 1, 2), 2);
}

static void size_decides(void **state)
{
	struct choice choice;
	size_t found;

	(void)state;
	set_up(&choice);
	for (size_t i = 0; i < LANES; i++)
		choice.relay[i].message_size = i == 3 ? 200 : 100;
	assert_int_equal(choose(&choice, 100, SIZE_MAX), 0);
	assert_int_equal(choose(&choice, 101, SIZE_MAX), 3);
	assert_int_equal(choose(&choice, 200, SIZE_MAX), 3);
	assert_int_equal(
	    lane_choose(choice.lane, &choice.ranks, 201, SIZE_MAX, &found), LANE_TOO_SMALL);
	choice.lane[3].state = LANE_OUT;
	assert_int_equal(lane_choose(choice.lane, &choice.ranks, 101, SIZE_MAX, &found), LANE_NONE);
}

static void the_first_of_use_are_wanted(void **state)
{
	struct choice choice;

	(void)state;
	set_up(&choice);
	choice.lane[0].state = LANE_OUT;
	lane_want(choice.lane, &choice.ranks);
	assert_false(choice.lane[0].wanted);
	assert_true(choice.lane[1].wanted);
	assert_true(choice.lane[2].wanted);
	assert_false(choice.lane[3].wanted);
}

static void names_wait_in_their_order(void **state)
{
	struct choice choice;
	struct lane *lane = &choice.lane[0];
	size_t place;

	(void)state;
	set_up(&choice);
	for (size_t i = 0; i < MANY; i++)
		assert_true(lane_park(lane, i * 3));
	assert_int_equal(lane_parked(lane), MANY);
	for (size_t i = 0; i < MANY; i++) {
		assert_true(lane_unpark(lane, &place));
		assert_int_equal(place, i * 3);
	}
	assert_false(lane_unpark(lane, &place));
	assert_true(lane_park(lane, 7));
	lane_forget_parked(lane);
	assert_int_equal(lane_parked(lane), 0);
	lane_free(lane);
}

static void messages_wait_in_their_order(void **state)
{
	struct choice choice;
	struct lane *lane = &choice.lane[0];
	struct message message[3];

	(void)state;
	set_up(&choice);
	for (size_t i = 0; i < 3; i++)
		lane_hold(lane, &message[i]);
	assert_int_equal(lane->waiting_count, 3);
	lane_unhold(lane, &message[1]);
	assert_ptr_equal(lane_take_held(lane), &message[0]);
	assert_ptr_equal(lane_take_held(lane), &message[2]);
	assert_null(lane_take_held(lane));
	assert_int_equal(lane->waiting_count, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(equals_share_by_weight),
	    cmocka_unit_test(who_is_out_gets_nothing),
	    cmocka_unit_test(who_rests_comes_last),
	    cmocka_unit_test(who_has_rested_enough_goes_first_again),
	    cmocka_unit_test(who_has_had_enough_leaves_it_to_its_equals),
	    cmocka_unit_test(a_hint_is_taken_while_it_is_of_use),
	    cmocka_unit_test(size_decides),
	    cmocka_unit_test(the_first_of_use_are_wanted),
	    cmocka_unit_test(names_wait_in_their_order),
	    cmocka_unit_test(messages_wait_in_their_order),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
