/* waits: several descriptors and times, one poll(2). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <unistd.h>

#include "clock.h"
#include "waits.h"

static void comes_back_with_what_has_come(void **state)
{
	struct waits waits = {.fd = NULL};
	struct error err;
	int pipes[2];
	size_t in, out;

	(void)state;
	assert_int_equal(pipe(pipes), 0);
	for (int i = 0; i < 40; i++) {
		waits_begin(&waits, 60000);
		in = waits_add(&waits, pipes[0], POLLIN);
		out = waits_add(&waits, pipes[1], POLLOUT);
		assert_int_equal(waits_wait(&waits, &err), 0);
		assert_int_equal(waits_got(&waits, in), 0);
		assert_int_equal(waits_got(&waits, out), POLLOUT);
	}
	assert_int_equal(write(pipes[1], "x", 1), 1);
	waits_begin(&waits, 60000);
	in = waits_add(&waits, pipes[0], POLLIN);
	assert_int_equal(waits_wait(&waits, &err), 0);
	assert_int_equal(waits_got(&waits, in), POLLIN);
	(void)close(pipes[0]);
	(void)close(pipes[1]);
	waits_free(&waits);
}

static void holds_many(void **state)
{
	struct waits waits = {.fd = NULL};
	struct error err;
	int pipes[2];

	(void)state;
	assert_int_equal(pipe(pipes), 0);
	waits_begin(&waits, 0);
	for (size_t i = 0; i < 100; i++)
		assert_int_equal(waits_add(&waits, pipes[i % 2], i % 2 == 0 ? POLLIN : POLLOUT), i);
	assert_int_equal(waits_wait(&waits, &err), 0);
	for (size_t i = 0; i < 100; i++)
		assert_int_equal(waits_got(&waits, i), i % 2 == 0 ? 0 : POLLOUT);
	(void)close(pipes[0]);
	(void)close(pipes[1]);
	waits_free(&waits);
}

static void ends_at_the_first_of_its_times(void **state)
{
	struct waits waits = {.fd = NULL};
	const int64_t began_ms = clock_monotonic();
	struct error err;

	(void)state;
	waits_begin(&waits, INT64_MAX);
	waits_within(&waits, 60000);
	waits_within(&waits, 30);
	waits_within(&waits, 60000);
	assert_int_equal(waits_wait(&waits, &err), 0);
	assert_in_range(clock_monotonic() - began_ms, 29, 10000);
	waits_begin(&waits, 60000);
	waits_within(&waits, -5);
	assert_int_equal(waits_wait(&waits, &err), 0);
	assert_in_range(clock_monotonic() - began_ms, 29, 10000);
	waits_free(&waits);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(comes_back_with_what_has_come),
	    cmocka_unit_test(holds_many),
	    cmocka_unit_test(ends_at_the_first_of_its_times),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
