#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "io.h"

#define LARGE ((size_t)300000)

static char *pattern(void)
{
	char *bytes = malloc(LARGE);

	assert_non_null(bytes);
	for (size_t i = 0; i < LARGE; i++)
		bytes[i] = (char)(i * 31 + i / 256);
	return bytes;
}

static int memory_file(const char *bytes, size_t len)
{
	const int fd = memfd_create("test", MFD_CLOEXEC);

	assert_true(fd != -1);
	assert_int_equal(io_write(fd, bytes, len), 0);
	return fd;
}

/* A pipe takes 64 KiB at a time: the write must go on behind each part. */
static void writes_all_in_parts(void **state)
{
	char *bytes = pattern();
	char *got = malloc(LARGE);
	size_t count = 0;
	int ends[2];
	pid_t child;

	(void)state;
	assert_non_null(got);
	assert_int_equal(pipe(ends), 0);
	child = fork();
	if (child == 0) {
		(void)close(ends[0]);
		_exit(io_write(ends[1], bytes, LARGE) == 0 ? 0 : 1);
	}
	(void)close(ends[1]);
	while (count < LARGE) {
		const ssize_t n = read(ends[0], got + count, LARGE - count);

		assert_true(n > 0);
		count += (size_t)n;
	}
	assert_memory_equal(got, bytes, LARGE);
	assert_int_equal(waitpid(child, NULL, 0), child);
	(void)close(ends[0]);
	free(bytes);
	free(got);
}

static void tells_why_it_could_not_write(void **state)
{
	const int fd = open("/dev/full", O_WRONLY | O_CLOEXEC);

	(void)state;
	assert_int_equal(io_write(-1, "x", 1), -1);
	assert_int_equal(errno, EBADF);
	assert_int_equal(io_write(-1, "", 0), 0);
	if (fd != -1) {
		assert_int_equal(io_write(fd, "x", 1), -1);
		assert_int_equal(errno, ENOSPC);
		(void)close(fd);
	}
}

static void reads_up_to_the_end(void **state)
{
	const int fd = memory_file("0123456789", 10);
	char buf[16];

	(void)state;
	assert_int_equal(io_pread(fd, buf, 4, 3), 4);
	assert_memory_equal(buf, "3456", 4);
	assert_int_equal(io_pread(fd, buf, sizeof buf, 8), 2);
	assert_int_equal(io_pread(fd, buf, sizeof buf, 10), 0);
	assert_int_equal(io_pread(fd, buf, sizeof buf, 1000), 0);
	assert_int_equal(io_pread(fd, buf, 0, 0), 0);
	assert_int_equal(io_pread(-1, buf, 1, 0), -1);
	(void)close(fd);
}

static void copies_a_part(void **state)
{
	char *bytes = pattern();
	char *got = malloc(LARGE);
	const int in = memory_file(bytes, LARGE);
	const int out = memory_file("begin", 5);

	(void)state;
	assert_non_null(got);
	assert_int_equal(io_copy(in, 7, LARGE - 9, out), 0);
	assert_int_equal(io_pread(out, got, LARGE, 0), 5 + LARGE - 16);
	assert_memory_equal(got, "begin", 5);
	assert_memory_equal(got + 5, bytes + 7, LARGE - 16);
	assert_int_equal(io_copy(in, 5, 5, out), 0);
	(void)close(in);
	(void)close(out);
	free(bytes);
	free(got);
}

static void a_source_that_is_too_short_is_an_error(void **state)
{
	const int in = memory_file("0123456789", 10);
	const int out = memory_file("", 0);

	(void)state;
	errno = 0;
	assert_int_equal(io_copy(in, 0, 11, out), -1);
	assert_int_equal(errno, EIO);
	assert_int_equal(io_copy(-1, 0, 1, out), -1);
	assert_int_equal(io_copy(in, 0, 1, -1), -1);
	(void)close(in);
	(void)close(out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(writes_all_in_parts),
	    cmocka_unit_test(tells_why_it_could_not_write),
	    cmocka_unit_test(reads_up_to_the_end),
	    cmocka_unit_test(copies_a_part),
	    cmocka_unit_test(a_source_that_is_too_short_is_an_error),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
