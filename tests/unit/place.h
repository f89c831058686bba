/* A spool of the test's own, open. */
#ifndef PLACE_H
#define PLACE_H

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "error.h"
#include "spool.h"

struct place {
	char path[64];
	struct spool spool;
	struct error err;
};

static inline void place_make(struct place *place)
{
	(void)snprintf(place->path, sizeof place->path, "/tmp/maildrain-unit-XXXXXX");
	assert_non_null(mkdtemp(place->path));
	assert_int_equal(spool_init(place->path, NULL, &place->err), 0);
	assert_int_equal(spool_open(&place->spool, place->path, &place->err), 0);
}

static inline int place_remove(struct place *place)
{
	char command[128];

	spool_close(&place->spool);
	(void)snprintf(command, sizeof command, "rm -rf %s", place->path);
	return system(command);
}

/* An empty file in the directory DIR. */
static inline void place_touch(int dir, const char *name)
{
	const int fd = openat(dir, name, O_CREAT | O_EXCL | O_WRONLY, 0600);

	assert_int_not_equal(fd, -1);
	assert_int_equal(close(fd), 0);
}

static inline bool place_has(int dir, const char *name)
{
	return faccessat(dir, name, F_OK, 0) == 0;
}

#endif
