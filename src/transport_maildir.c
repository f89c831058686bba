/*
 * The Maildir transport: mail is delivered into a folder of this host, for a reader there. Meant
 * for development and staging: each message is written and synced in the one thread of the run.
 *
 * A file of the Maildir is named after its message and whom it is for, so what a crash has repeated
 * replaces what was there, also where a reader has moved it on.
 */
#include "transport.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

#include "hash.h"
#include "plain.h"
#include "results.h"

#define BATCH_MAX  100 /* messages with one sync of new/ */
#define UNIQUE_MAX 180 /* bytes of a name, which leaves room for what readers append */
#define NAME_SIZE  (UNIQUE_MAX + 32)
#define DEPTH_MAX  64 /* folders above it that are looked at */

enum { TMP, NEW, CUR, FOLDERS };

static const char in_spool[] = "a spool can't be a Maildir to deliver to";

static const char *const folder_name[FOLDERS] = {"tmp", "new", "cur"};

struct transport {
	const struct relay_config *relay;
	int folder[FOLDERS]; /* descriptors; -1: not open */
	enum transport_state state;
	struct results written; /* in new/, which is not synced */
	size_t written_count;
	struct results done;
	char why[1024];
};

static const char *maildir_version(void)
{
	return "";
}

static void maildir_close(struct transport *transport)
{
	if (transport == NULL)
		return;
	for (size_t i = 0; i < FOLDERS; i++)
		if (transport->folder[i] != -1)
			(void)close(transport->folder[i]);
	free(transport);
}

static struct transport *maildir_open(
    const struct relay_config *relay, const struct credential *credential, struct error *err)
{
	struct transport *transport = calloc(1, sizeof *transport);

	(void)credential;
	if (transport == NULL) {
		error_set(err, EX_OSERR, "out of memory for the Maildir %s", relay->path);
		return NULL;
	}
	transport->relay = relay;
	transport->state = TRANSPORT_OPENING;
	for (size_t i = 0; i < FOLDERS; i++)
		transport->folder[i] = -1;
	return transport;
}

/* ---- the folder ---- */

static int open_folder(int dirfd, const char *path)
{
	return openat(dirfd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

/* Opens the folder PATH in DIRFD, made if it is missing; -1 with errno. */
static int make_folder(int dirfd, const char *path)
{
	if (mkdirat(dirfd, path, 0700) == -1 && errno != EEXIST)
		return -1;
	return open_folder(dirfd, path);
}

static bool is_spool(int dirfd)
{
	return faccessat(dirfd, "failed", F_OK, 0) == 0 && faccessat(dirfd, "new", F_OK, 0) == 0;
}

static bool is_root(const struct stat *st, const struct stat *above)
{
	return st->st_dev == above->st_dev && st->st_ino == above->st_ino;
}

/*
 * Whether the folder DIRFD, or one above it, is a spool: its mail would come back to be sent, for
 * ever. Folders are gone up one by one, as the path may lead there through a link.
 */
static bool is_in_spool(int dirfd)
{
	int fd = openat(dirfd, ".", O_PATH | O_DIRECTORY | O_CLOEXEC);
	bool found = false;

	for (int i = 0; i < DEPTH_MAX && fd != -1 && !found; i++) {
		const int above = openat(fd, "..", O_PATH | O_DIRECTORY | O_CLOEXEC);
		struct stat st;
		struct stat st_above;

		found = is_spool(fd);
		if (above == -1 || fstat(fd, &st) == -1 || fstat(above, &st_above) == -1 ||
		    is_root(&st, &st_above))
			i = DEPTH_MAX;
		(void)close(fd);
		fd = above;
	}
	if (fd != -1)
		(void)close(fd);
	return found;
}

/* The same of the Maildir DIRFD, whose own folders may be links too. */
static bool leads_into_spool(int dirfd)
{
	bool found = is_in_spool(dirfd);

	for (size_t i = 0; i < FOLDERS && !found; i++) {
		const int fd = openat(dirfd, folder_name[i], O_PATH | O_DIRECTORY | O_CLOEXEC);

		if (fd == -1)
			continue;
		found = is_in_spool(fd);
		(void)close(fd);
	}
	return found;
}

static void fail(struct transport *transport, enum transport_state state, const char *what)
{
	transport->state = state;
	(void)snprintf(
	    transport->why, sizeof transport->why, "%s: %s", transport->relay->path, what);
}

/* The folder in which PATH stands, opened; -1 with errno. */
static int open_above(const char *path)
{
	char *above = strdup(path);
	char *slash = above != NULL ? strrchr(above, '/') : NULL;
	int fd = -1;

	if (slash != NULL) {
		slash[slash == above] = '\0';
		fd = open_folder(AT_FDCWD, above);
	}
	free(above);
	return fd;
}

/* Opens PATH, or if that is missing the folder in which it is to stand, ABOVE it. -1 with errno. */
static int open_nearest(const char *path, bool *above)
{
	const int dirfd = open_folder(AT_FDCWD, path);

	*above = dirfd == -1 && errno == ENOENT;
	return *above ? open_above(path) : dirfd;
}

/* Opens the Maildir, made if it is missing, but not in a spool. -1 with why. */
static int open_maildir(struct transport *transport)
{
	const char *path = transport->relay->path;
	bool above;
	int dirfd = open_nearest(path, &above);

	if (dirfd != -1 && leads_into_spool(dirfd)) {
		fail(transport, TRANSPORT_MISCONFIGURED, in_spool);
		(void)close(dirfd);
		return -1;
	}
	if (dirfd != -1 && above) {
		(void)close(dirfd);
		dirfd = make_folder(AT_FDCWD, path);
	}
	if (dirfd == -1)
		fail(transport, TRANSPORT_DOWN, strerror(errno));
	return dirfd;
}

static void open_folders(struct transport *transport)
{
	const int dirfd = open_maildir(transport);

	if (dirfd == -1)
		return;
	transport->state = TRANSPORT_UP;
	for (size_t i = 0; i < FOLDERS && transport->state == TRANSPORT_UP; i++) {
		transport->folder[i] = make_folder(dirfd, folder_name[i]);
		if (transport->folder[i] == -1)
			fail(transport, TRANSPORT_DOWN, strerror(errno));
	}
	/* They must not be lost in a power cut when what is in them is not. */
	if (transport->state == TRANSPORT_UP && fsync(dirfd) == -1)
		fail(transport, TRANSPORT_DOWN, strerror(errno));
	(void)close(dirfd);
}

/* ---- one message ---- */

static uint64_t hash_text(uint64_t seed, const char *text)
{
	return hash_bytes(seed, text, strlen(text) + 1);
}

/* The name that MESSAGE has there for those to whom it goes now. */
static void make_name(const struct message *message, char name[NAME_SIZE])
{
	const struct envelope *envelope = &message->envelope;
	const size_t len = message->entry.unique_len;
	uint64_t hash = hash_bytes(0, message->entry.name, len);

	for (size_t i = 0; i < envelope->count; i++) {
		const struct recipient *recipient = &envelope->recipient[i];

		if (recipient->state == RECIPIENT_TODO || recipient->redirected)
			hash = hash_text(hash, recipient->address);
	}
	(void)snprintf(name, NAME_SIZE, "%.*s.%016" PRIx64,
	    (int)(len < UNIQUE_MAX ? len : UNIQUE_MAX), message->entry.name, hash);
}

/* Whether a reader has moved NAME to cur/, where it has got flags. */
static bool is_read(const struct transport *transport, const char *name)
{
	const size_t len = strlen(name);
	const int fd = openat(transport->folder[CUR], ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd != -1 ? fdopendir(fd) : NULL;
	const struct dirent *entry;
	bool found = false;

	if (dir == NULL) {
		if (fd != -1)
			(void)close(fd);
		return false;
	}
	while (!found && (entry = readdir(dir)) != NULL)
		found = strncmp(entry->d_name, name, len) == 0 &&
			(entry->d_name[len] == '\0' || strchr(":,", entry->d_name[len]) != NULL);
	(void)closedir(dir);
	return found;
}

/* What delivery adds, RFC 5321 section 4.4. Which addresses there are was checked before. */
static void write_fields(FILE *out, const struct envelope *envelope)
{
	(void)fprintf(out, "Return-Path: <%s>\n", envelope->sender);
	for (size_t i = 0; i < envelope->count; i++)
		if (envelope->recipient[i].state == RECIPIENT_TODO)
			(void)fprintf(out, "Delivered-To: %s\n", envelope->recipient[i].address);
}

/* 0, or -1 with errno, as of message_pour. FD is closed. */
static int write_message(int fd, struct message *message)
{
	FILE *out = fdopen(fd, "w");
	int result;
	int code;

	if (out == NULL) {
		(void)close(fd);
		return -1;
	}
	write_fields(out, &message->envelope);
	result = fflush(out);
	if (result == 0)
		result = message_pour(message, fd);
	if (result == 0)
		result = fsync(fd);
	code = errno;
	if (fclose(out) != 0 && result == 0)
		return -1;
	errno = code;
	return result;
}

/* Delivers MESSAGE as NAME into new/. 0, or -1 with errno. */
static int deliver(const struct transport *transport, struct message *message, const char *name)
{
	const int tmp = transport->folder[TMP];
	int fd;
	int code;

	/* One that a crash has left there. */
	if (unlinkat(tmp, name, 0) == -1 && errno != ENOENT)
		return -1;
	fd = openat(tmp, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd == -1)
		return -1;
	if (write_message(fd, message) == 0 &&
	    renameat(tmp, name, transport->folder[NEW], name) == 0)
		return 0;
	code = errno;
	(void)unlinkat(tmp, name, 0);
	errno = code;
	return -1;
}

static void give_back(
    struct transport *transport, struct message *message, enum message_verdict verdict)
{
	message->verdict = verdict;
	results_add(&transport->done, message);
}

static void put_off(
    struct transport *transport, struct message *message, const char *status, const char *text)
{
	message_settle(message, RECIPIENT_DEFERRED, status, text);
	give_back(transport, message, MESSAGE_SETTLED);
}

/* Some faults are a matter of this message, and a smaller one may yet be delivered. */
static void not_delivered(struct transport *transport, struct message *message, int code)
{
	switch (code) {
	case ESTALE:
		put_off(transport, message, "4.3.0", "the file changed while it was sent");
		break;
	case ENOSPC:
	case EDQUOT:
	case EFBIG:
		put_off(transport, message, "4.2.2", strerror(code));
		break;
	default:
		fail(transport, TRANSPORT_DOWN, strerror(code));
		give_back(transport, message, MESSAGE_UNTRIED);
	}
}

static bool maildir_ready(struct transport *transport, size_t waiting)
{
	(void)waiting;
	if (transport->state == TRANSPORT_OPENING)
		open_folders(transport);
	return transport->state == TRANSPORT_UP && transport->written_count < BATCH_MAX;
}

static void maildir_submit(struct transport *transport, struct message *message)
{
	char name[NAME_SIZE];

	make_name(message, name);
	/* A first attempt can't be there yet: cur/, which may be large, need not be read. */
	if ((message->entry.attempts <= 1 || !is_read(transport, name)) &&
	    deliver(transport, message, name) == -1) {
		not_delivered(transport, message, errno);
		return;
	}
	results_add(&transport->written, message);
	transport->written_count++;
}

/* Its file is written, so nothing is left to be stopped. */
static void maildir_withdraw(struct transport *transport, struct message *message)
{
	(void)transport;
	(void)message;
}

static void settle_written(struct transport *transport, struct message *message, int code)
{
	if (code != 0) {
		put_off(transport, message, "4.2.0", strerror(code));
		return;
	}
	message_settle(message, RECIPIENT_DONE, "2.0.0", "250 2.0.0 Ok: delivered");
	give_back(transport, message, MESSAGE_SETTLED);
}

/* What is in new/ is there for good once that is synced. */
static void sync_written(struct transport *transport)
{
	struct message *message;
	int code;

	if (transport->written.first == NULL)
		return;
	code = fsync(transport->folder[NEW]) == -1 ? errno : 0;
	while ((message = results_take(&transport->written)) != NULL)
		settle_written(transport, message, code);
	transport->written_count = 0;
	if (code != 0)
		fail(transport, TRANSPORT_DOWN, strerror(code));
}

static void maildir_prepare(struct transport *transport, struct waits *waits)
{
	sync_written(transport);
	if (transport->done.first != NULL)
		waits_within(waits, 0);
}

static void maildir_work(struct transport *transport, const struct waits *waits)
{
	(void)transport;
	(void)waits;
}

static struct message *maildir_result(struct transport *transport)
{
	return results_take(&transport->done);
}

static enum transport_state maildir_state(struct transport *transport, const char **why)
{
	*why = transport->why;
	return transport->state;
}

static void maildir_finish(struct transport *transport)
{
	sync_written(transport);
}

/* ---- verify ---- */

static int not_writable(const char *path, const char *what, struct error *err)
{
	error_set(err, EX_CANTCREAT,
	    "%s: %s\nit must belong to the user who sends; where systemd starts the runs, "
	    "ReadWritePaths= must name it",
	    path, what);
	return -1;
}

static bool is_writable(int dirfd, const char *path)
{
	return faccessat(dirfd, path, W_OK | X_OK, AT_EACCESS) == 0;
}

/* DIRFD is the Maildir, or the folder ABOVE that one which is not there yet. */
static int probe_folder(const char *path, int dirfd, bool above, FILE *out, struct error *err)
{
	bool missing = above;

	if (leads_into_spool(dirfd)) {
		error_set(err, EX_CONFIG, "%s: %s", path, in_spool);
		return -1;
	}
	for (size_t i = 0; i < FOLDERS && !above; i++) {
		if (is_writable(dirfd, folder_name[i]))
			continue;
		if (errno != ENOENT)
			return not_writable(path, strerror(errno), err);
		missing = true;
	}
	if (missing && !is_writable(dirfd, "."))
		return not_writable(path, strerror(errno), err);
	if (above)
		(void)fprintf(out, "  it is not there yet: the first message makes it\n");
	return 0;
}

static int maildir_probe(const struct relay_config *relay, const struct credential *credential,
    FILE *out, struct error *err)
{
	const struct passwd *user = getpwuid(geteuid());
	bool above;
	const int dirfd = open_nearest(relay->path, &above);
	int result;

	(void)credential;
	(void)fprintf(out, "  delivers into: ");
	plain_text(out, relay->path);
	(void)fprintf(out, "\n  as user: %s\n", user != NULL ? user->pw_name : "without a name");
	if (dirfd == -1)
		return not_writable(relay->path, strerror(errno), err);
	result = probe_folder(relay->path, dirfd, above, out, err);
	(void)close(dirfd);
	return result;
}

const struct transport_kind transport_maildir = {
    .made_for = MAILDRAIN_VERSION,
    .version = maildir_version,
    .open = maildir_open,
    .ready = maildir_ready,
    .submit = maildir_submit,
    .withdraw = maildir_withdraw,
    .prepare = maildir_prepare,
    .work = maildir_work,
    .result = maildir_result,
    .state = maildir_state,
    .finish = maildir_finish,
    .close = maildir_close,
    .probe = maildir_probe,
};
