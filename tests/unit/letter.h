/* A message, loaded from a file that is gone by then. */
#ifndef LETTER_H
#define LETTER_H

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "io.h"
#include "message.h"

/* MESSAGE, to be freed by message_free, of TEXT[0..LEN) in a file with the name NAME. */
static inline void letter_load(
    struct message *message, const char *name, const char *text, size_t len)
{
	char path[] = "/tmp/maildrain-unit-XXXXXX";
	struct envelope_fault fault;
	int dir;
	int fd;

	assert_non_null(mkdtemp(path));
	dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	fd = openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	assert_int_equal(io_write(fd, text, len), 0);
	assert_int_equal(close(fd), 0);
	message_init(message);
	assert_int_equal(message_load(message, dir, name, &fault), MESSAGE_LOADED);
	assert_int_equal(unlinkat(dir, name, 0), 0);
	assert_int_equal(close(dir), 0);
	assert_int_equal(rmdir(path), 0);
}

#endif
