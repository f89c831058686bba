#include "publish.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

#include "metrics.h"

/* The name bears the process, as runs that share a spool may share this file too. */
static int open_draft(const char *draft)
{
	/* What another process of that number has left when it was killed. */
	(void)unlink(draft);
	return open(draft, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
}

/* Fills FD and closes it. 0, or -1 with errno. */
static int fill(int fd, const struct survey *survey, const struct history *history)
{
	FILE *out = fdopen(fd, "w");
	int failed;

	if (out == NULL) {
		(void)close(fd);
		return -1;
	}
	metrics_write(out, survey, history);
	/* Whatever the umask: the collector is another user. */
	failed = fchmod(fd, 0644) == -1 || fflush(out) == EOF || ferror(out) != 0;
	return fclose(out) == EOF || failed ? -1 : 0;
}

int publish_metrics(
    const char *path, const struct survey *survey, const struct history *history, struct error *err)
{
	char draft[PATH_MAX];
	const int len = snprintf(draft, sizeof draft, "%s.%ld.tmp", path, (long)getpid());
	int fd;

	if (len < 0 || (size_t)len >= sizeof draft) {
		error_set(err, EX_IOERR, "the path of metrics_file is too long: %s", path);
		return -1;
	}
	fd = open_draft(draft);
	if (fd != -1 && fill(fd, survey, history) == 0 && rename(draft, path) == 0)
		return 0;
	error_set_errno(err, "can't write metrics_file %s", path);
	/* As for the exit status: the spool is well. */
	err->status = EX_IOERR;
	if (fd != -1)
		(void)unlink(draft);
	return -1;
}
