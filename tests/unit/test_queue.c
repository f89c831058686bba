#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "queue.h"

static void offer(struct queue *queue, const char *name)
{
	struct entry entry;

	assert_true(entry_parse(name, &entry));
	assert_true(queue_add(queue, &entry));
}

static void gives_names_in_order_of_service(void **state)
{
	static const char *const order[] = {
	    "5.h,P=0",
	    "1.h,A=3,P=0",
	    "2.h,P=1",
	    "1.h",
	    "1.hh",
	    "3.h",
	    "0.h,A=1,E=4.0.0",
	    "9.h,A=1",
	    "0.h,P=9",
	};
	const size_t count = sizeof order / sizeof order[0];
	struct queue queue = {0};

	(void)state;
	for (size_t start = 0; start < count; start++) {
		queue_clear(&queue);
		for (size_t i = 0; i < count; i++)
			offer(&queue, order[(start + i * 4) % count]);
		assert_int_equal(queue_left(&queue), count);
		for (size_t i = 0; i < count; i++)
			assert_string_equal(queue_next(&queue), order[i]);
		assert_null(queue_next(&queue));
		assert_int_equal(queue_left(&queue), 0);
		assert_false(queue.truncated);
	}
	queue_free(&queue);
}

static void is_empty_at_first_and_when_cleared(void **state)
{
	struct queue queue = {0};

	(void)state;
	assert_null(queue_next(&queue));
	offer(&queue, "1.h");
	queue_clear(&queue);
	assert_int_equal(queue_left(&queue), 0);
	assert_null(queue_next(&queue));
	queue_free(&queue);
	assert_null(queue_next(&queue));
}

static void name_of(char *name, size_t size, size_t number, const char *tail)
{
	(void)snprintf(name, size, "1%09zu.M000001P1Q1.h%s", number, tail);
}

/* Offers the numbers below COUNT in a scattered order. */
static void offer_scattered(struct queue *queue, size_t count, const char *tail)
{
	char name[ENTRY_NAME_MAX + 1];

	for (size_t i = 0; i < count; i++) {
		name_of(name, sizeof name, i * 7919 % count, tail);
		offer(queue, name);
	}
}

static void expect_first(struct queue *queue, size_t count, const char *tail)
{
	char name[ENTRY_NAME_MAX + 1];

	for (size_t i = 0; i < count; i++) {
		name_of(name, sizeof name, i, tail);
		assert_string_equal(queue_next(queue), name);
	}
}

static void keeps_the_first_of_many(void **state)
{
	struct queue queue = {0};

	(void)state;
	offer_scattered(&queue, 300000, "");
	expect_first(&queue, QUEUE_KEEP, "");
	assert_null(queue_next(&queue));
	assert_true(queue.truncated);
	queue_clear(&queue);
	assert_false(queue.truncated);
	queue_free(&queue);
}

static void keeps_all_that_fit(void **state)
{
	struct queue queue = {0};

	(void)state;
	offer_scattered(&queue, QUEUE_KEEP, "");
	expect_first(&queue, QUEUE_KEEP, "");
	assert_null(queue_next(&queue));
	assert_false(queue.truncated);
	queue_free(&queue);
}

static void one_too_many_is_told(void **state)
{
	struct queue queue = {0};

	(void)state;
	offer_scattered(&queue, QUEUE_KEEP + 1, "");
	expect_first(&queue, QUEUE_KEEP, "");
	assert_null(queue_next(&queue));
	assert_true(queue.truncated);
	queue_free(&queue);
}

static void long_names_are_bounded_by_bytes(void **state)
{
	struct queue queue = {0};
	char tail[220];
	size_t kept;

	(void)state;
	memset(tail, 'x', sizeof tail - 1);
	memcpy(tail, ",A=1,S=", 7);
	tail[sizeof tail - 1] = '\0';
	offer_scattered(&queue, 100000, tail);
	assert_true(queue.text.room <= QUEUE_BYTES);
	assert_true(queue.truncated);
	kept = queue_left(&queue);
	assert_true(kept >= QUEUE_BYTES / (ENTRY_NAME_MAX + 1) / 2);
	expect_first(&queue, kept, tail);
	queue_free(&queue);
}

static void a_reset_of_a_password_passes_any_backlog(void **state)
{
	struct queue queue = {0};

	(void)state;
	offer_scattered(&queue, 200000, ",A=1,E=4.0.0,T=1");
	offer(&queue, "1999999999.M1P1Q1.h");
	offer(&queue, "1999999999.M1P1Q1.h,A=3,P=1");
	assert_string_equal(queue_next(&queue), "1999999999.M1P1Q1.h,A=3,P=1");
	assert_string_equal(queue_next(&queue), "1999999999.M1P1Q1.h");
	queue_free(&queue);
}

static int compare_names(const void *a, const void *b)
{
	struct entry x, y;

	assert_true(entry_parse(*(const char *const *)a, &x));
	assert_true(entry_parse(*(const char *const *)b, &y));
	return entry_compare(&x, &y);
}

/* Names that are nearly of the backend's make, and at the edges of the numbers. */
static void gives_each_name_as_it_was(void **state)
{
	static const char *order[] = {
	    "0795333316.M724429P1Q1.web1",
	    "1795333316.M72442P1Q1.web1",
	    "1795333316.M724429P016Q1.web1",
	    "1795333316.M724429P16122Q",
	    "1795333316.M724429P16122Q0.web1",
	    "1795333316.M724429P16122Q1.",
	    "1795333316.M724429P16122Q1.db",
	    "1795333316.M724429P16122Q1.web1",
	    "1795333316.M724429P16122Q1.web1.example.com",
	    "1795333316.M724429P16122Q10.web1",
	    "1795333316.M724429P16122Q4398046511103.web1",
	    "1795333316.M724429P16122Q4398046511104.web1",
	    "1795333316.M724429P16122Q9.web1",
	    "1795333316.M724429P4194303Q1.web1",
	    "1795333316.M724429P4194304Q1.web1",
	    "1795333316.M724429P9Q1.web1",
	    "1795333316.M724429Q1P1.web1",
	    "1795333316.M7244290P1Q1.web1",
	    "1795333317.M000000P1Q1.web1,S=5:2,",
	    "17953333170.M000000P1Q1.web1",
	    "4503599627.M370495P1Q1.web1",
	    "4503599627.M370496P1Q1.web1",
	    "9999999999.M999999P1Q1.web1",
	    "letter!",
	    "letter,S=1",
	    "1795333316.M724429P16122Q1.web1,P=7",
	};
	const size_t count = sizeof order / sizeof order[0];
	struct queue queue = {0};

	(void)state;
	qsort(order, count, sizeof order[0], compare_names);
	for (size_t start = 0; start < count; start++) {
		queue_clear(&queue);
		for (size_t i = 0; i < count; i++)
			offer(&queue, order[(start + i * 7) % count]);
		for (size_t i = 0; i < count; i++)
			assert_string_equal(queue_next(&queue), order[i]);
	}
	queue_free(&queue);
}

/* More hosts than can be told apart by a number. */
static void names_of_many_hosts_stay_apart(void **state)
{
	struct queue queue = {0};
	char name[ENTRY_NAME_MAX + 1];

	(void)state;
	for (int i = 999; i >= 0; i--) {
		(void)snprintf(name, sizeof name, "1795333316.M%06dP1Q1.web%d", i, i);
		offer(&queue, name);
	}
	for (int i = 0; i < 1000; i++) {
		(void)snprintf(name, sizeof name, "1795333316.M%06dP1Q1.web%d", i, i);
		assert_string_equal(queue_next(&queue), name);
	}
	queue_free(&queue);
}

/* Text is pruned while numbers stand between it, and nothing that was forgotten is overtaken. */
static void what_is_kept_comes_before_what_is_forgotten(void **state)
{
	const size_t count = 150000;
	struct queue queue = {0};
	char name[ENTRY_NAME_MAX + 1];
	size_t kept;

	(void)state;
	for (size_t i = 0; i < count; i++) {
		const size_t number = i * 7919 % count;

		name_of(name, sizeof name, number,
		    number % 3 == 0 ? "" : ",X=9999999999,filler=0123456789");
		offer(&queue, name);
	}
	assert_true(queue.truncated);
	kept = queue_left(&queue);
	assert_in_range(kept, QUEUE_BYTES / 100, count - 1);
	for (size_t i = 0; i < kept; i++) {
		name_of(name, sizeof name, i, i % 3 == 0 ? "" : ",X=9999999999,filler=0123456789");
		assert_string_equal(queue_next(&queue), name);
	}
	queue_free(&queue);
}

static void a_name_can_be_asked_for_by_its_place(void **state)
{
	struct queue queue = {0};

	(void)state;
	offer(&queue, "3.h");
	offer(&queue, "1.h,A=1");
	offer(&queue, "2.h");
	assert_string_equal(queue_at(&queue, 2), "1.h,A=1");
	assert_string_equal(queue_at(&queue, 0), "2.h");
	assert_string_equal(queue_next(&queue), "2.h");
	assert_string_equal(queue_at(&queue, 0), "2.h");
	assert_string_equal(queue_next(&queue), "3.h");
	queue_free(&queue);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(gives_names_in_order_of_service),
	    cmocka_unit_test(is_empty_at_first_and_when_cleared),
	    cmocka_unit_test(keeps_the_first_of_many),
	    cmocka_unit_test(keeps_all_that_fit),
	    cmocka_unit_test(one_too_many_is_told),
	    cmocka_unit_test(long_names_are_bounded_by_bytes),
	    cmocka_unit_test(gives_each_name_as_it_was),
	    cmocka_unit_test(names_of_many_hosts_stay_apart),
	    cmocka_unit_test(a_name_can_be_asked_for_by_its_place),
	    cmocka_unit_test(what_is_kept_comes_before_what_is_forgotten),
	    cmocka_unit_test(a_reset_of_a_password_passes_any_backlog),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
