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
	(void)snprintf(name, size, "%09zu.M1P1Q1.h%s", number, tail);
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
	memcpy(tail, ",S=", 3);
	tail[sizeof tail - 1] = '\0';
	offer_scattered(&queue, 100000, tail);
	assert_true(queue.bytes_room <= QUEUE_BYTES);
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
	offer(&queue, "999999999.M1P1Q1.h");
	offer(&queue, "999999999.M1P1Q1.h,A=3,P=1");
	assert_string_equal(queue_next(&queue), "999999999.M1P1Q1.h,A=3,P=1");
	assert_string_equal(queue_next(&queue), "999999999.M1P1Q1.h");
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
	    cmocka_unit_test(a_reset_of_a_password_passes_any_backlog),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
