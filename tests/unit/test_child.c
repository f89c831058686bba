#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

#include <cmocka.h>

#include "child.h"
#include "clock.h"

#define KEEP 64

static char *const NO_ENVIRONMENT[] = {NULL};

/* What the next program gets, and what came of it. */
struct made {
	struct child_plan plan;
	struct child *child;
	struct child_end end;
};

/* A plan for SCRIPT, with WORD as its $0. */
static struct made plan_for(char *argv[5], const char *script, const char *word)
{
	argv[0] = (char *)(uintptr_t) "/bin/sh";
	argv[1] = (char *)(uintptr_t) "-c";
	argv[2] = (char *)(uintptr_t)script;
	argv[3] = (char *)(uintptr_t)word;
	argv[4] = NULL;
	return (struct made){.plan = {.argv = argv,
				 .envp = NO_ENVIRONMENT,
				 .input = -1,
				 .keep = {KEEP, KEEP},
				 .limits = {20000, 5000}}};
}

static void begin(struct made *made)
{
	struct error err;

	made->child = child_start(&made->plan, &err);
	assert_non_null(made->child);
}

/* One round; returns false when it has ended. */
static bool go_on(struct made *made, int64_t most_ms)
{
	struct waits waits = {0};
	struct error err;

	if (child_ended(made->child, &made->end))
		return false;
	waits_begin(&waits, most_ms);
	child_prepare(made->child, &waits);
	assert_int_equal(waits_wait(&waits, &err), 0);
	child_work(made->child, &waits);
	waits_free(&waits);
	return true;
}

static void end(struct made *made)
{
	while (go_on(made, 20000))
		;
}

static void run(struct made *made)
{
	begin(made);
	end(made);
}

static const char *said(struct made *made, enum child_stream stream)
{
	size_t len;
	const char *text = child_text(made->child, stream, &len);

	assert_int_equal(strlen(text), len);
	return text;
}

static int file_with(const char *text)
{
	const int fd = memfd_create("input", MFD_CLOEXEC);

	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
	return fd;
}

/* No child is left, not even as a zombie. */
static void assert_waited_for(void)
{
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
	assert_int_equal(errno, ECHILD);
}

/* Also as a zombie it is not. */
static bool is_running(pid_t pid)
{
	char path[64];
	char state = 'Z';
	FILE *file;

	(void)snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
	file = fopen(path, "r");
	if (file != NULL) {
		if (fscanf(file, "%*d (%*[^)]) %c", &state) != 1)
			state = 'Z';
		(void)fclose(file);
	}
	return state != 'Z';
}

static void what_it_says_is_kept_apart(void **state)
{
	char *argv[5];
	struct made made = plan_for(argv, "echo \"$0\"; echo oops >&2; exit 3", "a; \"b\" $c");

	(void)state;
	run(&made);
	assert_string_equal(said(&made, CHILD_OUT), "a; \"b\" $c\n");
	assert_string_equal(said(&made, CHILD_ERR), "oops\n");
	assert_false(child_text_cut(made.child, CHILD_OUT));
	assert_int_equal(made.end.status, 3);
	assert_int_equal(made.end.signal, 0);
	assert_false(made.end.too_long);
	child_close(made.child);
	assert_waited_for();
}

/* More than a pipe holds, so it would not end if the rest were left where it is. */
static void what_is_too_much_is_dropped(void **state)
{
	char *argv[5];
	struct made made = plan_for(argv, "head -c 300000 /dev/zero | tr '\\0' x; echo y >&2", "x");
	char expected[KEEP + 1] = "";

	(void)state;
	memset(expected, 'x', KEEP);
	run(&made);
	assert_string_equal(said(&made, CHILD_OUT), expected);
	assert_true(child_text_cut(made.child, CHILD_OUT));
	assert_string_equal(said(&made, CHILD_ERR), "y\n");
	assert_false(child_text_cut(made.child, CHILD_ERR));
	assert_int_equal(made.end.status, 0);
	child_close(made.child);
}

static void exactly_what_has_room_is_not_cut(void **state)
{
	char *argv[5];
	struct made made = plan_for(argv, "head -c 64 /dev/zero | tr '\\0' x", "x");

	(void)state;
	run(&made);
	assert_int_equal(strlen(said(&made, CHILD_OUT)), KEEP);
	assert_false(child_text_cut(made.child, CHILD_OUT));
	child_close(made.child);
}

static void it_reads_its_input_and_we_see_how_far(void **state)
{
	char *argv[5];
	struct made made = plan_for(argv, "dd bs=3 count=1 2> /dev/null", "x");
	const int fd = file_with("one two");

	(void)state;
	made.plan.input = fd;
	run(&made);
	assert_string_equal(said(&made, CHILD_OUT), "one");
	assert_int_equal(lseek(fd, 0, SEEK_CUR), 3);
	child_close(made.child);
	assert_int_equal(close(fd), 0);
}

static void without_input_it_has_nothing_to_read(void **state)
{
	char *argv[5];
	struct made made = plan_for(argv, "! read line", "x");

	(void)state;
	run(&made);
	assert_int_equal(made.end.status, 0);
	child_close(made.child);
}

/* Neither ours, though they are not all closed on exec, nor its own pipes by other numbers. */
static void nothing_else_is_open(void **state)
{
	char *argv[5];
	struct made made = plan_for(argv, "cd /proc/self/fd; echo *", "x");
	const int left_open = open("/dev/null", O_RDONLY);

	(void)state;
	assert_int_not_equal(left_open, -1);
	run(&made);
	/* The fourth is that of the shell itself, on the folder. */
	assert_string_equal(said(&made, CHILD_OUT), "0 1 2 3\n");
	child_close(made.child);
	assert_int_equal(close(left_open), 0);
}

static void standard_descriptors_may_be_closed_here(void **state)
{
	char *argv[5];
	struct made made = plan_for(argv, "cat; echo err >&2", "x");
	int kept[3];

	(void)state;
	for (int i = 0; i < 3; i++) {
		kept[i] = fcntl(i, F_DUPFD_CLOEXEC, 10);
		(void)close(i);
	}
	made.plan.input = file_with("in");
	run(&made);
	(void)close(made.plan.input);
	for (int i = 0; i < 3; i++) {
		(void)dup2(kept[i], i);
		(void)close(kept[i]);
	}
	assert_string_equal(said(&made, CHILD_OUT), "in");
	assert_string_equal(said(&made, CHILD_ERR), "err\n");
	child_close(made.child);
}

static void its_environment_is_what_is_given(void **state)
{
	char *more[] = {(char *)(uintptr_t) "EXTRA=1", NULL};
	char *argv[5];
	struct made made = plan_for(argv, "exec /usr/bin/env", "x");
	char **env;

	(void)state;
	assert_int_equal(setenv("HOME", "/h", 1), 0);
	assert_int_equal(setenv("USER", "u", 1), 0);
	assert_int_equal(setenv("PATH", "/bin", 1), 0);
	assert_int_equal(setenv("PASSWORD", "secret", 1), 0);
	assert_int_equal(setenv("LANG_X", "secret", 1), 0);
	assert_int_equal(unsetenv("LANG"), 0);
	env = child_environment(more);
	assert_non_null(env);
	made.plan.envp = env;
	made.plan.argv = (char *[]){(char *)(uintptr_t) "/usr/bin/env", NULL};
	run(&made);
	free(env);
	assert_string_equal(said(&made, CHILD_OUT), "PATH=/bin\nHOME=/h\nUSER=u\nEXTRA=1\n");
	child_close(made.child);
}

static void several_are_under_way_at_once(void **state)
{
	char *argv[2][5];
	struct made made[2] = {
	    plan_for(argv[0], "sleep 0.3", "x"), plan_for(argv[1], "sleep 0.3", "x")};
	const int64_t began_ms = clock_monotonic();

	(void)state;
	begin(&made[0]);
	begin(&made[1]);
	end(&made[0]);
	end(&made[1]);
	assert_in_range(clock_monotonic() - began_ms, 300, 550);
	child_close(made[0].child);
	child_close(made[1].child);
}

static void what_takes_too_long_is_ended(void **state)
{
	char *argv[5];
	struct made made = plan_for(argv,
	    "trap 'echo told; exit 9' TERM; echo on\n"
	    "while :; do sleep 0.02; done",
	    "x");

	(void)state;
	made.plan.limits.run_ms = 200;
	run(&made);
	assert_true(made.end.too_long);
	assert_int_equal(made.end.status, 9);
	assert_in_range(made.end.took, 200, 3000);
	assert_string_equal(said(&made, CHILD_OUT), "on\ntold\n");
	child_close(made.child);
}

static void what_ignores_that_is_killed(void **state)
{
	char *argv[5];
	struct made made = plan_for(argv, "trap '' TERM; while :; do sleep 0.05; done", "x");

	(void)state;
	made.plan.limits = (struct child_limits){200, 200};
	run(&made);
	assert_true(made.end.too_long);
	assert_int_equal(made.end.signal, SIGKILL);
	assert_int_equal(made.end.status, -1);
	assert_in_range(made.end.took, 400, 3000);
	child_close(made.child);
}

/* It is gone when its parent is, though it does not care about SIGTERM. */
static void its_children_are_ended_with_it(void **state)
{
	char *argv[5];
	struct made made =
	    plan_for(argv, "(trap '' TERM; while :; do sleep 0.05; done) & echo $!; wait", "x");
	pid_t left;

	(void)state;
	made.plan.limits.run_ms = 200;
	run(&made);
	left = (pid_t)strtol(said(&made, CHILD_OUT), NULL, 10);
	assert_in_range(left, 2, INT32_MAX);
	for (int i = 0; i < 100 && is_running(left); i++)
		(void)usleep(20000);
	assert_false(is_running(left));
	child_close(made.child);
}

/* A mailer may go on delivering, and keeps our pipes open. */
static void what_goes_on_in_the_background_is_left_alone(void **state)
{
	char *argv[5];
	struct made made = plan_for(argv, "sleep 20 & echo $!", "x");
	pid_t left;

	(void)state;
	run(&made);
	assert_in_range(made.end.took, 0, 3000);
	assert_int_equal(made.end.status, 0);
	left = (pid_t)strtol(said(&made, CHILD_OUT), NULL, 10);
	child_close(made.child);
	assert_in_range(left, 2, INT32_MAX);
	(void)usleep(50000);
	assert_true(is_running(left));
	assert_int_equal(kill(left, SIGKILL), 0);
}

static void one_that_is_stopped_is_not_late(void **state)
{
	char *argv[5];
	struct made made = plan_for(argv, "exec sleep 20", "x");

	(void)state;
	begin(&made);
	child_stop(made.child);
	end(&made);
	assert_false(made.end.too_long);
	assert_int_equal(made.end.signal, SIGTERM);
	child_close(made.child);
}

static void nor_is_one_that_has_to_be_killed_then(void **state)
{
	char *argv[5];
	struct made made =
	    plan_for(argv, "trap '' TERM; echo on; while :; do sleep 0.05; done", "x");
	size_t len = 0;

	(void)state;
	made.plan.limits.grace_ms = 200;
	begin(&made);
	while (len == 0) {
		assert_true(go_on(&made, 20000));
		(void)child_text(made.child, CHILD_OUT, &len);
	}
	child_stop(made.child);
	end(&made);
	assert_false(made.end.too_long);
	assert_int_equal(made.end.signal, SIGKILL);
	child_close(made.child);
}

static void closing_ends_it(void **state)
{
	char *argv[5];
	struct made made = plan_for(argv, "trap '' TERM; echo on; sleep 20", "x");
	const int64_t began_ms = clock_monotonic();
	size_t len = 0;

	(void)state;
	begin(&made);
	while (len == 0) {
		assert_true(go_on(&made, 20000));
		(void)child_text(made.child, CHILD_OUT, &len);
	}
	child_close(made.child);
	assert_in_range(clock_monotonic() - began_ms, 0, 3000);
	assert_waited_for();
	child_close(NULL);
}

/* Started between the two halves of a round, which knows nothing of it yet. */
static void work_before_it_was_prepared_is_none(void **state)
{
	char *argv[5];
	struct made made = plan_for(argv, "echo on", "x");
	struct waits waits = {0};

	(void)state;
	waits_begin(&waits, 0);
	begin(&made);
	child_work(made.child, &waits);
	waits_free(&waits);
	end(&made);
	assert_string_equal(said(&made, CHILD_OUT), "on\n");
	child_close(made.child);
}

static void signals_are_as_usual(void **state)
{
	char *argv[5];
	struct made made = plan_for(argv,
	    "grep -E 'Sig(Blk|Ign).*[1-9a-f][0-9a-f]{0,6}$' /proc/self/status; test $? = 1", "x");
	sigset_t all;

	(void)state;
	(void)sigfillset(&all);
	(void)signal(SIGTERM, SIG_IGN);
	(void)signal(SIGCHLD, SIG_IGN);
	(void)sigprocmask(SIG_SETMASK, &all, NULL);
	run(&made);
	(void)sigemptyset(&all);
	(void)sigprocmask(SIG_SETMASK, &all, NULL);
	(void)signal(SIGTERM, SIG_DFL);
	assert_int_equal(made.end.status, 0);
	child_close(made.child);
}

static int fault_of(const char *path)
{
	char *argv[] = {(char *)(uintptr_t)path, NULL};
	const struct child_plan plan = {
	    .argv = argv, .envp = NO_ENVIRONMENT, .input = -1, .limits = {20000, 5000}};
	struct error err;

	assert_null(child_start(&plan, &err));
	assert_non_null(strstr(err.text, path));
	return err.status;
}

static void what_cannot_be_started_is_said(void **state)
{
	(void)state;
	assert_int_equal(fault_of("/nowhere/sendmail"), EX_UNAVAILABLE);
	assert_int_equal(fault_of("/etc/passwd"), EX_UNAVAILABLE);
	assert_int_equal(fault_of("/"), EX_UNAVAILABLE);
	assert_waited_for();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(what_it_says_is_kept_apart),
	    cmocka_unit_test(what_is_too_much_is_dropped),
	    cmocka_unit_test(exactly_what_has_room_is_not_cut),
	    cmocka_unit_test(it_reads_its_input_and_we_see_how_far),
	    cmocka_unit_test(without_input_it_has_nothing_to_read),
	    cmocka_unit_test(nothing_else_is_open),
	    cmocka_unit_test(standard_descriptors_may_be_closed_here),
	    cmocka_unit_test(its_environment_is_what_is_given),
	    cmocka_unit_test(several_are_under_way_at_once),
	    cmocka_unit_test(what_takes_too_long_is_ended),
	    cmocka_unit_test(what_ignores_that_is_killed),
	    cmocka_unit_test(its_children_are_ended_with_it),
	    cmocka_unit_test(what_goes_on_in_the_background_is_left_alone),
	    cmocka_unit_test(one_that_is_stopped_is_not_late),
	    cmocka_unit_test(nor_is_one_that_has_to_be_killed_then),
	    cmocka_unit_test(closing_ends_it),
	    cmocka_unit_test(work_before_it_was_prepared_is_none),
	    cmocka_unit_test(signals_are_as_usual),
	    cmocka_unit_test(what_cannot_be_started_is_said),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
