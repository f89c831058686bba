#include <setjmp.h>
#include <stdalign.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "arena.h"

static void pieces_are_aligned_and_apart(void **state)
{
	struct arena arena = {0};
	char *piece[200];

	(void)state;
	for (size_t i = 0; i < 200; i++) {
		piece[i] = arena_alloc(&arena, i + 1);
		assert_non_null(piece[i]);
		assert_int_equal((uintptr_t)piece[i] % alignof(max_align_t), 0);
		memset(piece[i], (int)i, i + 1);
	}
	for (size_t i = 0; i < 200; i++)
		for (size_t j = 0; j <= i; j++)
			assert_int_equal((unsigned char)piece[i][j], i);
	arena_free(&arena);
}

static void copies_end_in_a_nul(void **state)
{
	struct arena arena = {0};

	(void)state;
	assert_string_equal(arena_copy(&arena, "text and more", 4), "text");
	assert_string_equal(arena_copy(&arena, "", 0), "");
	arena_free(&arena);
}

static void a_piece_may_be_larger_than_a_block(void **state)
{
	struct arena arena = {0};
	char *small = arena_copy(&arena, "small", 5);
	char *large = arena_alloc(&arena, 1 << 20);

	(void)state;
	assert_non_null(large);
	memset(large, 'x', 1 << 20);
	assert_string_equal(small, "small");
	arena_free(&arena);
}

static size_t fill(struct arena *arena, size_t piece)
{
	size_t count = 0;

	while (arena_alloc(arena, piece) != NULL)
		count++;
	return count;
}

static void there_is_an_upper_bound(void **state)
{
	struct arena arena = {0};

	(void)state;
	assert_null(arena_alloc(&arena, ARENA_MAX + 1));
	assert_null(arena_alloc(&arena, SIZE_MAX));
	assert_null(arena_alloc(&arena, SIZE_MAX - 7));
	assert_int_equal(fill(&arena, 1 << 20), ARENA_MAX >> 20);
	assert_null(arena_alloc(&arena, 1));
	assert_null(arena_copy(&arena, "x", 1));
	arena_reset(&arena);
	/* Odd sizes take their alignment too: together they stay within it. */
	assert_true(fill(&arena, 999) <= ARENA_MAX / 999);
	arena_free(&arena);
}

static void a_reset_gives_all_again(void **state)
{
	struct arena arena = {0};
	const char *first = arena_alloc(&arena, 100);

	(void)state;
	for (int round = 0; round < 3; round++) {
		arena_reset(&arena);
		assert_int_equal(arena.given, 0);
		assert_ptr_equal(arena_alloc(&arena, 100), first);
		(void)fill(&arena, 100000);
	}
	arena_free(&arena);
	arena_reset(&arena);
	arena_free(&arena);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(pieces_are_aligned_and_apart),
	    cmocka_unit_test(copies_end_in_a_nul),
	    cmocka_unit_test(a_piece_may_be_larger_than_a_block),
	    cmocka_unit_test(there_is_an_upper_bound),
	    cmocka_unit_test(a_reset_gives_all_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
