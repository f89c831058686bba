#include "child.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

#include "clock.h"

#define PIECE	     ((size_t)16 * 1024)
#define DRAIN_PIECES 64	  /* read after its end; a pipe holds less, and others may still write */
#define ASK_MS	     20	  /* between two looks whether it has ended, where nothing tells */
#define CLOSE_MS     1000 /* for what was killed to be gone */

struct stream {
	int fd; /* -1: it has ended, or is not ours to read */
	size_t place;
	char *kept;
	size_t room; /* without the NUL */
	size_t len;
	bool cut;
};

struct child {
	pid_t pid; /* 0: it was waited for */
	int pidfd; /* readable when it has ended; -1: there is none to be had */
	size_t place;
	bool prepared; /* the places are those of the poll under way */
	struct stream stream[CHILD_STREAMS];
	int64_t began_ms;
	int64_t until_ms; /* when it gets the next of the words */
	int64_t grace_ms;
	size_t told; /* how many of them it has got */
	bool ended;
	struct child_end end;
};

static const int words[] = {SIGTERM, SIGKILL};

#define WORDS (sizeof words / sizeof words[0])

/* ---- start ---- */

/* Pipes of which the program gets the ends in THEIRS. */
static int open_streams(struct child *child, const struct child_plan *plan, int theirs[])
{
	for (size_t i = 0; i < CHILD_STREAMS; i++) {
		struct stream *stream = &child->stream[i];
		int ends[2];

		if (plan->shared)
			continue;
		stream->room = plan->keep[i];
		stream->kept = calloc(1, stream->room + 1);
		if (stream->kept == NULL || pipe2(ends, O_CLOEXEC) == -1)
			return -1;
		stream->fd = ends[0];
		theirs[i] = ends[1];
		if (fcntl(stream->fd, F_SETFL, O_NONBLOCK) == -1)
			return -1;
	}
	return 0;
}

/* As a program expects to find them, whatever main and others have done to ours. */
static int set_signals(posix_spawnattr_t *attr)
{
	sigset_t all;
	sigset_t none;

	(void)sigfillset(&all);
	(void)sigemptyset(&none);
	if (posix_spawnattr_setsigdefault(attr, &all) != 0 ||
	    posix_spawnattr_setsigmask(attr, &none) != 0 || posix_spawnattr_setpgroup(attr, 0) != 0)
		return -1;
	return posix_spawnattr_setflags(
	    attr, (short)(POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETPGROUP));
}

/*
 * In this order none is written over before it is in place, not even where we were started with
 * standard descriptors closed and the pipes have got their numbers.
 */
static int set_files(posix_spawn_file_actions_t *files, int input, const int theirs[])
{
	int result;

	if (input == -1)
		result =
		    posix_spawn_file_actions_addopen(files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
	else
		result = posix_spawn_file_actions_adddup2(files, input, STDIN_FILENO);
	for (int i = 0; i < CHILD_STREAMS; i++)
		if (result == 0 && theirs[i] != -1)
			result =
			    posix_spawn_file_actions_adddup2(files, theirs[i], STDOUT_FILENO + i);
	return result != 0 ? result
			   : posix_spawn_file_actions_addclosefrom_np(files, STDERR_FILENO + 1);
}

/* As posix_spawn: 0, or a code of errno. */
static int spawn(pid_t *pid, const struct child_plan *plan, const int theirs[])
{
	posix_spawn_file_actions_t files;
	posix_spawnattr_t attr;
	int result = ENOMEM;

	if (posix_spawn_file_actions_init(&files) != 0)
		return ENOMEM;
	if (posix_spawnattr_init(&attr) == 0) {
		if (set_signals(&attr) == 0 && set_files(&files, plan->input, theirs) == 0)
			result =
			    posix_spawn(pid, plan->argv[0], &files, &attr, plan->argv, plan->envp);
		(void)posix_spawnattr_destroy(&attr);
	}
	(void)posix_spawn_file_actions_destroy(&files);
	return result;
}

static void close_fd(int *fd)
{
	/* A pipe or a pidfd: nothing can be lost by closing it. */
	if (*fd != -1)
		(void)close(*fd);
	*fd = -1;
}

/* Of an error CODE: the program's own, or that of a system which is out of something. */
static int status_of(int code)
{
	switch (code) {
	case EAGAIN:
	case EMFILE:
	case ENFILE:
	case ENOMEM:
		return EX_OSERR;
	default:
		return EX_UNAVAILABLE;
	}
}

static int start(struct child *child, const struct child_plan *plan)
{
	int theirs[CHILD_STREAMS] = {-1, -1};
	const int result =
	    open_streams(child, plan, theirs) == -1 ? errno : spawn(&child->pid, plan, theirs);

	for (size_t i = 0; i < CHILD_STREAMS; i++)
		close_fd(&theirs[i]);
	if (result != 0)
		child->pid = 0;
	else
		child->pidfd = (int)syscall(SYS_pidfd_open, child->pid, 0);
	return result;
}

struct child *child_start(const struct child_plan *plan, struct error *err)
{
	struct child *child = malloc(sizeof *child);
	int result = ENOMEM;

	if (child != NULL) {
		*child = (struct child){.pidfd = -1, .grace_ms = plan->limits.grace_ms};
		for (size_t i = 0; i < CHILD_STREAMS; i++)
			child->stream[i] = (struct stream){.fd = -1};
		child->began_ms = clock_monotonic();
		child->until_ms = child->began_ms + plan->limits.run_ms;
		/* Ignored, as who started us may have left it, ends could not be waited for. */
		(void)signal(SIGCHLD, SIG_DFL);
		result = start(child, plan);
	}
	if (result == 0)
		return child;
	error_set(err, status_of(result), "can't start %s: %s", plan->argv[0], strerror(result));
	child_close(child);
	return NULL;
}

/* ---- under way ---- */

/* Reads a piece of STREAM; whether there may be more at once. */
static bool read_piece(struct stream *stream)
{
	char rest[PIECE];
	const size_t left = stream->room - stream->len;
	char *to = left > 0 ? stream->kept + stream->len : rest;
	const ssize_t n = read(stream->fd, to, left > 0 ? left : sizeof rest);

	if (n == -1 && (errno == EAGAIN || errno == EINTR))
		return false;
	if (n <= 0) {
		close_fd(&stream->fd);
		return false;
	}
	if (left > 0)
		stream->len += (size_t)n;
	else
		stream->cut = true;
	/* What is not kept may be part of a secret all the same. */
	if (left == 0)
		explicit_bzero(rest, (size_t)n);
	return true;
}

/* What it said before its end, which a pipe may still hold. */
static void drain(struct stream *stream)
{
	for (size_t i = 0; i < DRAIN_PIECES && stream->fd != -1; i++)
		if (!read_piece(stream))
			break;
	close_fd(&stream->fd);
}

static void finish(struct child *child)
{
	for (size_t i = 0; i < CHILD_STREAMS; i++)
		drain(&child->stream[i]);
	close_fd(&child->pidfd);
	child->end.took = clock_monotonic() - child->began_ms;
	child->ended = true;
}

/* Whether it is no more; then it was waited for. */
static bool has_exited(struct child *child)
{
	siginfo_t info = {0};
	int status = 0;

	if (waitid(P_PID, (id_t)child->pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
	    info.si_pid == 0)
		return false;
	/* As long as it is not waited for, its number is no other group's. */
	if (child->told > 0)
		(void)kill(-child->pid, SIGKILL);
	if (waitpid(child->pid, &status, 0) == child->pid) {
		child->end.status = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
		child->end.signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
	}
	child->pid = 0;
	return true;
}

/* Says the next word; when all are said, no more is expected of it. */
static void tell(struct child *child)
{
	if (child->told == WORDS) {
		finish(child);
		return;
	}
	(void)kill(-child->pid, words[child->told++]);
	child->until_ms = clock_monotonic() + child->grace_ms;
}

void child_prepare(struct child *child, struct waits *waits)
{
	if (child->ended)
		return;
	for (size_t i = 0; i < CHILD_STREAMS; i++) {
		struct stream *stream = &child->stream[i];

		if (stream->fd != -1)
			stream->place = waits_add(waits, stream->fd, POLLIN);
	}
	if (child->pidfd != -1)
		child->place = waits_add(waits, child->pidfd, POLLIN);
	else
		waits_within(waits, ASK_MS);
	waits_within(waits, child->until_ms - clock_monotonic());
	child->prepared = true;
}

/* Reads what has come, one piece of each; whether it may have ended. */
static bool take_in(struct child *child, const struct waits *waits)
{
	if (!child->prepared)
		return false;
	child->prepared = false;
	for (size_t i = 0; i < CHILD_STREAMS; i++) {
		struct stream *stream = &child->stream[i];

		if (stream->fd != -1 && waits_got(waits, stream->place) != 0)
			(void)read_piece(stream);
	}
	return child->pidfd == -1 || waits_got(waits, child->place) != 0;
}

void child_work(struct child *child, const struct waits *waits)
{
	const bool late = clock_monotonic() >= child->until_ms;

	if (child->ended)
		return;
	if ((take_in(child, waits) || late) && has_exited(child)) {
		finish(child);
	} else if (late) {
		child->end.too_long = child->end.too_long || child->told == 0;
		tell(child);
	}
}

void child_stop(struct child *child)
{
	if (!child->ended && child->told == 0)
		tell(child);
}

bool child_ended(const struct child *child, struct child_end *end)
{
	*end = child->end;
	return child->ended;
}

const char *child_text(const struct child *child, enum child_stream stream, size_t *len)
{
	*len = child->stream[stream].len;
	return child->stream[stream].kept;
}

bool child_text_cut(const struct child *child, enum child_stream stream)
{
	return child->stream[stream].cut;
}

/* ---- close ---- */

/* What does not even die of SIGKILL, in a file system that has gone away, say, is left to init. */
static void put_down(struct child *child)
{
	const int64_t until = clock_monotonic() + CLOSE_MS;
	struct pollfd fd = {.fd = child->pidfd, .events = POLLIN};

	(void)kill(-child->pid, SIGKILL);
	while (!has_exited(child) && clock_monotonic() < until)
		(void)poll(&fd, child->pidfd != -1, ASK_MS);
}

void child_close(struct child *child)
{
	if (child == NULL)
		return;
	if (child->pid != 0)
		put_down(child);
	for (size_t i = 0; i < CHILD_STREAMS; i++) {
		struct stream *stream = &child->stream[i];

		close_fd(&stream->fd);
		if (stream->kept != NULL)
			explicit_bzero(stream->kept, stream->len);
		free(stream->kept);
	}
	close_fd(&child->pidfd);
	free(child);
}

/* ---- environment ---- */

/* The word of our environment that gives NAME, or NULL. */
static char *find_word(const char *name)
{
	const size_t len = strlen(name);

	for (char **word = environ; *word != NULL; word++)
		if (strncmp(*word, name, len) == 0 && (*word)[len] == '=')
			return *word;
	return NULL;
}

char **child_environment(char *const more[])
{
	static const char *const names[] = {"PATH", "LANG", "HOME", "USER"};
	const size_t usual = sizeof names / sizeof names[0];
	size_t extra = 0;
	size_t n = 0;
	char **env;

	while (more != NULL && more[extra] != NULL)
		extra++;
	env = calloc(usual + extra + 1, sizeof *env);
	if (env == NULL)
		return NULL;
	for (size_t i = 0; i < usual; i++) {
		char *word = find_word(names[i]);

		if (word != NULL)
			env[n++] = word;
	}
	for (size_t i = 0; i < extra; i++)
		env[n++] = more[i];
	return env;
}
