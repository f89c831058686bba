/* utf8: every first and second byte, and the characters that a terminal would obey. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "utf8.h"

/* The encoding of CODE as RFC 3629 section 3 tells it; 0 for what is no character. */
static size_t encode(uint32_t code, char *out)
{
	if (code < 0x80) {
		out[0] = (char)code;
		return 1;
	}
	if (code < 0x800) {
		out[0] = (char)(0xc0 | code >> 6);
		out[1] = (char)(0x80 | (code & 63));
		return 2;
	}
	if (code < 0x10000) {
		out[0] = (char)(0xe0 | code >> 12);
		out[1] = (char)(0x80 | (code >> 6 & 63));
		out[2] = (char)(0x80 | (code & 63));
		return code >= 0xd800 && code < 0xe000 ? 0 : 3;
	}
	out[0] = (char)(0xf0 | code >> 18);
	out[1] = (char)(0x80 | (code >> 12 & 63));
	out[2] = (char)(0x80 | (code >> 6 & 63));
	out[3] = (char)(0x80 | (code & 63));
	return code < 0x110000 ? 4 : 0;
}

static void every_character_has_its_length(void **state)
{
	char text[4] = "";

	(void)state;
	for (uint32_t code = 0; code < 0x120000; code++) {
		const size_t expected = encode(code, text);

		assert_int_equal(utf8_len(text, sizeof text), expected);
		for (size_t len = 1; len < expected; len++)
			assert_int_equal(utf8_len(text, len), 0);
	}
}

/* Overlong forms have first bytes that begin no character, or a second byte too small for it. */
static void overlong_forms_are_none(void **state)
{
	(void)state;
	assert_int_equal(utf8_len("\xc0\x80", 2), 0);
	assert_int_equal(utf8_len("\xc1\xbf", 2), 0);
	assert_int_equal(utf8_len("\xe0\x9f\xbf", 3), 0);
	assert_int_equal(utf8_len("\xf0\x8f\xbf\xbf", 4), 0);
	assert_int_equal(utf8_len("\x80", 1), 0);
	assert_int_equal(utf8_len("\xff", 1), 0);
}

/* Control characters, ends of lines and paragraphs, and what turns the direction of a text. */
static void what_is_obeyed_is_not_printable(void **state)
{
	char text[4] = "";

	(void)state;
	for (uint32_t code = 0; code < 0x3000; code++) {
		const size_t len = encode(code, text);
		const int obeyed = code < 0x20 || (code >= 0x7f && code < 0xa0) || code == 0x61c ||
				   code == 0x200e || code == 0x200f ||
				   (code >= 0x2028 && code <= 0x202e) ||
				   (code >= 0x2066 && code <= 0x2069);

		assert_int_equal(utf8_printable_len(text, len), obeyed ? 0 : len);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(every_character_has_its_length),
	    cmocka_unit_test(overlong_forms_are_none),
	    cmocka_unit_test(what_is_obeyed_is_not_printable),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
