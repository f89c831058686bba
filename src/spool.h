/*
 * spool: the directories. Every rename, link, unlink and fsync of the spool stands here.
 *
 *	tmp/     building    a writer's file; swept after 36 hours
 *	new/     waiting     due when T is absent or past
 *	         claimed     C names the run that sends it, T says until when
 *	         deferred    E=4.x.x and T
 *	cur/     sent        ":2,S"
 *	failed/  given up    E=5.x.x
 *
 * A change of state is one rename(2), so a crash leaves a message in the state before or after it:
 * only a claim can be left behind, and the next run of this host releases it.
 *
 * What must be durable, and when: a message before it is in new/ (spool_draft_commit), a result at
 * the next spool_sync, which the run calls every SPOOL_SYNC_RESULTS results or
 * SPOOL_SYNC_SECONDS. Losing a result in a power cut repeats a message; it never loses one.
 *
 * All access goes through directory descriptors opened once without following links, so a
 * path that changes under a run can't lead it elsewhere.
 */
#ifndef MAILDRAIN_SPOOL_H
#define MAILDRAIN_SPOOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "entry.h"
#include "error.h"

#define SPOOL_HOST_MAX	    64		/* bytes of the host in names, with the final NUL */
#define SPOOL_STALE_SECONDS (36 * 3600) /* maildir(5): a file in tmp/ nobody writes any more */
#define SPOOL_SYNC_RESULTS  100
#define SPOOL_SYNC_SECONDS  1

enum spool_dir { SPOOL_TMP, SPOOL_NEW, SPOOL_CUR, SPOOL_FAILED, SPOOL_DIRS };

struct spool {
	const char *path; /* the caller's */
	int root;	  /* descriptors of the spool and its directories */
	int dir[SPOOL_DIRS];
	int state;		   /* descriptor of state/; -1: no run has made it yet */
	char host[SPOOL_HOST_MAX]; /* of this machine, without "/" ":" "," and "=" */
	pid_t pid;
	bool shared;	  /* other runs may be at work on it; false unless its owner says so */
	unsigned counter; /* makes UNIQUE unique within this process */
	bool moved;	  /* names have changed since the last spool_sync_last */
	bool dirty[SPOOL_DIRS]; /* has taken results since the last sync */
	unsigned unsynced;	/* results since then */
	int64_t unsynced_since; /* monotonic milliseconds of the first of them */
};

struct spool_owner {
	uid_t uid;
	gid_t gid;
};

/*
 * Makes PATH and its directories with the modes of the contract; mends those of existing ones. They
 * are given to OWNER, or left to the caller when it is NULL.
 */
int spool_init(const char *path, const struct spool_owner *owner, struct error *err);

const char *spool_dir_name(enum spool_dir dir);

/* Whether modes, owners and file system are as they should be; if not, -1 with advice in ERR. */
int spool_check(const struct spool *spool, struct error *err);

/*
 * Whether this process can move messages between all of the directories; if not, -1 with ERR: it
 * is better known before a message is sent than after.
 */
int spool_movable(const struct spool *spool, struct error *err);

int spool_open(struct spool *spool, const char *path, struct error *err);
void spool_close(struct spool *spool);

/* 1: this process is the one run; 0: another run holds the lock; -1: ERR. Held until close. */
int spool_lock(struct spool *spool, struct error *err);

/*
 * Calls VISIT with each name in DIRFD (one of spool->dir, or spool->root) but "." and "..", in no
 * order; TYPE is dirent's d_type. A visit may rename what it is shown. VISIT returns 0 to go on;
 * another value ends it and is returned. -1 with ERR when the directory can't be read.
 */
typedef int spool_visit(void *context, const char *name, unsigned char type);
int spool_each(
    const struct spool *spool, int dirfd, spool_visit *visit, void *context, struct error *err);

/* A message that is being written. */
struct spool_draft {
	int fd;				 /* in tmp/, open for reading and writing */
	char name[ENTRY_NAME_MAX + 1];	 /* there */
	char target[ENTRY_NAME_MAX + 1]; /* where it goes, its UNIQUE */
};

/* Opens a fresh file in tmp/ under a new UNIQUE, mode 0640; its target is the same. */
int spool_draft_open(struct spool *spool, struct spool_draft *draft, struct error *err);
/* The same, with room for BYTES set aside on the disk, so that writing them can't fail for it. */
int spool_draft_reserve(
    struct spool *spool, struct spool_draft *draft, uint64_t bytes, struct error *err);
/*
 * fsync, rename into new/ under its target, fsync of new/; closes. When there is a file of that
 * name the draft is removed, and that is all. On -1 it is removed too.
 */
int spool_draft_commit(struct spool *spool, struct spool_draft *draft, struct error *err);
/* The same into failed/ with E=STATUS: it was never a message to send, a person must look. */
int spool_draft_fail(
    struct spool *spool, struct spool_draft *draft, const char *status, struct error *err);
void spool_draft_abandon(struct spool *spool, struct spool_draft *draft);

/*
 * After a power cut a result may have come to the disk without the end of the name that it left. 1:
 * ENTRY's file also stands in cur/ or failed/ under its UNIQUE, and is removed from new/; 0: it is
 * not so; -1: ERR.
 */
int spool_settle_twin(struct spool *spool, const struct entry *entry, struct error *err);

/* Whether new/ still has NAME, which this run has claimed. */
bool spool_is_claimed(const struct spool *spool, const char *name);

/* 1: there is a message UNIQUE, in whatever state; 0: there is none; -1: ERR. */
int spool_has_unique(const struct spool *spool, const char *unique, struct error *err);

enum spool_moved {
	SPOOL_MOVED,
	SPOOL_GONE,	/* somebody else was first: no error */
	SPOOL_TOO_LONG, /* the new name would exceed ENTRY_NAME_MAX */
	SPOOL_ERROR	/* ERR */
};

/*
 * fsync of DRAFT, which then takes the place of new/NAME, claimed by this run; closes. Unless it is
 * moved the draft is removed: nothing may bring back what somebody has taken away.
 */
enum spool_moved spool_draft_replace(
    struct spool *spool, struct spool_draft *draft, const char *name, struct error *err);

/*
 * The changes of state of a message in new/. ENTRY is parsed from its present name; TO, of
 * ENTRY_NAME_MAX + 1 bytes, gets the new one. No message is ever overwritten: where the target
 * exists (two letters of one name), UNIQUE gets a "-2", "-3" … behind it.
 *
 * claim    A is counted up, C is set to this host and process, T to UNTIL
 * renew    a claim of this run, to T=UNTIL
 * release  undoes a claim: back to waiting, with the attempt taken back when CHARGED is false
 * restart  drops D, E and N: a claimed message that a person has put back is as good as fresh
 * defer    E=STATUS, T=NOT_BEFORE; D and N as ENTRY has them
 * hold     the same for a message that was not tried, claimed or not: no attempt is counted
 * sent     to cur/ with flag S, or removed when KEEP is false
 * mark     E=2.0.0: it is sent, and only the move to cur/ is missing
 * fail     to failed/ with E=STATUS; N as ENTRY has it
 * make_due drops T
 * requeue  of a message in failed/: to new/, without C, D, N and T, and with the E of a failed one,
 *          so that the run which claims it restarts it
 */
enum spool_moved spool_claim(
    struct spool *spool, const struct entry *entry, int64_t until, char *to, struct error *err);
enum spool_moved spool_renew(
    struct spool *spool, const struct entry *entry, int64_t until, char *to, struct error *err);
enum spool_moved spool_release(
    struct spool *spool, const struct entry *entry, bool charged, char *to, struct error *err);
enum spool_moved spool_restart(
    struct spool *spool, const struct entry *entry, char *to, struct error *err);
enum spool_moved spool_defer(struct spool *spool, const struct entry *entry, const char *status,
    int64_t not_before, char *to, struct error *err);
enum spool_moved spool_hold(struct spool *spool, const struct entry *entry, const char *status,
    int64_t not_before, char *to, struct error *err);
enum spool_moved spool_sent(
    struct spool *spool, const struct entry *entry, bool keep, char *to, struct error *err);
enum spool_moved spool_mark_sent(
    struct spool *spool, const struct entry *entry, char *to, struct error *err);
enum spool_moved spool_fail(struct spool *spool, const struct entry *entry, const char *status,
    char *to, struct error *err);
enum spool_moved spool_make_due(
    struct spool *spool, const struct entry *entry, char *to, struct error *err);
enum spool_moved spool_requeue(
    struct spool *spool, const struct entry *entry, char *to, struct error *err);

/* Somebody has been told of what became of ENTRY, which stands in DIR: drops N. TO as above. */
enum spool_moved spool_told(struct spool *spool, enum spool_dir dir, const struct entry *entry,
    char *to, struct error *err);

/*
 * fsync of the directories that changed. spool_sync_left says in how many milliseconds from
 * monotonic NOW_MS the contract asks for it: 0 is now, INT64_MAX never.
 */
int64_t spool_sync_left(const struct spool *spool, int64_t now_ms);
int spool_sync(struct spool *spool, struct error *err);
/* The same before the process ends, with the names that are gone from new/. */
int spool_sync_last(struct spool *spool, struct error *err);

/*
 * Stock dumps of Django stand in the root; O says how far they are imported. ENTRY and TO as above;
 * durable on return.
 *
 * advance  claims the dump until UNTIL, or keeps the claim, with O=OFFSET
 * rest     ends the claim; T=UNTIL, from when on it may be removed, or none when that is 0
 * give_up  to failed/ with E=5.6.0 and its O: a person must look, and can move it back
 */
enum spool_moved spool_dump_advance(struct spool *spool, const struct entry *entry, int64_t offset,
    int64_t until, char *to, struct error *err);
enum spool_moved spool_dump_rest(
    struct spool *spool, const struct entry *entry, int64_t until, char *to, struct error *err);
enum spool_moved spool_dump_give_up(
    struct spool *spool, const struct entry *entry, struct error *err);
int spool_dump_remove(struct spool *spool, const char *name, struct error *err);

/*
 * Records that are no messages, see state.h: empty files in state/. open makes the directory if it
 * is missing, make the file NAME if there is none, and move renames a file; SPOOL_GONE means that
 * another run was there first. In a shared spool TO must be a name
 * that no other run makes: that it is there then proves that the move is done, whatever is said.
 */
int spool_state_open(struct spool *spool, struct error *err);
enum spool_moved spool_state_make(struct spool *spool, const char *name, struct error *err);
enum spool_moved spool_state_move(
    struct spool *spool, const char *from, const char *to, struct error *err);

/*
 * Removes what nobody has written to in tmp/ for SPOOL_STALE_SECONDS before NOW. What can't be
 * removed holds up nothing else; it makes -1, with ERR for the first.
 */
int spool_sweep(struct spool *spool, int64_t now, struct error *err);

/* Whether NAME, a file with ST that is old enough, may be removed. */
typedef bool spool_may_go(void *context, const char *name, const struct stat *st);

/* Mail that is through, and is to be removed. */
struct spool_purge {
	enum spool_dir dir;   /* SPOOL_CUR or SPOOL_FAILED */
	int64_t older_than;   /* it came there before, epoch seconds */
	spool_may_go *may_go; /* NULL: all may */
	void *context;
	size_t messages; /* that are removed, to be set to 0 */
	uint64_t bytes;	 /* of them */
};

/* Removes it. Errors as in spool_sweep. */
int spool_purge(struct spool *spool, struct spool_purge *purge, struct error *err);

#endif
