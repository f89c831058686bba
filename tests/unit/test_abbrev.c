/* abbrev: how much of an id is enough. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "abbrev.h"

static size_t len_of(const struct abbrev *abbrev, const char *id)
{
	return abbrev_len(abbrev, id, strlen(id));
}

/* Adds the ids up to NULL, and sorts them. */
static void add(struct abbrev *abbrev, const char *const *ids)
{
	*abbrev = (struct abbrev){0};
	for (; *ids != NULL; ids++)
		assert_true(abbrev_add(abbrev, *ids, strlen(*ids)));
	abbrev_sort(abbrev);
}

static void meet(struct abbrev *abbrev, const char *id)
{
	abbrev_meet(abbrev, id, strlen(id));
}

static void twelve_bytes_at_least(void **state)
{
	static const char *const ids[] = {"b12345678901234", "a12345678901234", "short", NULL};
	struct abbrev abbrev;

	(void)state;
	add(&abbrev, ids);
	assert_int_equal(len_of(&abbrev, ids[0]), 12);
	assert_int_equal(len_of(&abbrev, ids[2]), 5);
	assert_int_equal(abbrev_most(&abbrev), 12);
	abbrev_free(&abbrev);
}

static void as_many_as_tell_them_apart(void **state)
{
	static const char *const ids[] = {
	    "100.M000001P1Q1.h", "200.M5P1Q1.h", "100.M000003P1Q1.h", "100.M000002P1Q1.h", NULL};
	struct abbrev abbrev;

	(void)state;
	add(&abbrev, ids);
	assert_int_equal(len_of(&abbrev, ids[0]), 12);
	meet(&abbrev, "100.M0000022P1Q1.h");
	assert_int_equal(len_of(&abbrev, ids[0]), strlen("100.M0000022"));
	meet(&abbrev, "100.M000003P1Q1.h-2");
	assert_int_equal(abbrev_most(&abbrev), strlen("100.M000003P1Q1.h"));
	assert_int_equal(len_of(&abbrev, ids[2]), strlen(ids[2]));
	abbrev_free(&abbrev);
}

/* Of all that are met, the next in order on both sides count. */
static void both_neighbours_count(void **state)
{
	static const char *const ids[] = {"ddddddddddddddddX", "ffffffffffffffffX", NULL};
	struct abbrev abbrev;

	(void)state;
	add(&abbrev, ids);
	meet(&abbrev, "ddddddddddddddA");
	assert_int_equal(abbrev_most(&abbrev), 15);
	meet(&abbrev, "ddddddddddddddddY");
	assert_int_equal(abbrev_most(&abbrev), 17);
	abbrev_free(&abbrev);
	add(&abbrev, ids);
	meet(&abbrev, "ffffffffffffffZ");
	assert_int_equal(abbrev_most(&abbrev), 15);
	meet(&abbrev, "a");
	meet(&abbrev, "z");
	assert_int_equal(abbrev_most(&abbrev), 15);
	abbrev_free(&abbrev);
}

static void the_same_id_is_no_other(void **state)
{
	static const char *const ids[] = {"a234567890123456", "a234567890123456", NULL};
	struct abbrev abbrev;

	(void)state;
	add(&abbrev, ids);
	meet(&abbrev, ids[0]);
	assert_int_equal(abbrev_most(&abbrev), 12);
	abbrev_free(&abbrev);
}

static void no_character_is_cut_in_two(void **state)
{
	static const char *const ids[] = {"12345678901\xe4\xbd\xa0xyz", "2", NULL};
	struct abbrev abbrev;

	(void)state;
	add(&abbrev, ids);
	assert_int_equal(len_of(&abbrev, ids[0]), 14);
	abbrev_free(&abbrev);
}

static void none_is_no_harm(void **state)
{
	static const char *const ids[] = {NULL};
	struct abbrev abbrev;

	(void)state;
	add(&abbrev, ids);
	meet(&abbrev, "a");
	assert_int_equal(abbrev_most(&abbrev), 0);
	abbrev_free(&abbrev);
}

static void too_many_are_shown_whole(void **state)
{
	struct abbrev abbrev = {0};
	char id[256];
	int len = 0;

	(void)state;
	for (int i = 0; i < 40000; i++) {
		len = snprintf(id, sizeof id, "%05d%0240d", i, 0);
		assert_true(abbrev_add(&abbrev, id, (size_t)len));
	}
	abbrev_sort(&abbrev);
	meet(&abbrev, id);
	assert_true(abbrev.full && abbrev.used <= ABBREV_BYTES);
	assert_int_equal(len_of(&abbrev, id), len);
	assert_int_equal(abbrev_most(&abbrev), len);
	abbrev_free(&abbrev);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(twelve_bytes_at_least),
	    cmocka_unit_test(as_many_as_tell_them_apart),
	    cmocka_unit_test(both_neighbours_count),
	    cmocka_unit_test(the_same_id_is_no_other),
	    cmocka_unit_test(no_character_is_cut_in_two),
	    cmocka_unit_test(none_is_no_harm),
	    cmocka_unit_test(too_many_are_shown_whole),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
