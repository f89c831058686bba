#include "spool.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

#include "clock.h"

#define TWINS_MAX    1000 /* messages of one name in one directory */
#define NAME_RESERVE 16	  /* bytes that a later state of a claimed message may need more */

static const struct {
	const char *name;
	mode_t mode;
} layout[SPOOL_DIRS] = {
    [SPOOL_TMP] = {"tmp", 03770},
    [SPOOL_NEW] = {"new", 03770},
    [SPOOL_CUR] = {"cur", 02750},
    [SPOOL_FAILED] = {"failed", 02750},
};

/* Stock Django writes its dumps into the spool itself, so writers need that too. */
static const mode_t ROOT_MODE = 03770;

static const char STATE[] = "state";
static const mode_t STATE_MODE = 02750;

const char *spool_dir_name(enum spool_dir dir)
{
	return layout[dir].name;
}

/* ---- making, opening, checking ---- */

static int make_dir(int at, const char *name, const struct spool_owner *owner, mode_t mode,
    const char *path, struct error *err)
{
	int fd;
	int result = 0;

	if (mkdirat(at, name, 0700) == -1 && errno != EEXIST) {
		error_set_errno(err, "can't make the directory %s", path);
		return -1;
	}
	fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd == -1 || (owner != NULL && fchown(fd, owner->uid, owner->gid) == -1) ||
	    fchmod(fd, mode) == -1 || fsync(fd) == -1) {
		error_set_errno(err, "can't set up the directory %s", path);
		result = -1;
	}
	if (fd != -1)
		(void)close(fd);
	return result;
}

int spool_init(const char *path, const struct spool_owner *owner, struct error *err)
{
	char sub[PATH_MAX];
	int root;
	int result = 0;

	if (make_dir(AT_FDCWD, path, owner, ROOT_MODE, path, err) == -1)
		return -1;
	root = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (root == -1) {
		error_set_errno(err, "can't open %s", path);
		return -1;
	}
	for (int dir = 0; dir < SPOOL_DIRS && result == 0; dir++) {
		(void)snprintf(sub, sizeof sub, "%s/%s", path, layout[dir].name);
		result = make_dir(root, layout[dir].name, owner, layout[dir].mode, sub, err);
	}
	if (result == 0) {
		(void)snprintf(sub, sizeof sub, "%s/%s", path, STATE);
		result = make_dir(root, STATE, owner, STATE_MODE, sub, err);
	}
	if (result == 0 && fsync(root) == -1) {
		error_set_errno(err, "can't sync %s", path);
		result = -1;
	}
	(void)close(root);
	return result;
}

static int open_dir(struct spool *spool, enum spool_dir dir, struct error *err)
{
	int why;

	spool->dir[dir] =
	    openat(spool->root, layout[dir].name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (spool->dir[dir] != -1)
		return 0;
	why = errno;
	error_set_errno(err, "can't open the spool directory %s/%s", spool->path, layout[dir].name);
	if (why == ENOENT || why == ENOTDIR || why == ELOOP)
		error_set(err, EX_CONFIG,
		    "%s is no spool: it has no directory %s; make one with "
		    "\"maildrain init\"",
		    spool->path, layout[dir].name);
	return -1;
}

static int open_state(const struct spool *spool)
{
	return openat(spool->root, STATE, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

/* The name of this machine as names of files may hold it. */
static void set_host(struct spool *spool)
{
	if (gethostname(spool->host, sizeof spool->host) == -1)
		(void)snprintf(spool->host, sizeof spool->host, "localhost");
	spool->host[sizeof spool->host - 1] = '\0';
	for (char *c = spool->host; *c != '\0'; c++)
		if (*c == '/' || *c == ':' || *c == ',' || *c == '=' || *c <= ' ')
			*c = '_';
}

int spool_open(struct spool *spool, const char *path, struct error *err)
{
	*spool = (struct spool){
	    .path = path, .root = -1, .dir = {-1, -1, -1, -1}, .state = -1, .pid = getpid()};
	set_host(spool);
	spool->root = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (spool->root == -1) {
		if (errno == ENOENT)
			error_set(err, EX_CONFIG,
			    "there is no spool at %s; make one with \"maildrain init\"", path);
		else
			error_set_errno(err, "can't open the spool %s", path);
		return -1;
	}
	for (int dir = 0; dir < SPOOL_DIRS; dir++) {
		if (open_dir(spool, (enum spool_dir)dir, err) == -1) {
			spool_close(spool);
			return -1;
		}
	}
	spool->state = open_state(spool);
	return 0;
}

void spool_close(struct spool *spool)
{
	/* Directories are only read through these: close has nothing to report. */
	for (int dir = 0; dir < SPOOL_DIRS; dir++)
		if (spool->dir[dir] != -1)
			(void)close(spool->dir[dir]);
	if (spool->state != -1)
		(void)close(spool->state);
	if (spool->root != -1)
		(void)close(spool->root);
	spool->root = -1;
}

static int check_dir(
    const struct spool *spool, int fd, const char *name, mode_t mode, struct error *err)
{
	struct stat root;
	struct stat st;

	if (fstat(spool->root, &root) == -1 || fstat(fd, &st) == -1) {
		error_set_errno(err, "can't look at %s/%s", spool->path, name);
		return -1;
	}
	if (st.st_dev != root.st_dev) {
		error_set(err, EX_CONFIG,
		    "%s/%s is on another file system than %s: a rename could not move a message "
		    "there; bring them together",
		    spool->path, name, spool->path);
		return -1;
	}
	if ((st.st_mode & 07777) != mode) {
		error_set(err, EX_CONFIG,
		    "%s/%s has mode %04o and should have %04o; mend it with \"maildrain init\"",
		    spool->path, name, (unsigned)st.st_mode & 07777, (unsigned)mode);
		return -1;
	}
	if (st.st_uid != root.st_uid || st.st_gid != root.st_gid) {
		error_set(err, EX_CONFIG,
		    "%s/%s belongs to another user or group than %s; run: chown "
		    "--reference=%s %s/%s",
		    spool->path, name, spool->path, spool->path, spool->path, name);
		return -1;
	}
	return 0;
}

int spool_check(const struct spool *spool, struct error *err)
{
	if (check_dir(spool, spool->root, "", ROOT_MODE, err) == -1)
		return -1;
	for (int dir = 0; dir < SPOOL_DIRS; dir++)
		if (check_dir(spool, spool->dir[dir], layout[dir].name, layout[dir].mode, err) ==
		    -1)
			return -1;
	if (spool->state != -1 && check_dir(spool, spool->state, STATE, STATE_MODE, err) == -1)
		return -1;
	return 0;
}

int spool_movable(const struct spool *spool, struct error *err)
{
	struct stat root;
	struct stat st;

	if (fstat(spool->root, &root) == -1) {
		error_set_errno(err, "can't look at %s", spool->path);
		return -1;
	}
	for (int dir = 0; dir < SPOOL_DIRS; dir++) {
		if (faccessat(spool->dir[dir], ".", W_OK | X_OK, 0) == -1 ||
		    fstat(spool->dir[dir], &st) == -1) {
			error_set_errno(err, "this user can't move messages to and from %s/%s",
			    spool->path, layout[dir].name);
			return -1;
		}
		if (st.st_dev != root.st_dev) {
			error_set(err, EX_IOERR,
			    "%s/%s is on another file system than %s; bring them together",
			    spool->path, layout[dir].name, spool->path);
			return -1;
		}
	}
	return 0;
}

int spool_lock(struct spool *spool, struct error *err)
{
	if (flock(spool->root, LOCK_EX | LOCK_NB) == 0)
		return 1;
	if (errno == EWOULDBLOCK)
		return 0;
	error_set_errno(err, "can't lock the spool %s", spool->path);
	return -1;
}

/* ---- looking through a directory ---- */

int spool_each(
    const struct spool *spool, int dirfd, spool_visit *visit, void *context, struct error *err)
{
	/* A description of its own: the position in the directory is not shared. */
	const int fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *stream = fd != -1 ? fdopendir(fd) : NULL;
	const struct dirent *item;
	int result = 0;

	if (stream == NULL) {
		error_set_errno(err, "can't read a directory of %s", spool->path);
		if (fd != -1)
			(void)close(fd);
		return -1;
	}
	while (result == 0 && (errno = 0, item = readdir(stream)) != NULL)
		if (strcmp(item->d_name, ".") != 0 && strcmp(item->d_name, "..") != 0)
			result = visit(context, item->d_name, item->d_type);
	if (result == 0 && errno != 0) {
		error_set_errno(err, "can't read a directory of %s", spool->path);
		result = -1;
	}
	(void)closedir(stream);
	return result;
}

/* ---- durability ---- */

/* A result now stands in DIR, and is to be on the disk soon. */
static void result_recorded(struct spool *spool, enum spool_dir dir)
{
	spool->dirty[dir] = true;
	if (spool->unsynced++ == 0)
		spool->unsynced_since = clock_monotonic();
}

int64_t spool_sync_left(const struct spool *spool, int64_t now_ms)
{
	const int64_t left = spool->unsynced_since + SPOOL_SYNC_SECONDS * INT64_C(1000) - now_ms;

	if (spool->unsynced == 0)
		return INT64_MAX;
	return spool->unsynced >= SPOOL_SYNC_RESULTS || left < 0 ? 0 : left;
}

static int sync_dir(const struct spool *spool, int fd, const char *name, struct error *err)
{
	if (TEMP_FAILURE_RETRY(fsync(fd)) == 0)
		return 0;
	error_set_errno(err, "can't sync %s/%s", spool->path, name);
	return -1;
}

/*
 * Only where results have arrived: a rename is one step for the journal of ext4 and xfs, so with it
 * goes the name that was left. (Where it is not, as with btrfs, a message can stand in both places
 * after a power cut, in neither it can't: spool_settle_twin.) Claims can be lost without harm.
 */
int spool_sync(struct spool *spool, struct error *err)
{
	for (int dir = 0; dir < SPOOL_DIRS; dir++) {
		if (!spool->dirty[dir])
			continue;
		if (sync_dir(spool, spool->dir[dir], layout[dir].name, err) == -1)
			return -1;
		spool->dirty[dir] = false;
	}
	spool->unsynced = 0;
	return 0;
}

int spool_sync_last(struct spool *spool, struct error *err)
{
	if (spool_sync(spool, err) == -1)
		return -1;
	spool->dirty[SPOOL_NEW] = spool->moved;
	spool->moved = false;
	return spool_sync(spool, err);
}

/* ---- changes of state ---- */

static bool is_there(int dirfd, const char *name)
{
	struct stat st;

	return fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

/*
 * rename(2) that never overwrites. Some file systems lack the flag; there a look goes before, which
 * suffices as long as nobody moves files of the same name by hand at this very moment.
 */
static int rename_new(int from_fd, const char *from, int to_fd, const char *to)
{
	if (renameat2(from_fd, from, to_fd, to, RENAME_NOREPLACE) == 0)
		return 0;
	if (errno != EINVAL && errno != ENOSYS)
		return -1;
	if (is_there(to_fd, to)) {
		errno = EEXIST;
		return -1;
	}
	return renameat(from_fd, from, to_fd, to);
}

/* TO gets NAME with "-TWIN" behind UNIQUE, and ENTRY with its other fields as they are. */
static bool twin_name(const struct entry *entry, unsigned twin, char *to)
{
	char renamed[ENTRY_NAME_MAX + 1];
	struct entry changed = *entry;
	struct entry parsed;
	const int len = snprintf(renamed, sizeof renamed, "%.*s-%u%s", (int)entry->unique_len,
	    entry->name, twin, entry->name + entry->unique_len);

	if (len < 0 || (size_t)len >= sizeof renamed || !entry_parse(renamed, &parsed))
		return false;
	changed.name = renamed;
	changed.unique_len = parsed.unique_len;
	return entry_format(&changed, to, ENTRY_NAME_MAX + 1) != -1;
}

static bool is_own_claim(const struct spool *spool, const struct entry *entry)
{
	long pid;

	return entry_claimed_by_host(entry, spool->host, &pid) && pid == spool->pid;
}

/* Where a directory stands in what is told to a person. */
static const char *place(const struct spool *spool, int fd)
{
	for (int dir = 0; dir < SPOOL_DIRS; dir++)
		if (spool->dir[dir] == fd)
			return layout[dir].name;
	return ".";
}

/*
 * The one rename behind every change of state: ENTRY in FROM becomes what CHANGED says, in TO_FD.
 *
 * A server of NFS that has lost its answer does the rename twice and says ENOENT. Nobody but this
 * run makes or moves a name with its own claim, so then the new name proves that it is done.
 */
static enum spool_moved move(struct spool *spool, int from, const struct entry *entry, int to_fd,
    const struct entry *changed, char *to, struct error *err)
{
	const bool own = is_own_claim(spool, entry) || is_own_claim(spool, changed);
	bool fits = entry_format(changed, to, ENTRY_NAME_MAX + 1) != -1;

	for (unsigned twin = 2; fits && twin < TWINS_MAX; twin++) {
		if (strcmp(entry->name, to) == 0 && from == to_fd)
			return SPOOL_MOVED;
		if (rename_new(from, entry->name, to_fd, to) == 0 ||
		    (errno == ENOENT && own && is_there(to_fd, to))) {
			spool->moved = true;
			return SPOOL_MOVED;
		}
		if (errno == ENOENT)
			return SPOOL_GONE;
		if (errno == ENAMETOOLONG)
			return SPOOL_TOO_LONG;
		if (errno != EEXIST) {
			error_set_errno(err, "can't move %s/%s/%s to %s/%s", spool->path,
			    place(spool, from), entry->name, place(spool, to_fd), to);
			return SPOOL_ERROR;
		}
		fits = twin_name(changed, twin, to);
	}
	return SPOOL_TOO_LONG;
}

/* The same for a message in new/. */
static enum spool_moved move_message(struct spool *spool, const struct entry *entry,
    enum spool_dir dir, const struct entry *changed, char *to, struct error *err)
{
	return move(spool, spool->dir[SPOOL_NEW], entry, spool->dir[dir], changed, to, err);
}

/* Room for HOST-PID. */
#define CLAIM_ROOM (SPOOL_HOST_MAX + 16)

/* Puts this run's claim until UNTIL into ENTRY; CLAIM, of CLAIM_ROOM bytes, must outlive it. */
static void set_claim(
    const struct spool *spool, struct entry *entry, int64_t until, char claim[CLAIM_ROOM])
{
	entry->not_before = until;
	entry->claim = claim;
	entry->claim_len =
	    (size_t)snprintf(claim, CLAIM_ROOM, "%s-%ld", spool->host, (long)spool->pid);
}

enum spool_moved spool_claim(
    struct spool *spool, const struct entry *entry, int64_t until, char *to, struct error *err)
{
	char claim[CLAIM_ROOM];
	struct entry changed = *entry;

	changed.attempts++;
	set_claim(spool, &changed, until, claim);
	if (entry_format(&changed, to, ENTRY_NAME_MAX + 1 - NAME_RESERVE) == -1)
		return SPOOL_TOO_LONG;
	return move_message(spool, entry, SPOOL_NEW, &changed, to, err);
}

enum spool_moved spool_renew(
    struct spool *spool, const struct entry *entry, int64_t until, char *to, struct error *err)
{
	struct entry changed = *entry;

	changed.not_before = until;
	return move_message(spool, entry, SPOOL_NEW, &changed, to, err);
}

static void drop_claim(struct entry *entry)
{
	entry->claim = NULL;
	entry->claim_len = 0;
	entry->not_before = 0;
}

/* Ends the claim of ENTRY as if it had not been made. */
static void undo_claim(struct entry *entry)
{
	drop_claim(entry);
	if (entry->attempts > 0)
		entry->attempts--;
}

enum spool_moved spool_release(
    struct spool *spool, const struct entry *entry, bool charged, char *to, struct error *err)
{
	struct entry changed = *entry;

	if (charged)
		drop_claim(&changed);
	else
		undo_claim(&changed);
	return move_message(spool, entry, SPOOL_NEW, &changed, to, err);
}

enum spool_moved spool_restart(
    struct spool *spool, const struct entry *entry, char *to, struct error *err)
{
	struct entry changed = *entry;

	changed.status[0] = '\0';
	changed.notify = 0;
	changed.warned = 0;
	return move_message(spool, entry, SPOOL_NEW, &changed, to, err);
}

enum spool_moved spool_defer(struct spool *spool, const struct entry *entry, const char *status,
    int64_t not_before, char *to, struct error *err)
{
	struct entry changed = *entry;

	drop_claim(&changed);
	changed.not_before = not_before;
	(void)snprintf(changed.status, sizeof changed.status, "%s", status);
	result_recorded(spool, SPOOL_NEW);
	return move_message(spool, entry, SPOOL_NEW, &changed, to, err);
}

enum spool_moved spool_hold(struct spool *spool, const struct entry *entry, const char *status,
    int64_t not_before, char *to, struct error *err)
{
	struct entry changed = *entry;

	if (entry->claim != NULL)
		undo_claim(&changed);
	changed.not_before = not_before;
	(void)snprintf(changed.status, sizeof changed.status, "%s", status);
	result_recorded(spool, SPOOL_NEW);
	return move_message(spool, entry, SPOOL_NEW, &changed, to, err);
}

/* What a message that is through keeps in its name: UNIQUE, attempts and what we do not know. */
static struct entry through(const struct entry *entry, const char *status)
{
	struct entry changed = *entry;

	drop_claim(&changed);
	changed.priority = ENTRY_PRIORITY_DEFAULT;
	changed.expires = 0;
	changed.notify = 0;
	changed.warned = 0;
	(void)snprintf(changed.status, sizeof changed.status, "%s", status);
	return changed;
}

enum spool_moved spool_sent(
    struct spool *spool, const struct entry *entry, bool keep, char *to, struct error *err)
{
	struct entry changed = through(entry, "");

	result_recorded(spool, keep ? SPOOL_CUR : SPOOL_NEW);
	changed.flags = "S";
	if (keep)
		return move_message(spool, entry, SPOOL_CUR, &changed, to, err);
	to[0] = '\0';
	if (unlinkat(spool->dir[SPOOL_NEW], entry->name, 0) == 0)
		return SPOOL_MOVED;
	if (errno == ENOENT)
		return SPOOL_GONE;
	error_set_errno(err, "can't remove %s/new/%s, which is sent", spool->path, entry->name);
	return SPOOL_ERROR;
}

enum spool_moved spool_mark_sent(
    struct spool *spool, const struct entry *entry, char *to, struct error *err)
{
	struct entry changed = through(entry, "2.0.0");

	result_recorded(spool, SPOOL_NEW);
	return move_message(spool, entry, SPOOL_NEW, &changed, to, err);
}

enum spool_moved spool_fail(
    struct spool *spool, const struct entry *entry, const char *status, char *to, struct error *err)
{
	struct entry changed = through(entry, status);

	changed.notify = entry->notify;
	result_recorded(spool, SPOOL_FAILED);
	return move_message(spool, entry, SPOOL_FAILED, &changed, to, err);
}

enum spool_moved spool_told(
    struct spool *spool, enum spool_dir dir, const struct entry *entry, char *to, struct error *err)
{
	const int fd = spool->dir[dir];
	struct entry changed = *entry;

	changed.notify = 0;
	result_recorded(spool, dir);
	return move(spool, fd, entry, fd, &changed, to, err);
}

enum spool_moved spool_make_due(
    struct spool *spool, const struct entry *entry, char *to, struct error *err)
{
	struct entry changed = *entry;

	changed.not_before = 0;
	result_recorded(spool, SPOOL_NEW);
	return move_message(spool, entry, SPOOL_NEW, &changed, to, err);
}

enum spool_moved spool_requeue(
    struct spool *spool, const struct entry *entry, char *to, struct error *err)
{
	struct entry changed = *entry;

	drop_claim(&changed);
	changed.notify = 0;
	changed.warned = 0;
	/* Whatever a person has put there: with E=2 it would be taken for sent. */
	if (!entry_has_class(entry, '5'))
		(void)snprintf(changed.status, sizeof changed.status, "5.0.0");
	result_recorded(spool, SPOOL_NEW);
	result_recorded(spool, SPOOL_FAILED);
	return move(
	    spool, spool->dir[SPOOL_FAILED], entry, spool->dir[SPOOL_NEW], &changed, to, err);
}

/* ---- new files ---- */

static void draft_name(struct spool *spool, struct spool_draft *draft)
{
	const int64_t now_us = clock_now_us();

	(void)snprintf(draft->name, sizeof draft->name, "%" PRId64 ".M%06" PRId64 "P%ldQ%u.%s",
	    now_us / 1000000, now_us % 1000000, (long)spool->pid, ++spool->counter, spool->host);
}

int spool_draft_open(struct spool *spool, struct spool_draft *draft, struct error *err)
{
	draft_name(spool, draft);
	memcpy(draft->target, draft->name, sizeof draft->target);
	draft->fd = openat(spool->dir[SPOOL_TMP], draft->name,
	    O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0640);
	if (draft->fd != -1)
		return 0;
	error_set_errno(err, "can't write %s/tmp/%s", spool->path, draft->name);
	return -1;
}

int spool_draft_reserve(
    struct spool *spool, struct spool_draft *draft, uint64_t bytes, struct error *err)
{
	if (spool_draft_open(spool, draft, err) == -1)
		return -1;
	/* Without the call, as on some file systems, all that is known is that the file is there.
	 */
	if (fallocate(draft->fd, 0, 0, (off_t)bytes) == 0 || errno == EOPNOTSUPP)
		return 0;
	error_set_errno(
	    err, "can't reserve %" PRIu64 " bytes for %s/tmp/%s", bytes, spool->path, draft->name);
	spool_draft_abandon(spool, draft);
	return -1;
}

void spool_draft_abandon(struct spool *spool, struct spool_draft *draft)
{
	/* Should this fail, the sweep of tmp/ does it later. */
	(void)unlinkat(spool->dir[SPOOL_TMP], draft->name, 0);
	/* Nobody misses what a close can't write of a file that is gone. */
	if (draft->fd != -1)
		(void)close(draft->fd);
	draft->fd = -1;
}

/* The data is on the disk and the file is closed. */
static int draft_finish(struct spool *spool, struct spool_draft *draft, struct error *err)
{
	const int fd = draft->fd;
	const off_t end = lseek(fd, 0, SEEK_CUR);

	/* What was reserved and not needed is given back. */
	if (end == -1 || TEMP_FAILURE_RETRY(ftruncate(fd, end)) == -1 ||
	    TEMP_FAILURE_RETRY(fsync(fd)) == -1) {
		error_set_errno(err, "can't sync %s/tmp/%s", spool->path, draft->name);
		return -1;
	}
	draft->fd = -1;
	if (close(fd) == -1 && errno != EINTR) {
		error_set_errno(err, "can't close %s/tmp/%s", spool->path, draft->name);
		return -1;
	}
	return 0;
}

/* Nobody else knows a draft's name: when it is gone, it has arrived, and an answer was lost. */
static int draft_arrived(int result, int to_fd, const char *to)
{
	return result == -1 && errno == ENOENT && is_there(to_fd, to) ? 0 : result;
}

/*
 * Puts the draft in the place of new/NAME, but not where there is none: then the message has been
 * taken away. Exchanging the two says so in one step; some file systems can't, and there a look
 * goes before.
 */
static int draft_exchange(struct spool *spool, const struct spool_draft *draft, const char *name)
{
	const int tmp_fd = spool->dir[SPOOL_TMP];
	const int new_fd = spool->dir[SPOOL_NEW];

	if (renameat2(tmp_fd, draft->name, new_fd, name, RENAME_EXCHANGE) == 0) {
		/* What was replaced; should this fail, the sweep of tmp/ does it later. */
		(void)unlinkat(tmp_fd, draft->name, 0);
		return 0;
	}
	if ((errno != EINVAL && errno != ENOSYS) || !is_there(new_fd, name))
		return -1;
	return draft_arrived(renameat(tmp_fd, draft->name, new_fd, name), new_fd, name);
}

/* A name that may not last is taken back: who was told of a failure will try again. */
static int sync_arrival(
    struct spool *spool, enum spool_dir dir, const char *name, struct error *err)
{
	if (sync_dir(spool, spool->dir[dir], layout[dir].name, err) == 0)
		return 0;
	(void)unlinkat(spool->dir[dir], name, 0);
	return -1;
}

/* Moves the draft to DIR under NAME, unless there is one; durable on return. */
static int draft_publish(struct spool *spool, struct spool_draft *draft, enum spool_dir dir,
    const char *name, struct error *err)
{
	const int tmp_fd = spool->dir[SPOOL_TMP];
	const int to_fd = spool->dir[dir];
	int result = draft_finish(spool, draft, err);

	if (result == 0 &&
	    draft_arrived(rename_new(tmp_fd, draft->name, to_fd, name), to_fd, name) == 0)
		return sync_arrival(spool, dir, name, err);
	if (result == 0 && errno != EEXIST) {
		error_set_errno(
		    err, "can't move %s/tmp/%s to %s/", spool->path, draft->name, layout[dir].name);
		result = -1;
	}
	spool_draft_abandon(spool, draft);
	return result;
}

int spool_draft_commit(struct spool *spool, struct spool_draft *draft, struct error *err)
{
	return draft_publish(spool, draft, SPOOL_NEW, draft->target, err);
}

int spool_draft_fail(
    struct spool *spool, struct spool_draft *draft, const char *status, struct error *err)
{
	char name[sizeof draft->target + 16];

	(void)snprintf(name, sizeof name, "%s,E=%s", draft->target, status);
	return draft_publish(spool, draft, SPOOL_FAILED, name, err);
}

/*
 * The directory is synced at once: after a power cut btrfs may still have the old file under the
 * name that it had before the claim, and who is served would be served again.
 */
enum spool_moved spool_draft_replace(
    struct spool *spool, struct spool_draft *draft, const char *name, struct error *err)
{
	enum spool_moved moved = SPOOL_ERROR;

	if (draft_finish(spool, draft, err) == 0) {
		if (draft_exchange(spool, draft, name) == 0)
			return sync_dir(spool, spool->dir[SPOOL_NEW], "new", err) == 0
				   ? SPOOL_MOVED
				   : SPOOL_ERROR;
		moved = errno == ENOENT ? SPOOL_GONE : SPOOL_ERROR;
		error_set_errno(err, "can't replace %s/new/%s", spool->path, name);
	}
	spool_draft_abandon(spool, draft);
	return moved;
}

/* ---- what has become of a message ---- */

struct search {
	int fd;
	const char *unique;
	size_t len;
	ino_t file; /* that it must be, or 0 */
};

static int search_one(void *context, const char *name, unsigned char type)
{
	const struct search *search = context;
	struct stat st;

	(void)type;
	if (strncmp(name, search->unique, search->len) != 0 ||
	    strchr(",:", name[search->len]) == NULL)
		return 0;
	if (search->file == 0)
		return 1;
	return fstatat(search->fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
	       st.st_ino == search->file;
}

static int search_dir(
    const struct spool *spool, enum spool_dir dir, struct search *search, struct error *err)
{
	search->fd = spool->dir[dir];
	return spool_each(spool, search->fd, search_one, search, err);
}

static int search_settled(const struct spool *spool, struct search *search, struct error *err)
{
	const int found = search_dir(spool, SPOOL_CUR, search, err);

	return found == 0 ? search_dir(spool, SPOOL_FAILED, search, err) : found;
}

bool spool_is_claimed(const struct spool *spool, const char *name)
{
	struct stat st;

	return fstatat(spool->dir[SPOOL_NEW], name, &st, AT_SYMLINK_NOFOLLOW) == 0 ||
	       errno != ENOENT;
}

int spool_has_unique(const struct spool *spool, const char *unique, struct error *err)
{
	struct search search = {.unique = unique, .len = strlen(unique)};
	const int found = search_dir(spool, SPOOL_NEW, &search, err);

	return found == 0 ? search_settled(spool, &search, err) : found;
}

int spool_settle_twin(struct spool *spool, const struct entry *entry, struct error *err)
{
	struct search search = {.unique = entry->name, .len = entry->unique_len};
	struct stat st;
	int found;

	if (fstatat(spool->dir[SPOOL_NEW], entry->name, &st, AT_SYMLINK_NOFOLLOW) == -1 ||
	    !S_ISREG(st.st_mode) || st.st_nlink != 2)
		return 0;
	search.file = st.st_ino;
	found = search_settled(spool, &search, err);
	if (found == 1 && unlinkat(spool->dir[SPOOL_NEW], entry->name, 0) == -1) {
		error_set_errno(err, "can't remove %s/new/%s", spool->path, entry->name);
		return -1;
	}
	return found;
}

/* ---- stock dumps ---- */

/* Renames the dump ENTRY to what CHANGED says, in the root or out of it; durable on return. */
static enum spool_moved dump_move(struct spool *spool, const struct entry *entry, int to_fd,
    const struct entry *changed, char *to, struct error *err)
{
	const enum spool_moved moved = move(spool, spool->root, entry, to_fd, changed, to, err);

	if (moved == SPOOL_TOO_LONG)
		error_set(err, EX_DATAERR, "the name of the dump %s/%s is too long", spool->path,
		    entry->name);
	if (moved != SPOOL_MOVED || (fsync(to_fd) == 0 && fsync(spool->root) == 0))
		return moved;
	error_set_errno(err, "can't sync %s", spool->path);
	return SPOOL_ERROR;
}

enum spool_moved spool_dump_advance(struct spool *spool, const struct entry *entry, int64_t offset,
    int64_t until, char *to, struct error *err)
{
	char claim[CLAIM_ROOM];
	struct entry changed = *entry;

	changed.offset = offset;
	set_claim(spool, &changed, until, claim);
	return dump_move(spool, entry, spool->root, &changed, to, err);
}

enum spool_moved spool_dump_rest(
    struct spool *spool, const struct entry *entry, int64_t until, char *to, struct error *err)
{
	struct entry changed = *entry;

	drop_claim(&changed);
	changed.not_before = until;
	return dump_move(spool, entry, spool->root, &changed, to, err);
}

enum spool_moved spool_dump_give_up(
    struct spool *spool, const struct entry *entry, struct error *err)
{
	char to[ENTRY_NAME_MAX + 1];
	struct entry changed = through(entry, "5.6.0");

	return dump_move(spool, entry, spool->dir[SPOOL_FAILED], &changed, to, err);
}

int spool_dump_remove(struct spool *spool, const char *name, struct error *err)
{
	if ((unlinkat(spool->root, name, 0) == 0 || errno == ENOENT) && fsync(spool->root) == 0)
		return 0;
	error_set_errno(err, "can't remove the dump %s/%s", spool->path, name);
	return -1;
}

/* ---- records that are no messages ---- */

int spool_state_open(struct spool *spool, struct error *err)
{
	if (spool->state != -1)
		return 0;
	if ((mkdirat(spool->root, STATE, 0750) == 0 || errno == EEXIST) &&
	    (spool->state = open_state(spool)) != -1 && fchmod(spool->state, STATE_MODE) == 0)
		return 0;
	error_set_errno(err, "can't make the directory %s/%s", spool->path, STATE);
	return -1;
}

enum spool_moved spool_state_make(struct spool *spool, const char *name, struct error *err)
{
	const int fd =
	    openat(spool->state, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0640);

	if (fd != -1 && close(fd) == 0)
		return SPOOL_MOVED;
	if (errno == EEXIST)
		return SPOOL_GONE;
	error_set_errno(err, "can't make %s/%s/%s", spool->path, STATE, name);
	return SPOOL_ERROR;
}

enum spool_moved spool_state_move(
    struct spool *spool, const char *from, const char *to, struct error *err)
{
	if (rename_new(spool->state, from, spool->state, to) == 0 ||
	    (errno == ENOENT && is_there(spool->state, to)))
		return SPOOL_MOVED;
	/* A second record stands there: FROM must not be found again, and in the way for ever. */
	if (errno == EEXIST && unlinkat(spool->state, from, 0) == 0)
		return SPOOL_GONE;
	if (errno == ENOENT)
		return SPOOL_GONE;
	error_set_errno(err, "can't move %s/%s/%s to %s", spool->path, STATE, from, to);
	return SPOOL_ERROR;
}

/* ---- housekeeping ---- */

struct cleaning {
	struct spool *spool;
	enum spool_dir dir;
	int64_t older_than;
	struct spool_purge *purge; /* NULL: nobody asks */
	size_t stuck;		   /* files that could not be removed */
	struct error *err;	   /* the first of them */
};

static void note_stuck(struct cleaning *cleaning, const char *name)
{
	if (cleaning->stuck++ == 0)
		error_set_errno(cleaning->err, "can't remove %s/%s/%s", cleaning->spool->path,
		    layout[cleaning->dir].name, name);
}

/* Removes NAME when it is a regular file that has not been touched since older_than. */
static int remove_when_old(struct cleaning *cleaning, const char *name)
{
	struct spool_purge *purge = cleaning->purge;
	const int fd = cleaning->spool->dir[cleaning->dir];
	struct stat st;

	/* Gone in the meantime, or not ours to look at: nothing to clean. */
	if (fstatat(fd, name, &st, AT_SYMLINK_NOFOLLOW) == -1 || !S_ISREG(st.st_mode))
		return 0;
	if (st.st_mtime >= cleaning->older_than || st.st_ctime >= cleaning->older_than)
		return 0;
	if (purge != NULL && purge->may_go != NULL && !purge->may_go(purge->context, name, &st))
		return 0;
	if (unlinkat(fd, name, 0) == -1) {
		if (errno != ENOENT)
			note_stuck(cleaning, name);
	} else if (purge != NULL) {
		purge->messages++;
		purge->bytes += (uint64_t)st.st_size;
	}
	return 0;
}

static int clean(struct cleaning *cleaning, spool_visit *visit)
{
	const struct spool *spool = cleaning->spool;
	struct error *err = cleaning->err;

	if (spool_each(spool, spool->dir[cleaning->dir], visit, cleaning, err) == -1)
		return -1;
	if (cleaning->stuck > 1) {
		const struct error first = *err;

		error_set(
		    err, first.status, "%s, and %zu more there", first.text, cleaning->stuck - 1);
	}
	return cleaning->stuck == 0 ? 0 : -1;
}

static int sweep_one(void *context, const char *name, unsigned char type)
{
	(void)type;
	return name[0] == '.' ? 0 : remove_when_old(context, name);
}

int spool_sweep(struct spool *spool, int64_t now, struct error *err)
{
	struct cleaning cleaning = {.spool = spool,
	    .dir = SPOOL_TMP,
	    .older_than = now - (int64_t)SPOOL_STALE_SECONDS,
	    .err = err};

	return clean(&cleaning, sweep_one);
}

/* A message is through after it was made, so a young name says "keep" without a look at the file.
 */
static int purge_one(void *context, const char *name, unsigned char type)
{
	struct cleaning *cleaning = context;
	struct entry entry;

	(void)type;
	if (!entry_parse(name, &entry) || entry_birth(&entry) >= cleaning->older_than)
		return 0;
	return remove_when_old(cleaning, name);
}

int spool_purge(struct spool *spool, struct spool_purge *purge, struct error *err)
{
	struct cleaning cleaning = {.spool = spool,
	    .dir = purge->dir,
	    .older_than = purge->older_than,
	    .purge = purge,
	    .err = err};

	return clean(&cleaning, purge_one);
}
