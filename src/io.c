#include "io.h"

#include <errno.h>
#include <unistd.h>

#define COPY_SIZE ((size_t)64 * 1024)

int io_write(int fd, const char *bytes, size_t len)
{
	while (len > 0) {
		ssize_t n = write(fd, bytes, len);

		if (n == -1 && errno == EINTR)
			continue;
		if (n == -1)
			return -1;
		bytes += n;
		len -= (size_t)n;
	}
	return 0;
}

ssize_t io_pread(int fd, char *buf, size_t len, uint64_t offset)
{
	size_t got = 0;

	while (got < len) {
		ssize_t n = pread(fd, buf + got, len - got, (off_t)(offset + got));

		if (n == -1 && errno == EINTR)
			continue;
		if (n == -1)
			return -1;
		if (n == 0)
			break;
		got += (size_t)n;
	}
	return (ssize_t)got;
}

int io_copy(int in, uint64_t from, uint64_t to, int out)
{
	char buf[COPY_SIZE];

	while (from < to) {
		const size_t want = to - from < COPY_SIZE ? (size_t)(to - from) : COPY_SIZE;
		const ssize_t n = io_pread(in, buf, want, from);

		if (n == 0)
			errno = EIO;
		if (n <= 0 || io_write(out, buf, (size_t)n) == -1)
			return -1;
		from += (uint64_t)n;
	}
	return 0;
}
