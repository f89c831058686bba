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

#include "place.h"
#include "state.h"

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

static bool has(const struct place *place, const char *file)
{
	return place_has(place->spool.state, file);
}

static void add(struct state *state, void *context)
{
	*state_value(state, 'S') += *(const int64_t *)context;
}

static void a_record_that_is_not_there_is_all_zero(void **state)
{
	struct place *place = *state;
	struct state record;

	assert_int_equal(state_load(&place->spool, "totals", &record, &place->err), 0);
	for (char key = 'A'; key <= 'Z'; key++)
		assert_int_equal(*state_value(&record, key), 0);
	assert_string_equal(record.file, "");
}

static void a_change_is_a_new_name(void **state)
{
	struct place *place = *state;
	struct state record;
	int64_t more = 3;

	assert_int_equal(state_update(&place->spool, "totals", add, &more, &place->err), 0);
	assert_true(has(place, "totals,S=3"));
	assert_int_equal(state_update(&place->spool, "totals", add, &more, &place->err), 0);
	assert_true(has(place, "totals,S=6"));
	assert_false(has(place, "totals,S=3"));
	assert_int_equal(state_load(&place->spool, "totals", &record, &place->err), 0);
	assert_int_equal(*state_value(&record, 'S'), 6);
	assert_string_equal(record.file, "totals,S=6");
}

static void names_that_begin_alike_are_others(void **state)
{
	struct place *place = *state;
	struct state record;
	int64_t more = 1;

	assert_int_equal(state_update(&place->spool, "relay-a", add, &more, &place->err), 0);
	more = 7;
	assert_int_equal(state_update(&place->spool, "relay", add, &more, &place->err), 0);
	assert_int_equal(state_load(&place->spool, "relay", &record, &place->err), 0);
	assert_int_equal(*state_value(&record, 'S'), 7);
	assert_int_equal(state_load(&place->spool, "relay-", &record, &place->err), 0);
	assert_int_equal(*state_value(&record, 'S'), 0);
}

static void nothing_changed_writes_nothing(void **state)
{
	struct place *place = *state;
	int64_t more = 2;
	int64_t none = 0;

	assert_int_equal(state_update(&place->spool, "totals", add, &more, &place->err), 0);
	assert_int_equal(fchmod(place->spool.state, 0500), 0);
	assert_int_equal(state_update(&place->spool, "totals", add, &none, &place->err), 0);
	assert_int_equal(fchmod(place->spool.state, 0700), 0);
}

/* As another run would, between the look and the rename. */
static void lose_once(struct state *state, void *context)
{
	struct place *place = context;

	if (strcmp(state->file, "totals,S=1") == 0)
		assert_int_equal(
		    renameat(place->spool.state, "totals,S=1", place->spool.state, "totals,S=5"),
		    0);
	*state_value(state, 'S') += 1;
}

static void a_race_that_is_lost_is_run_again(void **state)
{
	struct place *place = *state;

	assert_int_equal(state_update(&place->spool, "totals", lose_once, place, &place->err), 0);
	assert_true(has(place, "totals,S=1"));
	assert_int_equal(state_update(&place->spool, "totals", lose_once, place, &place->err), 0);
	assert_true(has(place, "totals,S=6"));
}

static void lose_for_good(struct state *state, void *context)
{
	struct place *place = context;
	static int64_t other;
	char file[64];

	(void)snprintf(file, sizeof file, "totals,S=%d", (int)++other);
	if (state->file[0] != '\0')
		assert_int_equal(
		    renameat(place->spool.state, state->file, place->spool.state, file), 0);
	*state_value(state, 'T') += 1;
}

static void a_race_without_end_is_an_error(void **state)
{
	struct place *place = *state;

	assert_int_equal(
	    state_update(&place->spool, "totals", lose_for_good, place, &place->err), -1);
	assert_non_null(strstr(place->err.text, "totals"));
}

/* What the process of PLACE signs records with. */
static int64_t signature(struct place *place)
{
	struct state record;
	int64_t more = 1;

	assert_int_equal(state_update(&place->spool, "signed", add, &more, &place->err), 0);
	assert_int_equal(state_load(&place->spool, "signed", &record, &place->err), 0);
	return *state_value(&record, 'W');
}

static void processes_of_one_number_on_two_hosts_sign_differently(void **state)
{
	struct place *place = *state;
	int64_t here;

	place->spool.shared = true;
	here = signature(place);
	assert_in_range(here, 1, 999999999);
	assert_int_equal(signature(place), here);
	place->spool.pid++;
	assert_int_not_equal(signature(place), here);
	place->spool.pid--;
	(void)snprintf(place->spool.host, sizeof place->spool.host, "elsewhere");
	assert_int_not_equal(signature(place), here);
}

/* As on NFS, where the answer to a rename is lost and the repeated call finds the name gone. */
static void lose_answer(struct state *state, void *context)
{
	struct place *place = context;
	char done[64];

	*state_value(state, 'S') += 1;
	(void)snprintf(done, sizeof done, "totals,S=%d,W=%d", (int)*state_value(state, 'S'),
	    (int)signature(place));
	if (state->file[0] != '\0')
		assert_int_equal(
		    renameat(place->spool.state, state->file, place->spool.state, done), 0);
}

static void a_change_whose_answer_is_lost_is_made_once(void **state)
{
	struct place *place = *state;
	struct state record;

	place->spool.shared = true;
	for (int i = 1; i <= 3; i++) {
		assert_int_equal(
		    state_update(&place->spool, "totals", lose_answer, place, &place->err), 0);
		assert_int_equal(state_load(&place->spool, "totals", &record, &place->err), 0);
		assert_int_equal(*state_value(&record, 'S'), i);
	}
}

/* Another run makes the very change that this one is about to make: both count. */
static void beat_once(struct state *state, void *context)
{
	struct place *place = context;

	if (strcmp(state->file, "totals,S=1,W=7") == 0)
		assert_int_equal(
		    renameat(place->spool.state, state->file, place->spool.state, "totals,S=2,W=8"),
		    0);
	*state_value(state, 'S') += 1;
}

static void make(const struct place *place, const char *file)
{
	place_touch(place->spool.state, file);
}

static void the_same_change_of_two_runs_counts_twice(void **state)
{
	struct place *place = *state;
	struct state record;

	place->spool.shared = true;
	make(place, "totals,S=1,W=7");
	assert_int_equal(state_update(&place->spool, "totals", beat_once, place, &place->err), 0);
	assert_int_equal(state_load(&place->spool, "totals", &record, &place->err), 0);
	assert_int_equal(*state_value(&record, 'S'), 3);
	assert_int_equal(*state_value(&record, 'W'), signature(place));
}

static void what_does_not_parse_means_nothing(void **state)
{
	struct place *place = *state;
	struct state record;

	make(place, "totals,S=12,x=3,T=4");
	assert_int_equal(state_load(&place->spool, "totals", &record, &place->err), 0);
	assert_int_equal(*state_value(&record, 'S'), 12);
	assert_int_equal(*state_value(&record, 'T'), 0);
	make(place, "other,S=-1");
	assert_int_equal(state_load(&place->spool, "other", &record, &place->err), 0);
	assert_int_equal(*state_value(&record, 'S'), 0);
	make(place, "big,S=99999999999999999999999999");
	assert_int_equal(state_load(&place->spool, "big", &record, &place->err), 0);
	assert_true(*state_value(&record, 'S') >= 0);
}

static void of_two_records_the_fuller_counts(void **state)
{
	struct place *place = *state;
	struct state record;

	make(place, "totals");
	make(place, "totals,S=9");
	assert_int_equal(state_load(&place->spool, "totals", &record, &place->err), 0);
	assert_int_equal(*state_value(&record, 'S'), 9);
}

/* One in the way of the other's next name, as after a copy was put back. */
static void two_records_do_not_stand_in_each_others_way(void **state)
{
	struct place *place = *state;
	int64_t more = 1;

	make(place, "totals,S=7");
	make(place, "totals,S=8");
	make(place, "totals,S=9");
	for (int64_t sum = 10; sum < 15; sum++) {
		char file[32];

		assert_int_equal(state_update(&place->spool, "totals", add, &more, &place->err), 0);
		(void)snprintf(file, sizeof file, "totals,S=%d", (int)sum);
		assert_true(has(place, file));
	}
}

static void start_anew(struct state *state, void *context)
{
	(void)context;
	if (*state_value(state, 'H') != 2)
		*state_value(state, 'S') = 0;
	*state_value(state, 'H') = 2;
	*state_value(state, 'S') += 1;
}

static void a_record_that_is_in_the_way_goes(void **state)
{
	struct place *place = *state;

	make(place, "totals,H=1,S=10");
	make(place, "totals,H=2,S=1");
	assert_int_equal(state_update(&place->spool, "totals", start_anew, NULL, &place->err), 0);
	assert_true(has(place, "totals,H=2,S=2"));
	assert_false(has(place, "totals,H=1,S=10"));
}

static void a_spool_without_the_directory_gets_it(void **state)
{
	struct place *place = *state;
	struct state record;
	struct stat st;
	int64_t more = 1;

	spool_close(&place->spool);
	assert_int_equal(chdir(place->path), 0);
	assert_int_equal(rmdir("state"), 0);
	assert_int_equal(chdir("/"), 0);
	assert_int_equal(spool_open(&place->spool, place->path, &place->err), 0);
	assert_int_equal(state_load(&place->spool, "totals", &record, &place->err), 0);
	assert_int_equal(place->spool.state, -1);
	assert_int_equal(state_update(&place->spool, "totals", add, &more, &place->err), 0);
	assert_int_equal(fstat(place->spool.state, &st), 0);
	assert_int_equal(st.st_mode & 07777, 02750);
	assert_int_equal(spool_check(&place->spool, &place->err), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(
		a_record_that_is_not_there_is_all_zero, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(a_change_is_a_new_name, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(names_that_begin_alike_are_others, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(nothing_changed_writes_nothing, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(a_race_that_is_lost_is_run_again, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(a_race_without_end_is_an_error, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(
		processes_of_one_number_on_two_hosts_sign_differently, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(
		a_change_whose_answer_is_lost_is_made_once, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(
		the_same_change_of_two_runs_counts_twice, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(what_does_not_parse_means_nothing, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(of_two_records_the_fuller_counts, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(
		two_records_do_not_stand_in_each_others_way, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(a_record_that_is_in_the_way_goes, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(
		a_spool_without_the_directory_gets_it, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
