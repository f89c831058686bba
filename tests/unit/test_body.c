#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "body.h"

#define SMALL_MAX 6 /* length of the strings that are all tried */
#define OUT_MAX	  4096

struct bytes {
	char at[OUT_MAX];
	size_t len;
};

/*
 * The slow reference. First the lines: an array where each has its end cut off. Then what goes on
 * the wire for each, with and without the doubled dot.
 */
static void reference(const char *in, size_t len, bool counted, struct bytes *out, size_t *size)
{
	size_t i = 0;

	out->len = *size = 0;
	while (i < len) {
		size_t start = i;

		while (i < len && in[i] != '\r' && in[i] != '\n')
			i++;
		if (!counted && i > start && in[start] == '.')
			out->at[out->len++] = '.';
		for (size_t j = start; j < i; j++)
			out->at[out->len++] = in[j];
		out->at[out->len++] = '\r';
		out->at[out->len++] = '\n';
		*size += i - start + 2;
		i += i + 1 < len && in[i] == '\r' && in[i + 1] == '\n' ? 2 : 1;
	}
}

/* Line by line: each ends in CRLF there and in LF here. In two pieces, parted within a CRLF too. */
static void check_decoded(const struct bytes *wire, size_t cut)
{
	struct bytes expected = {.len = 0}, got = *wire;
	size_t len;

	for (size_t i = 0; i < wire->len; i++)
		if (i + 1 == wire->len || memcmp(wire->at + i, "\r\n", 2) != 0)
			expected.at[expected.len++] = wire->at[i];
	len = body_decode(got.at, cut);
	memmove(got.at + len, wire->at + cut, wire->len - cut);
	len += body_decode(got.at + len, wire->len - cut);
	assert_int_equal(len, expected.len);
	assert_memory_equal(got.at, expected.at, len);
}

/* Encodes and measures IN in pieces that end at CUT, and compares both with the reference. */
static void check_form(const char *in, size_t len, bool counted, const size_t *cut, size_t cuts)
{
	struct body body = {.counted = counted}, measured = {0};
	struct body_size size = {0};
	struct bytes expected, got = {.len = 0};
	size_t expected_size, from = 0;

	reference(in, len, counted, &expected, &expected_size);
	for (size_t i = 0; i <= cuts; i++) {
		size_t to = i < cuts ? cut[i] : len;
		size_t n = body_encode(&body, in + from, to - from, got.at + got.len);

		assert_true(n <= BODY_GROWTH * (to - from));
		got.len += n;
		body_measure(&measured, in + from, to - from, &size);
		from = to;
	}
	got.len += body_finish(&body, got.at + got.len);
	body_measure_end(&measured, &size);
	assert_int_equal(got.len, expected.len);
	assert_memory_equal(got.at, expected.at, expected.len);
	assert_int_equal(size.wire, expected_size);
	assert_int_equal(body.wire, expected_size);
	for (size_t i = 0; cuts == 1 && i <= got.len; i++)
		check_decoded(&got, i);
	assert_int_equal(body_finish(&body, got.at), 0);
}

static void check_cuts(const char *in, size_t len, const size_t *cut, size_t cuts)
{
	check_form(in, len, false, cut, cuts);
	check_form(in, len, true, cut, cuts);
}

static void check_all_cuts(const char *in, size_t len)
{
	check_cuts(in, len, NULL, 0);
	for (size_t a = 0; a <= len; a++) {
		check_cuts(in, len, &a, 1);
		for (size_t b = a; b <= len; b++)
			check_cuts(in, len, (const size_t[]){a, b}, 2);
	}
}

static void every_small_string_at_every_cut(void **state)
{
	const char alphabet[] = "\r\n.a";
	char in[SMALL_MAX];

	(void)state;
	for (size_t len = 0; len <= SMALL_MAX; len++)
		for (unsigned n = 0; n < 1U << 2 * len; n++) {
			for (size_t i = 0; i < len; i++)
				in[i] = alphabet[n >> 2 * i & 3];
			check_all_cuts(in, len);
		}
}

static void long_random_text(void **state)
{
	const char alphabet[] = "\r\n.abcdefghijklm";
	char in[OUT_MAX / BODY_GROWTH - 2];
	unsigned random = 12345;

	(void)state;
	for (unsigned round = 0; round < 400; round++) {
		size_t cut[2];

		for (size_t i = 0; i < sizeof in; i++) {
			random = random * 1103515245 + 12345;
			in[i] = alphabet[(random >> 16) % (round % 2 ? 4 : 16)];
		}
		cut[0] = random % sizeof in;
		cut[1] = cut[0] + (random >> 8) % (sizeof in - cut[0]);
		check_cuts(in, sizeof in, cut, 2);
	}
}

/* The encoder must write no byte more than it says: OUT is a heap block of just the promised size.
 */
static void output_fits_what_the_header_promises(void **state)
{
	const char in[] = ".\n.\n.\n\n\n\n.";
	size_t len = sizeof in - 1;
	char *exact = malloc(BODY_GROWTH * len);
	struct body body = {0};

	(void)state;
	assert_non_null(exact);
	assert_true(body_encode(&body, in, len, exact) <= BODY_GROWTH * len);
	free(exact);
}

static void no_end_of_data_can_be_smuggled(void **state)
{
	const char *const tries[] = {"a\n.\na", "a\r.\ra", "a\n.\r\na", "a\r\n.\ra", "a\r\r.\r\ra",
	    "a\n\r.\n\ra", "a\r\n.\r\nMAIL FROM:<x>"};
	char out[64];

	(void)state;
	for (size_t i = 0; i < sizeof tries / sizeof tries[0]; i++) {
		struct body body = {0};
		size_t len = body_encode(&body, tries[i], strlen(tries[i]), out);

		assert_null(memmem(out, len, "\r\n.\r\n", 5));
		assert_non_null(memmem(out, len, "\r\n..\r\n", 6));
	}
}

static bool measures_8bit(const char *in, size_t len)
{
	struct body body = {0};
	struct body_size size = {0};

	body_measure(&body, in, len, &size);
	return size.has_8bit;
}

static void finds_8bit_at_every_offset(void **state)
{
	char in[100];

	(void)state;
	memset(in, 0x7f, sizeof in);
	assert_false(measures_8bit(in, sizeof in));
	for (size_t i = 0; i < sizeof in; i++) {
		in[i] = (char)0x80;
		assert_true(measures_8bit(in, sizeof in));
		assert_true(measures_8bit(in + i, 1));
		assert_false(measures_8bit(in, i));
		in[i] = 0x7f;
	}
}

static void found_8bit_is_remembered(void **state)
{
	struct body body = {0};
	struct body_size size = {0};

	(void)state;
	body_measure(&body, "\xc3\xa9", 2, &size);
	body_measure(&body, "plain", 5, &size);
	assert_true(size.has_8bit);
	assert_int_equal(size.wire, 7);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(every_small_string_at_every_cut),
	    cmocka_unit_test(long_random_text),
	    cmocka_unit_test(output_fits_what_the_header_promises),
	    cmocka_unit_test(no_end_of_data_can_be_smuggled),
	    cmocka_unit_test(finds_8bit_at_every_offset),
	    cmocka_unit_test(found_8bit_is_remembered),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
