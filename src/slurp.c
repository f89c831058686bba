#include "slurp.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

static const char *reason(int number)
{
	if (number == ENOENT)
		return "it does not exist; create it, or correct its path";
	if (number == EACCES)
		return "permission denied; allow the user who runs this to read it";
	return strerror(number);
}

static ssize_t read_all(int fd, char *buf, size_t size)
{
	size_t len = 0;

	while (len < size) {
		ssize_t got = read(fd, buf + len, size - len);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -1;
		if (got == 0)
			break;
		len += (size_t)got;
	}
	return (ssize_t)len;
}

static ssize_t read_regular(int fd, char *buf, size_t size, struct stat *st, const char **fault)
{
	ssize_t len;

	if (fstat(fd, st) != 0) {
		*fault = reason(errno);
		return -1;
	}
	if (!S_ISREG(st->st_mode)) {
		*fault = S_ISDIR(st->st_mode) ? "it is a directory; name a file"
					      : "it is no regular file; name one that is";
		errno = EINVAL;
		return -1;
	}
	len = read_all(fd, buf, size);
	if (len < 0)
		*fault = reason(errno);
	return len;
}

ssize_t slurp(const char *path, char *buf, size_t size, struct stat *st, const char **fault)
{
	/* O_NONBLOCK: a FIFO must not hold us up until it is found not to be a file. */
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK), number;
	ssize_t len;

	if (fd < 0) {
		*fault = reason(errno);
		return -1;
	}
	len = read_regular(fd, buf, size, st, fault);
	number = errno;
	(void)close(fd); /* nothing was written, so nothing can be lost */
	errno = number;
	return len;
}
