#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>

#include <cmocka.h>

#include "error.h"

static void sets_status_and_text(void **state)
{
	struct error err;

	(void)state;
	error_set(&err, EX_CONFIG, "%s: line %d", "maildrain.conf", 7);
	assert_int_equal(err.status, EX_CONFIG);
	assert_string_equal(err.text, "maildrain.conf: line 7");
}

static void errno_makes_text_and_status(void **state)
{
	const struct {
		int number;
		int status;
	} cases[] = {{EACCES, EX_NOPERM}, {EPERM, EX_NOPERM}, {EROFS, EX_IOERR}, {ENOSPC, EX_IOERR},
	    {ENOENT, EX_IOERR}};
	struct error err;
	char expected[256];

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		(void)snprintf(
		    expected, sizeof expected, "cannot open new/x: %s", strerror(cases[i].number));
		errno = cases[i].number;
		error_set_errno(&err, "cannot open %s", "new/x");
		assert_int_equal(errno, cases[i].number);
		assert_int_equal(err.status, cases[i].status);
		assert_string_equal(err.text, expected);
	}
}

static void long_text_is_cut(void **state)
{
	char fill[2 * sizeof((struct error *)0)->text];
	struct error err;

	(void)state;
	memset(fill, 'x', sizeof fill - 1);
	fill[sizeof fill - 1] = '\0';
	memset(&err, '!', sizeof err);
	error_set(&err, EX_DATAERR, "%s", fill);
	assert_int_equal(strlen(err.text), sizeof err.text - 1);
	memset(&err, '!', sizeof err);
	errno = ENOSPC;
	error_set_errno(&err, "%s", fill);
	assert_int_equal(strlen(err.text), sizeof err.text - 1);
	assert_int_equal(err.text[sizeof err.text - 2], 'x');
}

static void reason_is_cut_too(void **state)
{
	char fill[1024 - 5];
	struct error err;

	(void)state;
	memset(fill, 'x', sizeof fill - 1);
	fill[sizeof fill - 1] = '\0';
	errno = ENOSPC;
	error_set_errno(&err, "%s", fill);
	assert_string_equal(err.text + sizeof fill - 1, ": No ");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(sets_status_and_text),
	    cmocka_unit_test(errno_makes_text_and_status),
	    cmocka_unit_test(long_text_is_cut),
	    cmocka_unit_test(reason_is_cut_too),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
