/*
 * conffile: a configuration file of a test's own, and what config_load says of it.
 */
#ifndef CONFFILE_H
#define CONFFILE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>
#include <cmocka.h>

#include "config.h"

#define RELAY(options) "relay \"main\" {\nurl = \"smtp://mx.example.com\"\n" options "\n}\n"

/* A temporary folder with the file under test, and files that it can name. */
struct place {
	char folder[64];
	char path[96];
	char password[96];
	char other[96];
};

static inline void write_file(const char *path, const void *data, size_t len)
{
	FILE *file = fopen(path, "w");

	assert_non_null(file);
	assert_int_equal(fwrite(data, 1, len, file), len);
	assert_int_equal(fclose(file), 0);
	assert_int_equal(chmod(path, 0640), 0);
}

static inline int set_up(void **state)
{
	struct place *place = calloc(1, sizeof *place);

	assert_non_null(place);
	strcpy(place->folder, "/tmp/maildrain-test-config-XXXXXX");
	assert_non_null(mkdtemp(place->folder));
	(void)snprintf(place->path, sizeof place->path, "%s/maildrain.conf", place->folder);
	(void)snprintf(place->password, sizeof place->password, "%s/password", place->folder);
	(void)snprintf(place->other, sizeof place->other, "%s/other", place->folder);
	assert_int_equal(setenv("TEST_FOLDER", place->folder, 1), 0);
	assert_int_equal(unsetenv("TEST_UNSET"), 0);
	*state = place;
	return 0;
}

static inline int tear_down(void **state)
{
	struct place *place = *state;

	(void)unlink(place->path);
	(void)unlink(place->password);
	(void)unlink(place->other);
	assert_int_equal(rmdir(place->folder), 0);
	free(place);
	return 0;
}

static inline void load(
    const struct place *place, const char *text, enum config_use use, struct config *config)
{
	struct error err = {0};

	write_file(place->path, text, strlen(text));
	if (config_load(place->path, use, config, &err))
		fail_msg("%s\n%s", text, err.text);
}

static inline void is_empty(const struct config *config)
{
	static const struct config empty;

	assert_memory_equal(config, &empty, sizeof empty);
}

/* TEXT is refused with PATH:LINE: (PATH: for line 0) and WHY in the message, and STATUS. */
static inline void refuses_as(const struct place *place, const char *text, enum config_use use,
    unsigned line, const char *why, int status)
{
	struct config config;
	struct error err = {0};
	char where[128];

	write_file(place->path, text, strlen(text));
	if (line)
		(void)snprintf(where, sizeof where, "%s:%u: ", place->path, line);
	else
		(void)snprintf(where, sizeof where, "%s: ", place->path);
	if (config_load(place->path, use, &config, &err) == 0)
		fail_msg("%s\nwas accepted", text);
	if (strncmp(err.text, where, strlen(where)) != 0 || !strstr(err.text, why))
		fail_msg("%s\ngave %s\nwhich is not %s%s", text, err.text, where, why);
	assert_int_equal(err.status, status);
	is_empty(&config);
}

static inline void refuses(void **state, const char *text, unsigned line, const char *why)
{
	refuses_as(*state, text, CONFIG_SEND, line, why, EX_CONFIG);
	refuses_as(*state, text, CONFIG_INSPECT, line, why, EX_CONFIG);
}

static inline void refuses_to_send(void **state, const char *text, unsigned line, const char *why)
{
	struct config config;

	refuses_as(*state, text, CONFIG_SEND, line, why, EX_CONFIG);
	load(*state, text, CONFIG_INSPECT, &config);
	config_free(&config);
}

/* These check all but the secrets of a configuration. */
static inline struct config looked_at(void **state, const char *text)
{
	struct config config;

	load(*state, text, CONFIG_INSPECT, &config);
	return config;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

#endif
