/*
 * confparse: the configuration file as sections of strings, by libconfuse, with the line of each.
 *
 * Which options there are, with their defaults, stands here. What their values mean does not.
 */
#ifndef MAILDRAIN_CONFPARSE_H
#define MAILDRAIN_CONFPARSE_H

#include <confuse.h>
#include <stdbool.h>
#include <stddef.h>

#include "config.h"
#include "error.h"

#define CONFPARSE_OPTIONS_MAX  40
#define CONFPARSE_SECTIONS_MAX 64 /* of each kind */

enum confparse_kind { CONFPARSE_RELAY, CONFPARSE_ROUTE, CONFPARSE_KINDS };

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
	struct confparse_lines section[CONFPARSE_KINDS][CONFPARSE_SECTIONS_MAX];
	size_t count[CONFPARSE_KINDS];
	enum confparse_kind last; /* the kind of the section that was opened last */
};

/* The options outside of all sections, or one section. */
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
/* Section I of those of KIND, in the file's order. */
struct confparse_section confparse_nth(
    const struct confparse *parse, enum confparse_kind kind, size_t i);

/* The name of that section of KIND which is likely meant by a wrong NAME, or NULL. */
const char *confparse_nearest(
    const struct confparse *parse, enum confparse_kind kind, const char *name);

/* Whether option NAME leads to a secret that is not read: the variables in it may be unset. */
bool confparse_is_spared(const struct confparse *parse, const char *name);

/* Where option NAME of a section stands, or the section itself when the file does not set it. */
unsigned confparse_line(const struct confparse_section *section, const char *name);

/* Whether the file sets option NAME. */
bool confparse_is_set(const struct confparse_section *section, const char *name);

/* Reports a fault in line LINE, or in the file as a whole when it is 0. Returns -1. */
int confparse_fail(const struct confparse *parse, unsigned line, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
int confparse_fail_memory(const struct confparse *parse);

#endif
