#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "find.h"
#include "place.h"

static void drop(const struct place *place, enum spool_dir dir, const char *name)
{
	place_touch(place->spool.dir[dir], name);
}

static int set_up(void **state)
{
	static struct place place;

	place_make(&place);
	drop(&place, SPOOL_NEW, "100.M1P1Q1.web1,A=1,E=4.2.2,T=5");
	drop(&place, SPOOL_FAILED, "100.M2P1Q1.web1,A=1,E=5.1.1");
	drop(&place, SPOOL_CUR, "101.M2P1Q1.web1,A=1:2,S");
	drop(&place, SPOOL_CUR, "letter:2,S");
	drop(&place, SPOOL_NEW, "letter-2");
	*state = &place;
	return 0;
}

static int tear_down(void **state)
{
	return place_remove(*state);
}

static void finds(struct place *place, const char *id, enum spool_dir dir, const char *name)
{
	struct found found;

	assert_int_equal(find_message(&place->spool, id, &found, &place->err), 0);
	assert_int_equal(found.dir, dir);
	assert_string_equal(found.name, name);
}

static void finds_not(struct place *place, const char *id, const char *said)
{
	struct found found;

	assert_int_equal(find_message(&place->spool, id, &found, &place->err), -1);
	assert_int_equal(place->err.status, EX_DATAERR);
	if (strstr(place->err.text, said) == NULL)
		fail_msg("%s: %s", id, place->err.text);
}

static void by_a_whole_id_or_name(void **state)
{
	finds(*state, "100.M1P1Q1.web1", SPOOL_NEW, "100.M1P1Q1.web1,A=1,E=4.2.2,T=5");
	finds(*state, "100.M2P1Q1.web1,A=7", SPOOL_FAILED, "100.M2P1Q1.web1,A=1,E=5.1.1");
	finds(*state, "101.M2P1Q1.web1", SPOOL_CUR, "101.M2P1Q1.web1,A=1:2,S");
}

static void by_the_start_of_an_id(void **state)
{
	finds(*state, "100.M1", SPOOL_NEW, "100.M1P1Q1.web1,A=1,E=4.2.2,T=5");
	finds(*state, "101", SPOOL_CUR, "101.M2P1Q1.web1,A=1:2,S");
}

static void a_whole_id_goes_before_a_longer_one(void **state)
{
	finds(*state, "letter", SPOOL_CUR, "letter:2,S");
	finds(*state, "letter-", SPOOL_NEW, "letter-2");
}

static void says_when_there_is_none_or_several(void **state)
{
	finds_not(*state, "102", "there is no message 102");
	finds_not(*state, "", "there is no message");
	finds_not(*state, "100.M1P1Q1.web10", "there is no message");
	finds_not(*state, "100.", "2 messages");
	finds_not(*state, "100.", "100.M2P1Q1.web1");
	finds_not(*state, "10", "3 messages");
}

static void says_when_two_have_the_same(void **state)
{
	struct place *place = *state;

	drop(place, SPOOL_NEW, "letter,P=1");
	finds_not(place, "letter", "2 messages have the id letter");
	finds(place, "letter,P=1", SPOOL_NEW, "letter,P=1");
	finds(place, "letter:2,S", SPOOL_CUR, "letter:2,S");
}

#define CROWD 2000
#define TIMES 500

static void fill(const struct place *place)
{
	char name[64];

	for (int i = 0; i < CROWD; i++) {
		(void)snprintf(name, sizeof name, "2%d.M1P1Q1.web1,A=1,E=4.2.2,T=5", i);
		drop(place, SPOOL_NEW, name);
	}
}

/* Changes the name of one message in new/ a hundred times a second. */
static void keep_renaming(const struct place *place)
{
	const int fd = place->spool.dir[SPOOL_NEW];
	const struct timespec pause = {.tv_nsec = 10000000};
	char from[64] = "100.M1P1Q1.web1,A=1,E=4.2.2,T=5";
	char to[64];

	for (int i = 6;; i = i % 60 + 6) {
		(void)snprintf(to, sizeof to, "100.M1P1Q1.web1,A=1,E=4.2.2,T=%d", i);
		if (renameat(fd, from, fd, to) == -1)
			_exit(1);
		memcpy(from, to, sizeof from);
		(void)nanosleep(&pause, NULL);
	}
}

/* On some file systems a look would miss it then, or meet it twice. */
static void one_that_others_rename_meanwhile_is_found(void **state)
{
	struct place *place = *state;
	struct found found;
	pid_t child;
	int status;

	fill(place);
	child = fork();
	assert_int_not_equal(child, -1);
	if (child == 0)
		keep_renaming(place);
	status = 0;
	for (int i = 0; i < TIMES && status == 0; i++)
		status = find_message(&place->spool, "100.M1", &found, &place->err);
	(void)kill(child, SIGKILL);
	(void)waitpid(child, NULL, 0);
	if (status == -1)
		fail_msg("%s", place->err.text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(by_a_whole_id_or_name, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(by_the_start_of_an_id, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(a_whole_id_goes_before_a_longer_one, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(says_when_there_is_none_or_several, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(says_when_two_have_the_same, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(
		one_that_others_rename_meanwhile_is_found, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
