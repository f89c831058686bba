/*
 * conftext: the text of a configuration file, checked before libconfuse gets it. Pure.
 *
 * libconfuse reads more than a person means: it takes the end of the file for a "}", an unset
 * ${VAR} for nothing, the "//" of an unquoted URL for a comment, and the last of two values. It
 * also counts two lines too many for each comment. So this pass goes first. It reads a subset of
 * libconfuse's language in which each text means what it seems to mean, reports the first
 * fault with its line, and tells its caller where each option and section stands.
 *
 *	text    := { item }
 *	item    := NAME "=" value | NAME string "{" { item } "}"     sections do not nest
 *	value   := string | "{" [ string { "," string } [ "," ] ] "}"
 *	string  := WORD | '"' … '"' | "'" … "'" | "${" VAR [ ":-" … ] "}"
 *
 * with comments as libconfuse has them: # and // up to the end of the line, and C's.
 */
#ifndef MAILDRAIN_CONFTEXT_H
#define MAILDRAIN_CONFTEXT_H

#include <stdbool.h>
#include <stddef.h>

/* Gets the value of an environment variable, or NULL; getenv is one. */
typedef char *conftext_env(const char *name);

struct conftext {
	char *text;
	size_t len;
	conftext_env *env;
	const char *const *spared; /* options whose variables may be unset, the last one is NULL */
	size_t pos;		   /* the next byte to read */
	unsigned line;		   /* the line it is in, from 1 */
	unsigned section_line;	   /* where the section around it was opened; 0 outside */
	unsigned fault_line;
	char fault[256]; /* what is wrong and what to do, printable */
};

enum conftext_kind { CONFTEXT_VALUE, CONFTEXT_LIST, CONFTEXT_SECTION };

struct conftext_item {
	enum conftext_kind kind;
	unsigned line;	       /* of its name */
	unsigned section_line; /* of the section it is in; 0 outside, and for a section */
	const char *name;      /* not NUL-terminated, like the title; both point into the text */
	size_t name_len;
	const char *title; /* of a section, as written between its quotes; NULL without */
	size_t title_len;
};

/* In place of a list of options: all those in sections. */
extern const char *const CONFTEXT_SECTIONS[];

/*
 * Prepares CT to read TEXT, which stays the caller's. Comments are overwritten with spaces while
 * they are read, so that libconfuse counts lines as a person does. SPARED may be NULL for none.
 */
void conftext_start(
    struct conftext *ct, char *text, size_t len, conftext_env *env, const char *const *spared);

/*
 * Reads the next item; a section's own items follow it. Returns 1; or 0 at the end of the text;
 * or -1 with fault and fault_line set, and CT not to be read any further.
 */
int conftext_next(struct conftext *ct, struct conftext_item *item);

#endif
