#include <signal.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "launch.h"

static const struct child_limits LONG = {20000, 5000};
static const struct child_limits SHORT = {200, 200};

static int launch(
    const char *script, const char *word, const struct child_limits *limits, struct child_end *end)
{
	char *argv[] = {(char *)(uintptr_t) "/bin/sh", (char *)(uintptr_t) "-c",
	    (char *)(uintptr_t)script, (char *)(uintptr_t)word, NULL};
	char *envp[] = {
	    (char *)(uintptr_t) "PATH=/usr/bin:/bin", (char *)(uintptr_t) "COLOUR=blue", NULL};
	struct error err;

	return launch_run(argv, envp, limits, end, &err);
}

static void it_has_its_words_and_its_environment(void **state)
{
	struct child_end end;

	(void)state;
	assert_int_equal(
	    launch("test \"$0\" = 'a; \"b\"' && test $COLOUR = blue && test -z \"$HOME\"",
		"a; \"b\"", &LONG, &end),
	    0);
	assert_int_equal(end.status, 0);
	assert_int_equal(end.signal, 0);
	assert_false(end.too_long);
}

static void its_status_is_told(void **state)
{
	struct child_end end;

	(void)state;
	assert_int_equal(launch("exit 7", "x", &LONG, &end), 0);
	assert_int_equal(end.status, 7);
	assert_int_equal(launch("kill -ABRT $$", "x", &LONG, &end), 0);
	assert_int_equal(end.status, -1);
	assert_int_equal(end.signal, SIGABRT);
	assert_false(end.too_long);
}

static void it_has_nothing_to_read(void **state)
{
	struct child_end end;

	(void)state;
	assert_int_equal(launch("! read line", "x", &LONG, &end), 0);
	assert_int_equal(end.status, 0);
}

/* But for two that the C library keeps for itself, 32 and 33. */
static void signals_are_as_usual(void **state)
{
	struct child_end end;

	(void)state;
	/* A shell has background jobs ignore these two. */
	(void)signal(SIGINT, SIG_DFL);
	(void)signal(SIGQUIT, SIG_DFL);
	(void)signal(SIGXFSZ, SIG_IGN);
	(void)signal(SIGPIPE, SIG_IGN);
	(void)signal(SIGCHLD, SIG_IGN);
	assert_int_equal(
	    launch("grep -E 'Sig(Blk|Ign).*[1-9a-f][0-9a-f]{0,6}$' /proc/self/status; test $? = 1",
		"x", &LONG, &end),
	    0);
	assert_int_equal(end.status, 0);
}

static void what_takes_too_long_is_ended(void **state)
{
	struct child_end end;

	(void)state;
	assert_int_equal(launch("sleep 20", "x", &SHORT, &end), 0);
	assert_true(end.too_long);
	assert_int_equal(end.signal, SIGTERM);
	assert_in_range(end.took, 200, 5000);
}

static void what_ignores_that_is_killed(void **state)
{
	struct child_end end;

	(void)state;
	assert_int_equal(
	    launch("trap '' TERM; while :; do sleep 0.05; done", "x", &SHORT, &end), 0);
	assert_true(end.too_long);
	assert_int_equal(end.signal, SIGKILL);
	assert_in_range(end.took, 400, 5000);
}

/* The child would leave the file behind. */
static void its_children_end_with_it(void **state)
{
	struct child_end end;
	char folder[] = "/tmp/maildrain-launch-XXXXXX";
	char path[64];

	(void)state;
	assert_non_null(mkdtemp(folder));
	(void)snprintf(path, sizeof path, "%s/left", folder);
	assert_int_equal(launch("(sleep 1; touch \"$0\") & wait", path, &SHORT, &end), 0);
	assert_true(end.too_long);
	(void)sleep(2);
	assert_int_not_equal(access(path, F_OK), 0);
	assert_int_equal(rmdir(folder), 0);
}

static void what_is_not_there_is_said(void **state)
{
	char *argv[] = {(char *)(uintptr_t) "/nowhere/page", NULL};
	char *envp[] = {NULL};
	struct child_end end;
	struct error err;

	(void)state;
	assert_int_equal(launch_run(argv, envp, &LONG, &end, &err), -1);
	assert_non_null(strstr(err.text, "/nowhere/page"));
	assert_int_equal(err.status, 69);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(it_has_its_words_and_its_environment),
	    cmocka_unit_test(its_status_is_told),
	    cmocka_unit_test(it_has_nothing_to_read),
	    cmocka_unit_test(signals_are_as_usual),
	    cmocka_unit_test(what_takes_too_long_is_ended),
	    cmocka_unit_test(what_ignores_that_is_killed),
	    cmocka_unit_test(its_children_end_with_it),
	    cmocka_unit_test(what_is_not_there_is_said),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
