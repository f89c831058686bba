#include "launch.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

#include "clock.h"

/* Signals as a program expects to find them, whatever main and this module have done to ours. */
static int set_signals(posix_spawnattr_t *attr, const sigset_t *mask)
{
	sigset_t usual;

	(void)sigemptyset(&usual);
	(void)sigaddset(&usual, SIGXFSZ);
	(void)sigaddset(&usual, SIGPIPE);
	if (posix_spawnattr_setsigdefault(attr, &usual) != 0 ||
	    posix_spawnattr_setsigmask(attr, mask) != 0 || posix_spawnattr_setpgroup(attr, 0) != 0)
		return -1;
	return posix_spawnattr_setflags(
	    attr, (short)(POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETPGROUP));
}

/* As posix_spawn: 0, or a code of errno. */
static int start(char *const argv[], char *const envp[], const sigset_t *mask, pid_t *pid)
{
	posix_spawn_file_actions_t files;
	posix_spawnattr_t attr;
	int result = ENOMEM;

	if (posix_spawn_file_actions_init(&files) != 0)
		return ENOMEM;
	if (posix_spawnattr_init(&attr) == 0) {
		if (set_signals(&attr, mask) == 0 &&
		    posix_spawn_file_actions_addopen(
			&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0) == 0)
			result = posix_spawn(pid, argv[0], &files, &attr, argv, envp);
		(void)posix_spawnattr_destroy(&attr);
	}
	(void)posix_spawn_file_actions_destroy(&files);
	return result;
}

/* Waits for PID until UNTIL, monotonic milliseconds; whether it has ended, with STATUS. */
static bool has_ended(pid_t pid, int64_t until, const sigset_t *child, int *status)
{
	for (;;) {
		const int64_t left = until - clock_monotonic();
		const struct timespec wait = {
		    .tv_sec = left / 1000, .tv_nsec = left % 1000 * 1000000};

		if (waitpid(pid, status, WNOHANG) == pid)
			return true;
		if (left <= 0)
			return false;
		(void)sigtimedwait(child, NULL, &wait);
	}
}

static void note_end(int status, struct launch_end *end)
{
	end->status = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
	end->signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

/* Sees PID to its end. 0, or -1 when it has none. */
static int see_off(
    pid_t pid, const struct launch_limits *limits, const sigset_t *child, struct launch_end *end)
{
	static const int words[] = {SIGTERM, SIGKILL};
	int64_t until = clock_monotonic() + limits->run;
	int status = 0;

	for (size_t i = 0; !has_ended(pid, until, child, &status); i++) {
		if (i == sizeof words / sizeof words[0])
			return -1;
		end->too_long = true;
		(void)kill(-pid, words[i]);
		until = clock_monotonic() + limits->grace;
	}
	note_end(status, end);
	return 0;
}

int launch_run(char *const argv[], char *const envp[], const struct launch_limits *limits,
    struct launch_end *end, struct error *err)
{
	const int64_t began = clock_monotonic();
	sigset_t child;
	sigset_t before;
	pid_t pid = 0;
	int result;

	*end = (struct launch_end){.status = -1};
	(void)sigemptyset(&child);
	(void)sigaddset(&child, SIGCHLD);
	/* Ignored, as whoever has started us may have left it, ends could not be waited for. */
	(void)signal(SIGCHLD, SIG_DFL);
	(void)sigprocmask(SIG_BLOCK, &child, &before);
	result = start(argv, envp, &before, &pid);
	if (result != 0)
		error_set(err, EX_UNAVAILABLE, "can't start %s: %s", argv[0], strerror(result));
	else if (see_off(pid, limits, &child, end) == -1)
		error_set(err, EX_UNAVAILABLE, "%s does not end", argv[0]);
	else
		result = 0;
	end->took = clock_monotonic() - began;
	(void)sigprocmask(SIG_SETMASK, &before, NULL);
	return result == 0 && (end->status != -1 || end->signal != 0) ? 0 : -1;
}
