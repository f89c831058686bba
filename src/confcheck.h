/*
 * confcheck: checks that the sections of a configuration share, each on one option.
 *
 * Those that return an int return 0; or -1 with the fault reported, which names file, line, option
 * and value. Copies are the caller's to free, also after a fault.
 */
#ifndef MAILDRAIN_CONFCHECK_H
#define MAILDRAIN_CONFCHECK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "confparse.h"

extern const char confcheck_not_absolute[]; /* what is wrong with a path */

/* What holds for values of any kind, now that variables have been put in. */
int confcheck_values(const struct confparse_section *section);

/* Whether an option without a default, a list or not, has a value. */
bool confcheck_is_given(const struct confparse_section *section, const char *name);

/* Reports that value I of an option is not what it MUST be. Returns -1. */
int confcheck_fail(
    const struct confparse_section *section, const char *name, unsigned i, const char *must);

/*
 * Reports that the file an option names can't be used, for the reason in FAULT and errno, with the
 * exit status that goes with it. Returns -1.
 */
int confcheck_fail_file(
    const struct confparse_section *section, const char *name, const char *fault);

/* Copies the value of an option that has one; else *COPY stays as it is. */
int confcheck_copy(const struct confparse_section *section, const char *name, char **copy);

/* As confcheck_copy, for the absolute path of a file. */
int confcheck_path(const struct confparse_section *section, const char *name, char **copy);

/*
 * Copies the words of a list that has any: at most MOST. *COPY ends with NULL. Of a command the
 * first word is an absolute path.
 */
int confcheck_words(
    const struct confparse_section *section, const char *name, unsigned most, char ***copy);
int confcheck_command(const struct confparse_section *section, const char *name, char ***copy);
void confcheck_free_words(char **words);

/*
 * As confcheck_words, for patterns of addresses or domains. Of senders one may be "<>", the null
 * sender.
 */
int confcheck_patterns(const struct confparse_section *section, const char *name, char ***copy);
int confcheck_senders(const struct confparse_section *section, const char *name, char ***copy);

/* Sets CHOICE to the index of an option's value in WORDS, of which the last is NULL. */
int confcheck_choose(const struct confparse_section *section, const char *name,
    const char *const *words, unsigned *choice);

/* Sets NUMBER to the value of an option, from LEAST to MOST. */
int confcheck_number(const struct confparse_section *section, const char *name, unsigned least,
    unsigned most, unsigned *number);

/* Sets BYTES to the value of an option that has one, a size of 1 byte or more. */
int confcheck_size(const struct confparse_section *section, const char *name, uint64_t *bytes);

#endif
