/*
 * launch REPORT GROUP COMMAND [ARG …]: runs a command and tells what it cost, children and daemons
 * included.
 *
 * As a subreaper it becomes the parent of whatever the command leaves behind, so it ends when the
 * last of its processes has, and the kernel's account of its children is that of all of them. It is
 * small, because Linux counts the memory of who forks a process into the peak of the child.
 * That account misses those whose parent ignores SIGCHLD, so the command also enters the control
 * group of the folder GROUP ("-": none), where its caller finds the time of all.
 * SIGTERM goes on to the command. REPORT gets one line: wall, user and system seconds, the largest
 * resident size of one process in kilobytes, the command's exit status (128 + n: signal n).
 */
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static double seconds(struct timeval t)
{
	return (double)t.tv_sec + (double)t.tv_usec / 1e6;
}

static void enter(const char *group)
{
	char path[4096];
	FILE *file;

	if (strcmp(group, "-") == 0)
		return;
	snprintf(path, sizeof(path), "%s/cgroup.procs", group);
	file = fopen(path, "w");
	if (!file || fputs("0", file) == EOF || fclose(file)) {
		perror(path);
		_exit(71);
	}
}

static pid_t start(const char *group, char **argv, const sigset_t *mask)
{
	pid_t pid = fork();

	if (pid == 0) {
		enter(group);
		sigprocmask(SIG_SETMASK, mask, NULL);
		execvp(argv[0], argv);
		perror(argv[0]);
		_exit(127);
	}
	return pid;
}

/* Reaps who has ended. False: no child is left. STATUS gets that of FIRST. */
static bool reap(pid_t first, int *status)
{
	int said;
	pid_t pid;

	while ((pid = waitpid(-1, &said, WNOHANG)) > 0) {
		if (pid == first)
			*status = WIFEXITED(said) ? WEXITSTATUS(said) : 128 + WTERMSIG(said);
	}
	return pid == 0;
}

static int wait_for_all(pid_t first, const sigset_t *awaited)
{
	int status = 0;

	while (reap(first, &status)) {
		if (sigwaitinfo(awaited, NULL) == SIGTERM)
			kill(first, SIGTERM);
	}
	return status;
}

static int report(const char *path, double wall, int status)
{
	struct rusage used;
	FILE *file = fopen(path, "w");

	if (!file)
		return -1;
	getrusage(RUSAGE_CHILDREN, &used);
	fprintf(file, "%.6f %.6f %.6f %ld %d\n", wall, seconds(used.ru_utime),
	    seconds(used.ru_stime), used.ru_maxrss, status);
	return fclose(file);
}

int main(int argc, char **argv)
{
	sigset_t awaited;
	sigset_t before;
	double begun;
	pid_t pid;
	int status;

	if (argc < 4)
		return 64;
	sigemptyset(&awaited);
	sigaddset(&awaited, SIGCHLD);
	sigaddset(&awaited, SIGTERM);
	sigprocmask(SIG_BLOCK, &awaited, &before);
	prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
	begun = now();
	pid = start(argv[2], argv + 3, &before);
	if (pid < 0) {
		perror("fork");
		return 71;
	}
	status = wait_for_all(pid, &awaited);
	if (report(argv[1], now() - begun, status)) {
		perror(argv[1]);
		return 74;
	}
	return 0;
}
