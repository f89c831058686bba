/* A folder of the test's own, named to the program as systemd names the unit's. */
#ifndef FOLDER_H
#define FOLDER_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static inline int folder_make(void **state)
{
	static char path[64];

	(void)snprintf(path, sizeof path, "/tmp/maildrain-unit-XXXXXX");
	assert_non_null(mkdtemp(path));
	assert_int_equal(setenv("RUNTIME_DIRECTORY", path, 1), 0);
	*state = path;
	return 0;
}

static inline int folder_remove(void **state)
{
	const char *path = *state;
	char command[128];

	(void)snprintf(command, sizeof command, "rm -rf %s", path);
	return system(command);
}

/* The path of NAME in FOLDER, in BUF. */
static inline const char *folder_path(const char *folder, const char *name, char buf[128])
{
	(void)snprintf(buf, 128, "%s/%s", folder, name);
	return buf;
}

#endif
