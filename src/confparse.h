/*
 * confparse: the configuration file as sections of strings, by libconfuse, with the line of each.
 *
 * Which options there are, with their defaults, stands here. What their values mean does not.
 */
#ifndef MAILDRAIN_CONFPARSE_H
#define MAILDRAIN_CONFPARSE_H

#include <confuse.h>
#include <stddef.h>

#include "config.h"
#include "error.h"

#define CONFPARSE_OPTIONS_MAX 20

/* Where a section and its options stand; 0 for an option that the file does not set. */
struct confparse_lines {
	unsigned self; /* 0 for the top */
	unsigned option[CONFPARSE_OPTIONS_MAX];
	const char *title; /* in use only while the file is read */
	size_t title_len;
};

struct confparse {
	const char *path;
	enum config_use use;
	struct error *err;
	cfg_t *cfg;
	struct confparse_lines top;
	struct confparse_lines relay[CONFIG_RELAYS_MAX];
	size_t relays;
};

/* The options outside of all sections, or one relay. */
struct confparse_section {
	const struct confparse *parse;
	cfg_t *cfg;
	const struct confparse_lines *lines;
};

/*
 * Reads the file PATH. Returns 0; or -1 with ERR set, and nothing to free. PATH and ERR must
 * outlive PARSE: confparse_fail uses them.
 */
int confparse_load(
    struct confparse *parse, const char *path, enum config_use use, struct error *err);
void confparse_free(struct confparse *parse);

struct confparse_section confparse_top(const struct confparse *parse);
struct confparse_section confparse_relay(const struct confparse *parse, size_t i);

/* Where option NAME of a section stands, or the section itself when the file does not set it. */
unsigned confparse_line(const struct confparse_section *section, const char *name);

/* Reports a fault in line LINE, or in the file as a whole when it is 0. Returns -1. */
int confparse_fail(const struct confparse *parse, unsigned line, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
int confparse_fail_memory(const struct confparse *parse);

#endif
