#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "claims.h"

#define NOW  ((int64_t)1763790000)
#define SOON "T=1763793600"
#define PAST "T=1763789999"

struct bench {
	struct spool spool;
	struct claims claims;
};

static int set_up(void **state, bool shared)
{
	static struct bench bench;
	const struct config config = {.claim = 3600, .shared_spool = shared};

	bench.spool = (struct spool){.host = "web1", .pid = getpid()};
	claims_init(&bench.claims, &bench.spool, &config);
	*state = &bench;
	return 0;
}

static int shared(void **state)
{
	return set_up(state, true);
}

static int alone(void **state)
{
	return set_up(state, false);
}

/* Whether the claim of PID on HOST with the field TIME is over. */
static bool over(void **state, const char *host, long pid, const char *time, bool mine)
{
	const struct bench *bench = *state;
	char name[ENTRY_NAME_MAX + 1];
	struct entry entry;

	(void)snprintf(name, sizeof name, "1.h,A=1,C=%s-%ld,%s", host, pid, time);
	assert_true(entry_parse(name, &entry));
	return claims_over(&bench->claims, &entry, NOW, mine);
}

/* The pid of a process that has just ended. */
static long dead_pid(void)
{
	const pid_t pid = fork();

	assert_true(pid != -1);
	if (pid == 0)
		_exit(0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	return (long)pid;
}

static void time_ends_a_claim(void **state)
{
	assert_true(over(state, "web2", 1, PAST, false));
	assert_true(over(state, "web2", 1, "T=1763790000", false));
	assert_false(over(state, "web2", 1, SOON, false));
	assert_false(over(state, "web2", 1, "T=1763876400", false));
	assert_true(over(state, "web2", 1, "T=1763876401", false));
	assert_true(over(state, "web2", 1, "T=9223372036854775807", false));
}

static void a_lock_proves_that_others_are_dead(void **state)
{
	assert_true(over(state, "web1", (long)getppid(), SOON, false));
	assert_false(over(state, "web1", (long)getppid(), SOON, true));
	assert_false(over(state, "web11", (long)getppid(), SOON, false));
}

static void without_a_lock_the_pid_is_asked(void **state)
{
	assert_false(over(state, "web1", (long)getppid(), SOON, false));
	assert_false(over(state, "web1", 1, SOON, false));
	assert_true(over(state, "web1", dead_pid(), SOON, false));
	assert_true(over(state, "web1", dead_pid(), SOON, true));
	assert_false(over(state, "web2", dead_pid(), SOON, false));
}

/* In a container each run may have the same pid. */
static void an_own_pid_before_the_first_claim_is_another_runs(void **state)
{
	assert_true(over(state, "web1", (long)getpid(), SOON, false));
	assert_false(over(state, "web1", (long)getpid(), SOON, true));
	assert_false(over(state, "web1", (long)getpid(), PAST, true));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup(time_ends_a_claim, shared),
	    cmocka_unit_test_setup(time_ends_a_claim, alone),
	    cmocka_unit_test_setup(a_lock_proves_that_others_are_dead, alone),
	    cmocka_unit_test_setup(without_a_lock_the_pid_is_asked, shared),
	    cmocka_unit_test_setup(an_own_pid_before_the_first_claim_is_another_runs, shared),
	    cmocka_unit_test_setup(an_own_pid_before_the_first_claim_is_another_runs, alone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
