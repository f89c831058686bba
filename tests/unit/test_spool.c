#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "io.h"
#include "spool.h"

#define LATER ((int64_t)4000000000)

struct place {
	char path[64]; /* of the spool */
	struct spool spool;
	struct error err;
};

static int make_spool(void **state)
{
	struct place *place = calloc(1, sizeof *place);

	if (place == NULL)
		return -1;
	(void)strcpy(place->path, "/tmp/test_spool.XXXXXX");
	if (mkdtemp(place->path) == NULL || spool_init(place->path, NULL, &place->err) == -1 ||
	    spool_open(&place->spool, place->path, &place->err) == -1)
		return -1;
	(void)strcpy(place->spool.host, "host");
	*state = place;
	return 0;
}

static void empty(int fd)
{
	DIR *stream = fdopendir(openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	const struct dirent *item;

	if (stream == NULL)
		return;
	while ((item = readdir(stream)) != NULL) {
		(void)unlinkat(fd, item->d_name, 0);
		(void)unlinkat(fd, item->d_name, AT_REMOVEDIR);
	}
	(void)closedir(stream);
}

static int remove_spool(void **state)
{
	struct place *place = *state;

	for (int dir = 0; dir < SPOOL_DIRS; dir++)
		empty(place->spool.dir[dir]);
	empty(place->spool.root);
	spool_close(&place->spool);
	(void)rmdir(place->path);
	free(place);
	return 0;
}

/* Lets cur/ be another PATH, or with NULL itself again. */
static void set_cur(struct place *place, const char *path)
{
	int *fd = &place->spool.dir[SPOOL_CUR];

	(void)close(*fd);
	*fd = path != NULL ? open(path, O_RDONLY | O_CLOEXEC)
			   : openat(place->spool.root, "cur", O_RDONLY | O_CLOEXEC);
	assert_true(*fd != -1);
}

static void put_file(int fd, const char *name, const char *text)
{
	const int file = openat(fd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0640);

	assert_true(file != -1);
	assert_int_equal(io_write(file, text, strlen(text)), 0);
	assert_int_equal(close(file), 0);
}

static void put(struct place *place, enum spool_dir dir, const char *name)
{
	put_file(place->spool.dir[dir], name, name);
}

static bool is_there(const struct place *place, enum spool_dir dir, const char *name)
{
	return faccessat(place->spool.dir[dir], name, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

/* The file NAME in DIR says TEXT. */
static void expect_text(
    const struct place *place, enum spool_dir dir, const char *name, const char *text)
{
	const int fd = openat(place->spool.dir[dir], name, O_RDONLY | O_CLOEXEC);
	char got[512];
	ssize_t len;

	assert_true(fd != -1);
	len = io_pread(fd, got, sizeof got, 0);
	(void)close(fd);
	assert_int_equal(len, strlen(text));
	assert_memory_equal(got, text, strlen(text));
}

static int count_one(void *context, const char *name, unsigned char type)
{
	(void)name;
	(void)type;
	++*(size_t *)context;
	return 0;
}

static size_t count_in(struct place *place, enum spool_dir dir)
{
	size_t count = 0;

	assert_int_equal(
	    spool_each(&place->spool, place->spool.dir[dir], count_one, &count, &place->err), 0);
	return count;
}

static struct entry parse(const char *name)
{
	struct entry entry;

	assert_true(entry_parse(name, &entry));
	return entry;
}

/* ---- changes of state ---- */

static void claims_count_lock_and_time(void **state)
{
	struct place *place = *state;
	const struct entry entry = parse("1.h,A=1,E=4.0.0,P=2,T=5");
	char expected[ENTRY_NAME_MAX + 1];
	char to[ENTRY_NAME_MAX + 1];

	put(place, SPOOL_NEW, entry.name);
	assert_int_equal(spool_claim(&place->spool, &entry, LATER, to, &place->err), SPOOL_MOVED);
	(void)snprintf(expected, sizeof expected, "1.h,A=2,C=host-%ld,E=4.0.0,P=2,T=4000000000",
	    (long)getpid());
	assert_string_equal(to, expected);
	expect_text(place, SPOOL_NEW, to, entry.name);
	/* To this run its own claim proves that the answer to its rename was lost; to others not.
	 */
	assert_int_equal(spool_claim(&place->spool, &entry, LATER, to, &place->err), SPOOL_MOVED);
	place->spool.pid++;
	assert_int_equal(spool_claim(&place->spool, &entry, LATER, to, &place->err), SPOOL_GONE);
	assert_int_equal(count_in(place, SPOOL_NEW), 1);
}

#define CLAIMED "1.h,A=2,C=host-7,E=4.0.0,P=2,S=1,T=4000000000,X=4000000001"

static void each_state_has_its_name(void **state)
{
	struct place *place = *state;
	const struct entry entry = parse(CLAIMED);
	struct spool *spool = &place->spool;
	char to[ENTRY_NAME_MAX + 1];

	put(place, SPOOL_NEW, CLAIMED);
	assert_int_equal(spool_release(spool, &entry, true, to, &place->err), SPOOL_MOVED);
	assert_string_equal(to, "1.h,A=2,E=4.0.0,P=2,S=1,X=4000000001");
	put(place, SPOOL_NEW, CLAIMED);
	assert_int_equal(spool_release(spool, &entry, false, to, &place->err), SPOOL_MOVED);
	assert_string_equal(to, "1.h,A=1,E=4.0.0,P=2,S=1,X=4000000001");
	put(place, SPOOL_NEW, CLAIMED);
	assert_int_equal(spool_restart(spool, &entry, to, &place->err), SPOOL_MOVED);
	assert_string_equal(to, "1.h,A=2,C=host-7,P=2,S=1,T=4000000000,X=4000000001");
	put(place, SPOOL_NEW, CLAIMED);
	assert_int_equal(spool_defer(spool, &entry, "4.2.1", 77, to, &place->err), SPOOL_MOVED);
	assert_string_equal(to, "1.h,A=2,E=4.2.1,P=2,S=1,T=77,X=4000000001");
	assert_int_equal(count_in(place, SPOOL_NEW), 4);
	put(place, SPOOL_NEW, CLAIMED);
	assert_int_equal(spool_sent(spool, &entry, true, to, &place->err), SPOOL_MOVED);
	assert_string_equal(to, "1.h,A=2,S=1:2,S");
	assert_true(is_there(place, SPOOL_CUR, to));
	put(place, SPOOL_NEW, CLAIMED);
	assert_int_equal(spool_fail(spool, &entry, "5.1.1", to, &place->err), SPOOL_MOVED);
	assert_string_equal(to, "1.h,A=2,E=5.1.1,S=1");
	assert_true(is_there(place, SPOOL_FAILED, to));
	put(place, SPOOL_NEW, CLAIMED);
	assert_int_equal(spool_sent(spool, &entry, false, to, &place->err), SPOOL_MOVED);
	assert_int_equal(count_in(place, SPOOL_NEW), 4);
	assert_int_equal(count_in(place, SPOOL_CUR), 1);
}

/* What is to be told of stays in the name until it is told, or until nobody needs to know. */
static void what_is_to_be_told_goes_with_the_state(void **state)
{
	static const char name[] = "1.h,A=2,C=host-7,D=8,E=4.0.0,N=9,T=10";
	struct place *place = *state;
	const struct entry entry = parse(name);
	struct spool *spool = &place->spool;
	struct entry late, failed;
	char to[ENTRY_NAME_MAX + 1];
	char told[ENTRY_NAME_MAX + 1];

	put(place, SPOOL_NEW, name);
	assert_int_equal(spool_release(spool, &entry, true, to, &place->err), SPOOL_MOVED);
	assert_string_equal(to, "1.h,A=2,D=8,E=4.0.0,N=9");
	put(place, SPOOL_NEW, name);
	assert_int_equal(spool_restart(spool, &entry, to, &place->err), SPOOL_MOVED);
	assert_string_equal(to, "1.h,A=2,C=host-7,T=10");
	put(place, SPOOL_NEW, name);
	assert_int_equal(spool_sent(spool, &entry, true, to, &place->err), SPOOL_MOVED);
	assert_string_equal(to, "1.h,A=2:2,S");
	put(place, SPOOL_NEW, name);
	assert_int_equal(spool_mark_sent(spool, &entry, to, &place->err), SPOOL_MOVED);
	assert_string_equal(to, "1.h,A=2,E=2.0.0");
	put(place, SPOOL_NEW, name);
	assert_int_equal(spool_defer(spool, &entry, "4.2.1", 77, to, &place->err), SPOOL_MOVED);
	assert_string_equal(to, "1.h,A=2,D=8,E=4.2.1,N=9,T=77");
	late = parse(to);
	assert_int_equal(spool_told(spool, SPOOL_NEW, &late, told, &place->err), SPOOL_MOVED);
	assert_string_equal(told, "1.h,A=2,D=8,E=4.2.1,T=77");
	put(place, SPOOL_NEW, name);
	assert_int_equal(spool_fail(spool, &entry, "5.1.1", to, &place->err), SPOOL_MOVED);
	assert_string_equal(to, "1.h,A=2,E=5.1.1,N=9");
	failed = parse(to);
	assert_int_equal(spool_told(spool, SPOOL_FAILED, &failed, told, &place->err), SPOOL_MOVED);
	assert_string_equal(told, "1.h,A=2,E=5.1.1");
	assert_true(is_there(place, SPOOL_FAILED, told));
	assert_int_equal(spool_told(spool, SPOOL_FAILED, &failed, told, &place->err), SPOOL_GONE);
}

/* A person has it queued again; what comes of it is as with mv. */
static void what_is_retried_has_its_name(void **state)
{
	static const struct {
		enum spool_dir dir;
		const char *from;
		const char *to;
	} cases[] = {
	    {SPOOL_FAILED, "1.h,A=3,E=5.1.1,S=1", "1.h,A=3,E=5.1.1,S=1"},
	    {SPOOL_FAILED, "2.h,A=3,C=web1-7,E=5.4.7,T=9", "2.h,A=3,E=5.4.7"},
	    {SPOOL_FAILED, "3.h,D=7,N=8", "3.h,E=5.0.0"},
	    {SPOOL_FAILED, "4.h,A=1,E=2.0.0", "4.h,A=1,E=5.0.0"},
	    {SPOOL_FAILED, "5.h,A=2,E=4.2.1,T=9", "5.h,A=2,E=5.0.0"},
	    {SPOOL_NEW, "6.h,A=2,D=7,E=4.2.1,N=8,T=9,X=10", "6.h,A=2,D=7,E=4.2.1,N=8,X=10"},
	    {SPOOL_NEW, "7.h,T=9", "7.h"},
	};
	struct place *place = *state;

	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		const struct entry entry = parse(cases[i].from);
		char to[ENTRY_NAME_MAX + 1];

		put(place, cases[i].dir, cases[i].from);
		assert_int_equal(cases[i].dir == SPOOL_NEW
				     ? spool_make_due(&place->spool, &entry, to, &place->err)
				     : spool_requeue(&place->spool, &entry, to, &place->err),
		    SPOOL_MOVED);
		assert_string_equal(to, cases[i].to);
		expect_text(place, SPOOL_NEW, to, cases[i].from);
	}
	assert_int_equal(count_in(place, SPOOL_FAILED), 0);
	assert_int_equal(count_in(place, SPOOL_NEW), 7);
	assert_true(place->spool.dirty[SPOOL_NEW] && place->spool.dirty[SPOOL_FAILED]);
}

static void what_is_retried_overwrites_nothing(void **state)
{
	struct place *place = *state;
	const struct entry failed = parse("1.h,A=1,E=5.1.1");
	const struct entry deferred = parse("1.h,A=1,E=5.1.1,T=9");
	char to[ENTRY_NAME_MAX + 1];

	put(place, SPOOL_NEW, "1.h,A=1,E=5.1.1");
	put(place, SPOOL_NEW, deferred.name);
	put_file(place->spool.dir[SPOOL_FAILED], failed.name, "failed");
	assert_int_equal(spool_requeue(&place->spool, &failed, to, &place->err), SPOOL_MOVED);
	assert_string_equal(to, "1.h-2,A=1,E=5.1.1");
	expect_text(place, SPOOL_NEW, to, "failed");
	assert_int_equal(spool_make_due(&place->spool, &deferred, to, &place->err), SPOOL_MOVED);
	assert_string_equal(to, "1.h-3,A=1,E=5.1.1");
	expect_text(place, SPOOL_NEW, "1.h,A=1,E=5.1.1", "1.h,A=1,E=5.1.1");
}

static void who_comes_too_late_is_told(void **state)
{
	struct place *place = *state;
	const struct entry entry = parse(CLAIMED);
	struct spool *spool = &place->spool;
	char to[ENTRY_NAME_MAX + 1];

	assert_int_equal(spool_release(spool, &entry, true, to, &place->err), SPOOL_GONE);
	assert_int_equal(spool_restart(spool, &entry, to, &place->err), SPOOL_GONE);
	assert_int_equal(spool_defer(spool, &entry, "4.0.0", 1, to, &place->err), SPOOL_GONE);
	assert_int_equal(spool_sent(spool, &entry, true, to, &place->err), SPOOL_GONE);
	assert_int_equal(spool_sent(spool, &entry, false, to, &place->err), SPOOL_GONE);
	assert_int_equal(spool_fail(spool, &entry, "5.0.0", to, &place->err), SPOOL_GONE);
	assert_int_equal(spool_make_due(spool, &entry, to, &place->err), SPOOL_GONE);
	assert_int_equal(spool_requeue(spool, &entry, to, &place->err), SPOOL_GONE);
}

static void nothing_is_overwritten(void **state)
{
	struct place *place = *state;
	const struct entry entry = parse("1.h,A=1,C=host-7");
	char to[ENTRY_NAME_MAX + 1];

	put(place, SPOOL_FAILED, "1.h,A=1,E=5.1.1");
	put(place, SPOOL_FAILED, "1.h-2,A=1,E=5.1.1");
	put(place, SPOOL_NEW, entry.name);
	assert_int_equal(spool_fail(&place->spool, &entry, "5.1.1", to, &place->err), SPOOL_MOVED);
	assert_string_equal(to, "1.h-3,A=1,E=5.1.1");
	expect_text(place, SPOOL_FAILED, to, entry.name);
	expect_text(place, SPOOL_FAILED, "1.h,A=1,E=5.1.1", "1.h,A=1,E=5.1.1");
	expect_text(place, SPOOL_FAILED, "1.h-2,A=1,E=5.1.1", "1.h-2,A=1,E=5.1.1");
}

static void a_full_name_is_told(void **state)
{
	struct place *place = *state;
	char name[ENTRY_NAME_MAX + 1];
	char to[ENTRY_NAME_MAX + 1];
	struct entry entry;

	memset(name, 'x', sizeof name - 1);
	name[sizeof name - 1] = '\0';
	entry = parse(name);
	put(place, SPOOL_NEW, name);
	assert_int_equal(
	    spool_claim(&place->spool, &entry, LATER, to, &place->err), SPOOL_TOO_LONG);
	assert_int_equal(
	    spool_fail(&place->spool, &entry, "5.6.0", to, &place->err), SPOOL_TOO_LONG);
	assert_int_equal(spool_sent(&place->spool, &entry, true, to, &place->err), SPOOL_TOO_LONG);
	assert_true(is_there(place, SPOOL_NEW, name));
}

/* Any name that takes a claim takes each state that may follow, a twin's number too. */
static void who_could_be_claimed_can_be_through(void **state)
{
	struct place *place = *state;
	struct spool *spool = &place->spool;

	for (size_t len = 200; len <= ENTRY_NAME_MAX; len++) {
		char name[ENTRY_NAME_MAX + 1];
		char claimed[ENTRY_NAME_MAX + 1];
		char to[ENTRY_NAME_MAX + 1];
		struct entry entry;

		memset(name, 'x', len);
		name[len] = '\0';
		entry = parse(name);
		put(place, SPOOL_NEW, name);
		if (spool_claim(spool, &entry, LATER, claimed, &place->err) == SPOOL_TOO_LONG)
			break;
		entry = parse(claimed);
		assert_int_equal(
		    spool_defer(spool, &entry, "4.999.999", LATER, to, &place->err), SPOOL_MOVED);
		for (int twin = 0; twin < 2; twin++) {
			put(place, SPOOL_NEW, claimed);
			assert_int_equal(
			    spool_fail(spool, &entry, "5.999.999", to, &place->err), SPOOL_MOVED);
			put(place, SPOOL_NEW, claimed);
			assert_int_equal(
			    spool_sent(spool, &entry, true, to, &place->err), SPOOL_MOVED);
		}
		assert_true(len < ENTRY_NAME_MAX);
	}
}

static void a_move_that_can_not_be_is_told(void **state)
{
	struct place *place = *state;
	const struct entry entry = parse("1.h,A=1,C=host-7");
	char to[ENTRY_NAME_MAX + 1];

	put(place, SPOOL_NEW, entry.name);
	set_cur(place, "/dev/null");
	assert_int_equal(spool_sent(&place->spool, &entry, true, to, &place->err), SPOOL_ERROR);
	assert_int_equal(place->err.status, EX_IOERR);
	assert_non_null(strstr(place->err.text, "1.h,A=1,C=host-7"));
	assert_true(is_there(place, SPOOL_NEW, entry.name));
	set_cur(place, NULL);
}

/* ---- drafts ---- */

static void write_draft(struct place *place, struct spool_draft *draft, const char *text)
{
	assert_int_equal(spool_draft_open(&place->spool, draft, &place->err), 0);
	assert_true(is_there(place, SPOOL_TMP, draft->name));
	assert_int_equal(io_write(draft->fd, text, strlen(text)), 0);
}

static void a_draft_goes_to_new(void **state)
{
	struct place *place = *state;
	struct spool_draft draft[3];
	struct entry entry;

	for (int i = 0; i < 3; i++) {
		write_draft(place, &draft[i], "text");
		assert_true(entry_parse(draft[i].name, &entry));
		assert_true(llabs(entry_birth(&entry) - time(NULL)) < 10);
		assert_non_null(strstr(draft[i].name, ".host"));
		assert_int_equal(entry.unique_len, strlen(draft[i].name));
	}
	for (int i = 0; i < 3; i++) {
		assert_int_equal(spool_draft_commit(&place->spool, &draft[i], &place->err), 0);
		assert_int_equal(draft[i].fd, -1);
		expect_text(place, SPOOL_NEW, draft[i].name, "text");
	}
	assert_int_equal(count_in(place, SPOOL_TMP), 0);
	assert_int_equal(count_in(place, SPOOL_NEW), 3);
}

static void a_draft_goes_to_failed(void **state)
{
	struct place *place = *state;
	struct spool_draft draft;
	char name[sizeof draft.name + 16];

	write_draft(place, &draft, "text");
	assert_int_equal(spool_draft_fail(&place->spool, &draft, "5.6.0", &place->err), 0);
	(void)snprintf(name, sizeof name, "%s,E=5.6.0", draft.name);
	expect_text(place, SPOOL_FAILED, name, "text");
	assert_int_equal(count_in(place, SPOOL_TMP), 0);
}

static void a_draft_takes_a_name_that_is_there(void **state)
{
	struct place *place = *state;
	struct spool_draft draft;

	put(place, SPOOL_NEW, "1.h,A=1");
	write_draft(place, &draft, "text");
	assert_int_equal(
	    spool_draft_replace(&place->spool, &draft, "1.h,A=1", &place->err), SPOOL_MOVED);
	expect_text(place, SPOOL_NEW, "1.h,A=1", "text");
	assert_int_equal(count_in(place, SPOOL_TMP), 0);
	/* And brings nothing back. */
	write_draft(place, &draft, "text");
	assert_int_equal(
	    spool_draft_replace(&place->spool, &draft, "2.h,A=1", &place->err), SPOOL_GONE);
	assert_int_equal(count_in(place, SPOOL_NEW), 1);
	assert_int_equal(count_in(place, SPOOL_TMP), 0);
}

static void a_draft_is_abandoned(void **state)
{
	struct place *place = *state;
	struct spool_draft draft;

	write_draft(place, &draft, "text");
	spool_draft_abandon(&place->spool, &draft);
	assert_int_equal(draft.fd, -1);
	assert_int_equal(count_in(place, SPOOL_TMP), 0);
	spool_draft_abandon(&place->spool, &draft);
}

static void a_draft_that_can_not_be_synced_is_removed(void **state)
{
	struct place *place = *state;
	struct spool_draft draft;
	int ends[2];

	write_draft(place, &draft, "text");
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
	assert_int_equal(dup2(ends[0], draft.fd), draft.fd); /* can't be synced */
	assert_int_equal(spool_draft_commit(&place->spool, &draft, &place->err), -1);
	assert_non_null(strstr(place->err.text, "can't sync"));
	assert_int_equal(count_in(place, SPOOL_TMP), 0);
	assert_int_equal(count_in(place, SPOOL_NEW), 0);
	(void)close(ends[0]);
	(void)close(ends[1]);
}

/* ---- durability ---- */

static void results_are_synced_by_number_and_time(void **state)
{
	struct place *place = *state;
	struct spool *spool = &place->spool;
	char to[ENTRY_NAME_MAX + 1];
	struct entry entry;

	assert_int_equal(spool_sync_left(spool, INT64_MAX / 2), INT64_MAX);
	for (int i = 1; i <= SPOOL_SYNC_RESULTS; i++) {
		char name[32];

		(void)snprintf(name, sizeof name, "%d.h,A=1,C=host-7", i);
		entry = parse(name);
		put(place, SPOOL_NEW, name);
		if (i > 1)
			assert_int_equal(spool_sync_left(spool, spool->unsynced_since + 999), 1);
		assert_int_equal(spool_sent(spool, &entry, true, to, &place->err), SPOOL_MOVED);
		assert_int_equal(spool_sync_left(spool, spool->unsynced_since + 1001), 0);
	}
	assert_int_equal(spool_sync_left(spool, spool->unsynced_since), 0);
	assert_true(spool->dirty[SPOOL_CUR] && spool->moved);
	assert_int_equal(spool_sync(spool, &place->err), 0);
	assert_int_equal(spool_sync_left(spool, INT64_MAX / 2), INT64_MAX);
	assert_true(!spool->dirty[SPOOL_CUR] && spool->moved);
	assert_int_equal(spool_sync_last(spool, &place->err), 0);
	assert_false(spool->dirty[SPOOL_NEW] || spool->moved);
}

static void a_deferral_is_synced_where_it_stands(void **state)
{
	struct place *place = *state;
	struct spool *spool = &place->spool;
	char to[ENTRY_NAME_MAX + 1];
	const struct entry entry = parse("1.h,A=1,C=host-7");

	put(place, SPOOL_NEW, entry.name);
	assert_int_equal(
	    spool_defer(spool, &entry, "4.0.0", 1763790600, to, &place->err), SPOOL_MOVED);
	assert_true(spool->dirty[SPOOL_NEW] && !spool->dirty[SPOOL_CUR]);
	assert_int_equal(spool_sync(spool, &place->err), 0);
	assert_false(spool->dirty[SPOOL_NEW]);
}

static void a_sync_that_fails_is_told_and_stays_due(void **state)
{
	struct place *place = *state;
	struct spool *spool = &place->spool;
	char to[ENTRY_NAME_MAX + 1];
	const struct entry entry = parse("1.h,A=1,C=host-7");

	put(place, SPOOL_NEW, entry.name);
	assert_int_equal(spool_sent(spool, &entry, true, to, &place->err), SPOOL_MOVED);
	set_cur(place, "/dev/null");
	assert_int_equal(spool_sync(spool, &place->err), -1);
	assert_non_null(strstr(place->err.text, "/cur"));
	assert_true(spool->dirty[SPOOL_CUR]);
	assert_int_equal(spool_sync_left(spool, spool->unsynced_since + 1000), 0);
	set_cur(place, NULL);
}

/* ---- after a power cut ---- */

static void put_twin(struct place *place, enum spool_dir dir, const char *from, const char *to)
{
	assert_int_equal(
	    linkat(place->spool.dir[SPOOL_NEW], from, place->spool.dir[dir], to, 0), 0);
}

static int settle(struct place *place, const char *name)
{
	const struct entry entry = parse(name);

	return spool_settle_twin(&place->spool, &entry, &place->err);
}

static void a_result_with_two_names_is_settled(void **state)
{
	struct place *place = *state;

	put(place, SPOOL_NEW, "1.h");
	assert_int_equal(settle(place, "1.h"), 0);
	put_twin(place, SPOOL_CUR, "1.h", "1.h,A=1:2,S");
	assert_int_equal(settle(place, "1.h"), 1);
	assert_false(is_there(place, SPOOL_NEW, "1.h"));
	expect_text(place, SPOOL_CUR, "1.h,A=1:2,S", "1.h");
	put(place, SPOOL_NEW, "2.h,A=1,C=web1-7,T=9");
	put_twin(place, SPOOL_FAILED, "2.h,A=1,C=web1-7,T=9", "2.h,A=1,E=5.0.0");
	assert_int_equal(settle(place, "2.h,A=1,C=web1-7,T=9"), 1);
	assert_int_equal(count_in(place, SPOOL_NEW), 0);
}

static void other_hard_links_are_not_settled(void **state)
{
	struct place *place = *state;

	put(place, SPOOL_NEW, "1.h");
	put_twin(place, SPOOL_CUR, "1.h", "1.hh,A=1:2,S");
	put(place, SPOOL_FAILED, "1.h,A=1,E=5.0.0");
	assert_int_equal(settle(place, "1.h"), 0);
	assert_true(is_there(place, SPOOL_NEW, "1.h"));
	put(place, SPOOL_NEW, "2.h");
	put_twin(place, SPOOL_CUR, "2.h", "2.h,A=1:2,S");
	put_twin(place, SPOOL_NEW, "2.h", "3.h");
	assert_int_equal(settle(place, "2.h"), 0);
	assert_int_equal(settle(place, "4.h"), 0);
}

/* ---- housekeeping ---- */

/* What a writer has left: a file is old only by both of its times, and ctime can't be set. */
static void tmp_is_swept_after_36_hours(void **state)
{
	struct place *place = *state;
	const int64_t now = time(NULL);
	const struct timespec long_ago[2] = {{.tv_sec = 1}, {.tv_sec = 1}};
	const struct timespec ahead[2] = {{.tv_sec = now + 7200}, {.tv_sec = now + 7200}};
	const int tmp = place->spool.dir[SPOOL_TMP];

	put(place, SPOOL_TMP, "plain");
	put(place, SPOOL_TMP, "old by mtime");
	put(place, SPOOL_TMP, "written later");
	put(place, SPOOL_TMP, ".hidden");
	assert_int_equal(mkdirat(tmp, "folder", 0700), 0);
	assert_int_equal(symlinkat("plain", tmp, "link"), 0);
	assert_int_equal(utimensat(tmp, "old by mtime", long_ago, 0), 0);
	assert_int_equal(utimensat(tmp, "written later", ahead, 0), 0);
	put(place, SPOOL_NEW, "1.h");

	assert_int_equal(spool_sweep(&place->spool, now, &place->err), 0);
	assert_int_equal(count_in(place, SPOOL_TMP), 6);
	assert_int_equal(spool_sweep(&place->spool, now + SPOOL_STALE_SECONDS - 5, &place->err), 0);
	assert_int_equal(count_in(place, SPOOL_TMP), 6);
	assert_int_equal(
	    spool_sweep(&place->spool, now + SPOOL_STALE_SECONDS + 60, &place->err), 0);
	assert_false(is_there(place, SPOOL_TMP, "plain"));
	assert_false(is_there(place, SPOOL_TMP, "old by mtime"));
	assert_true(is_there(place, SPOOL_TMP, "written later"));
	assert_int_equal(count_in(place, SPOOL_TMP), 4);
	assert_int_equal(
	    spool_sweep(&place->spool, now + SPOOL_STALE_SECONDS + 7260, &place->err), 0);
	assert_int_equal(count_in(place, SPOOL_TMP), 3);
	assert_true(is_there(place, SPOOL_NEW, "1.h"));
}

/* How many messages go from DIR that came there before OLDER_THAN. */
static size_t purge(struct place *place, enum spool_dir dir, int64_t older_than)
{
	struct spool_purge purge = {.dir = dir, .older_than = older_than};

	assert_int_equal(spool_purge(&place->spool, &purge, &place->err), 0);
	return purge.messages;
}

static void cur_is_purged_by_age(void **state)
{
	struct place *place = *state;
	const int64_t now = time(NULL);
	char young[64];

	(void)snprintf(young, sizeof young, "%lld.M1P1Q1.h,A=1:2,S", (long long)now + 50);
	put(place, SPOOL_CUR, young);
	put(place, SPOOL_CUR, "1000.M1P1Q1.h,A=1:2,S");
	put(place, SPOOL_CUR, "letter,A=1:2,RS");
	put(place, SPOOL_CUR, ".hidden");
	assert_int_equal(mkdirat(place->spool.dir[SPOOL_CUR], "1000.M1P1Q2.h", 0700), 0);
	put(place, SPOOL_FAILED, "1000.M1P1Q1.h,A=1,E=5.0.0");

	/* Sent just now, whenever it was made. */
	assert_int_equal(purge(place, SPOOL_CUR, now - 1), 0);
	/* By its name the young one is kept without a look. */
	assert_int_equal(purge(place, SPOOL_CUR, now + 50), 2);
	assert_true(is_there(place, SPOOL_CUR, young));
	assert_int_equal(purge(place, SPOOL_CUR, now + 100), 1);
	assert_int_equal(count_in(place, SPOOL_CUR), 2);
	assert_int_equal(count_in(place, SPOOL_FAILED), 1);
	assert_int_equal(purge(place, SPOOL_FAILED, now + 100), 1);
	assert_int_equal(count_in(place, SPOOL_FAILED), 0);
}

static bool only_the_second(void *context, const char *name, const struct stat *st)
{
	assert_int_equal(st->st_size, strlen(name));
	++*(size_t *)context;
	return strcmp(name, "2.h,A=1:2,S") == 0;
}

static void who_purges_may_be_asked(void **state)
{
	struct place *place = *state;
	size_t asked = 0;
	struct spool_purge purge = {
	    .dir = SPOOL_CUR, .older_than = LATER, .may_go = only_the_second, .context = &asked};

	put(place, SPOOL_CUR, "1.h,A=1:2,S");
	put(place, SPOOL_CUR, "2.h,A=1:2,S");
	assert_int_equal(spool_purge(&place->spool, &purge, &place->err), 0);
	assert_int_equal(asked, 2);
	assert_int_equal(purge.messages, 1);
	assert_int_equal(purge.bytes, strlen("2.h,A=1:2,S"));
	assert_true(is_there(place, SPOOL_CUR, "1.h,A=1:2,S"));
	assert_int_equal(count_in(place, SPOOL_CUR), 1);
}

/* ---- dumps ---- */

static bool in_root(const struct place *place, const char *name)
{
	return faccessat(place->spool.root, name, F_OK, 0) == 0;
}

/* Advances the dump NAME to OFFSET under a claim until 900; TO gets its name. */
static enum spool_moved dump_advance(
    struct place *place, const char *name, int64_t offset, char *to)
{
	struct entry entry;

	assert_true(entry_parse(name, &entry));
	return spool_dump_advance(&place->spool, &entry, offset, 900, to, &place->err);
}

static enum spool_moved dump_rest(struct place *place, const char *name, char *to)
{
	struct entry entry;

	assert_true(entry_parse(name, &entry));
	return spool_dump_rest(&place->spool, &entry, 0, to, &place->err);
}

static enum spool_moved dump_give_up(struct place *place, const char *name)
{
	struct entry entry;

	assert_true(entry_parse(name, &entry));
	return spool_dump_give_up(&place->spool, &entry, &place->err);
}

static void a_dump_says_how_far_it_is_read(void **state)
{
	struct place *place = *state;
	struct spool *spool = &place->spool;
	char claimed[ENTRY_NAME_MAX + 1];
	char further[ENTRY_NAME_MAX + 1];
	char rested[ENTRY_NAME_MAX + 1];
	char expected[ENTRY_NAME_MAX + 1];

	put_file(spool->root, "d.log", "text");
	assert_int_equal(dump_advance(place, "d.log", 0, claimed), SPOOL_MOVED);
	(void)snprintf(
	    expected, sizeof expected, "d.log,C=%s-%ld,T=900", spool->host, (long)spool->pid);
	assert_string_equal(claimed, expected);
	assert_int_equal(dump_advance(place, claimed, 5, further), SPOOL_MOVED);
	(void)snprintf(
	    expected, sizeof expected, "d.log,C=%s-%ld,O=5,T=900", spool->host, (long)spool->pid);
	assert_string_equal(further, expected);
	assert_int_equal(dump_rest(place, further, rested), SPOOL_MOVED);
	assert_string_equal(rested, "d.log,O=5");
	assert_true(in_root(place, rested));
}

static void no_dump_takes_the_place_of_another(void **state)
{
	struct place *place = *state;
	char claimed[ENTRY_NAME_MAX + 1];
	char rested[ENTRY_NAME_MAX + 1];

	put_file(place->spool.root, "d.log", "text");
	put_file(place->spool.root, "d.log,O=70", "another");
	assert_int_equal(dump_advance(place, "d.log", 70, claimed), SPOOL_MOVED);
	assert_int_equal(dump_rest(place, claimed, rested), SPOOL_MOVED);
	assert_string_equal(rested, "d.log-2,O=70");
}

static void a_dump_goes(void **state)
{
	struct place *place = *state;
	struct spool *spool = &place->spool;
	char to[ENTRY_NAME_MAX + 1];

	put_file(spool->root, "d.log,O=70", "text");
	assert_int_equal(dump_give_up(place, "d.log,O=70"), SPOOL_MOVED);
	expect_text(place, SPOOL_FAILED, "d.log,E=5.6.0,O=70", "text");
	put_file(spool->root, "e.log", "text");
	assert_int_equal(spool_dump_remove(spool, "e.log", &place->err), 0);
	assert_false(in_root(place, "e.log"));
	assert_int_equal(spool_dump_remove(spool, "e.log", &place->err), 0);
	assert_int_equal(dump_give_up(place, "e.log"), SPOOL_GONE);
	assert_int_equal(dump_advance(place, "e.log", 1, to), SPOOL_GONE);
}

static void a_dump_of_a_long_name_is_told(void **state)
{
	struct place *place = *state;
	char name[ENTRY_NAME_MAX + 1];
	char to[ENTRY_NAME_MAX + 1];

	memset(name, 'x', sizeof name - 1);
	name[sizeof name - 1] = '\0';
	put_file(place->spool.root, name, "text");
	assert_int_equal(dump_advance(place, name, 5, to), SPOOL_TOO_LONG);
	assert_non_null(strstr(place->err.text, "too long"));
	assert_true(in_root(place, name));
}

/* ---- the directories ---- */

static int stop_at_second(void *context, const char *name, unsigned char type)
{
	(void)name;
	(void)type;
	return ++*(int *)context == 2 ? 42 : 0;
}

static void a_visit_may_end_the_look(void **state)
{
	struct place *place = *state;
	const int fd = place->spool.dir[SPOOL_NEW];
	int seen = 0;

	put(place, SPOOL_NEW, "1");
	put(place, SPOOL_NEW, "2");
	put(place, SPOOL_NEW, "3");
	assert_int_equal(spool_each(&place->spool, fd, stop_at_second, &seen, &place->err), 42);
	assert_int_equal(seen, 2);
	assert_int_equal(spool_each(&place->spool, -1, stop_at_second, &seen, &place->err), -1);
	assert_non_null(strstr(place->err.text, place->path));
}

static void one_run_has_the_lock(void **state)
{
	struct place *place = *state;
	struct spool other;

	assert_int_equal(spool_open(&other, place->path, &place->err), 0);
	assert_int_equal(spool_lock(&place->spool, &place->err), 1);
	assert_int_equal(spool_lock(&other, &place->err), 0);
	spool_close(&place->spool);
	assert_int_equal(spool_lock(&other, &place->err), 1);
	spool_close(&other);
	assert_int_equal(spool_lock(&other, &place->err), -1);
	assert_int_equal(spool_open(&place->spool, place->path, &place->err), 0);
}

static void what_is_no_spool_is_told(void **state)
{
	struct place *place = *state;
	struct spool other;

	assert_int_equal(spool_open(&other, "/nowhere/at/all", &place->err), -1);
	assert_int_equal(place->err.status, EX_CONFIG);
	assert_non_null(strstr(place->err.text, "maildrain init"));
	assert_int_equal(unlinkat(place->spool.root, "failed", AT_REMOVEDIR), 0);
	assert_int_equal(spool_open(&other, place->path, &place->err), -1);
	assert_int_equal(place->err.status, EX_CONFIG);
	assert_non_null(strstr(place->err.text, "failed"));
	put_file(place->spool.root, "failed", "a file");
	assert_int_equal(spool_open(&other, place->path, &place->err), -1);
	assert_int_equal(place->err.status, EX_CONFIG);
	assert_int_equal(spool_init(place->path, NULL, &place->err), -1);
	assert_non_null(strstr(place->err.text, "/failed"));
}

static void check_finds_modes(void **state)
{
	struct place *place = *state;

	assert_int_equal(spool_check(&place->spool, &place->err), 0);
	for (int dir = 0; dir < SPOOL_DIRS; dir++) {
		assert_int_equal(fchmod(place->spool.dir[dir], 0777), 0);
		assert_int_equal(spool_check(&place->spool, &place->err), -1);
		assert_int_equal(place->err.status, EX_CONFIG);
		assert_non_null(strstr(place->err.text, spool_dir_name((enum spool_dir)dir)));
		assert_int_equal(spool_init(place->path, NULL, &place->err), 0);
		assert_int_equal(spool_check(&place->spool, &place->err), 0);
	}
}

static void another_file_system_is_found(void **state)
{
	struct place *place = *state;

	assert_int_equal(spool_movable(&place->spool, &place->err), 0);
	set_cur(place, "/dev");
	assert_int_equal(spool_check(&place->spool, &place->err), -1);
	assert_non_null(strstr(place->err.text, "file system"));
	if (geteuid() == 0) {
		assert_int_equal(spool_movable(&place->spool, &place->err), -1);
		assert_non_null(strstr(place->err.text, "file system"));
	}
	set_cur(place, NULL);
}

int main(void)
{
#define IN_SPOOL(test) cmocka_unit_test_setup_teardown(test, make_spool, remove_spool)
	const struct CMUnitTest tests[] = {
	    IN_SPOOL(claims_count_lock_and_time),
	    IN_SPOOL(each_state_has_its_name),
	    IN_SPOOL(what_is_to_be_told_goes_with_the_state),
	    IN_SPOOL(what_is_retried_has_its_name),
	    IN_SPOOL(what_is_retried_overwrites_nothing),
	    IN_SPOOL(who_comes_too_late_is_told),
	    IN_SPOOL(nothing_is_overwritten),
	    IN_SPOOL(a_full_name_is_told),
	    IN_SPOOL(who_could_be_claimed_can_be_through),
	    IN_SPOOL(a_move_that_can_not_be_is_told),
	    IN_SPOOL(a_draft_goes_to_new),
	    IN_SPOOL(a_draft_goes_to_failed),
	    IN_SPOOL(a_draft_takes_a_name_that_is_there),
	    IN_SPOOL(a_draft_is_abandoned),
	    IN_SPOOL(a_draft_that_can_not_be_synced_is_removed),
	    IN_SPOOL(results_are_synced_by_number_and_time),
	    IN_SPOOL(a_deferral_is_synced_where_it_stands),
	    IN_SPOOL(a_sync_that_fails_is_told_and_stays_due),
	    IN_SPOOL(tmp_is_swept_after_36_hours),
	    IN_SPOOL(cur_is_purged_by_age),
	    IN_SPOOL(who_purges_may_be_asked),
	    IN_SPOOL(a_result_with_two_names_is_settled),
	    IN_SPOOL(other_hard_links_are_not_settled),
	    IN_SPOOL(a_dump_says_how_far_it_is_read),
	    IN_SPOOL(no_dump_takes_the_place_of_another),
	    IN_SPOOL(a_dump_goes),
	    IN_SPOOL(a_dump_of_a_long_name_is_told),
	    IN_SPOOL(a_visit_may_end_the_look),
	    IN_SPOOL(one_run_has_the_lock),
	    IN_SPOOL(what_is_no_spool_is_told),
	    IN_SPOOL(check_finds_modes),
	    IN_SPOOL(another_file_system_is_found),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
