/* secret: a password does not come through, however a server repeats it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "secret.h"

static void expect(const char *text, const char *user, const char *password, const char *masked)
{
	char buf[512];

	(void)snprintf(buf, sizeof buf, "%s", text);
	secret_mask(buf, user, password);
	assert_string_equal(buf, masked);
}

static void a_password_is_masked_as_it_is(void **state)
{
	(void)state;
	expect("535 no: tiger and tiger", "scott", "tiger", "535 no: ***** and *****");
	expect("535 no such user scott", "scott", "tiger", "535 no such user scott");
}

/* base64 of "tiger" is dGlnZXI=, of NUL scott NUL tiger AHNjb3R0AHRpZ2Vy. */
static void a_password_is_masked_in_base64(void **state)
{
	(void)state;
	expect("535 LOGIN dGlnZXI=", "scott", "tiger", "535 LOGIN *******=");
	expect("535 PLAIN AHNjb3R0AHRpZ2Vy", "scott", "tiger", "535 PLAIN ****************");
}

/* One may repeat itself before it has ended, or stand within another. */
static void overlapping_ones_are_masked_whole(void **state)
{
	(void)state;
	expect("535 xababay", "u", "aba", "535 x*****y");
	expect("535 aaaa", "u", "aaa", "535 ****");
	expect("535 PLAIN AHNjb3R0AGIzUjA=", "scott", "b3R0", "535 PLAIN ***************=");
}

static void a_reply_code_stays(void **state)
{
	(void)state;
	expect("535 x", "u", "535", "535 x");
	expect("535 535", "u", "535", "535 ***");
	expect("53", "u", "53", "53");
	expect("", "u", "p", "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_password_is_masked_as_it_is),
	    cmocka_unit_test(a_password_is_masked_in_base64),
	    cmocka_unit_test(overlapping_ones_are_masked_whole),
	    cmocka_unit_test(a_reply_code_stays),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
