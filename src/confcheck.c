#include "confcheck.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#include "confvalue.h"
#include "units.h"

#define VALUE_MAX 1024 /* bytes of any one value */
#define SHOWN_MAX 80   /* bytes of a value that a message repeats */

const char confcheck_not_absolute[] = "must be an absolute path, starting with '/'";

/* What is wrong with a value of any kind. */
static const char *value_fault(const char *value)
{
	if (!*value)
		return "is empty; write a value, or remove it to get the default";
	if (strlen(value) > VALUE_MAX)
		return "is longer than 1024 bytes";
	if (!confvalue_is_plain(value))
		return "holds a control character, from a variable of the environment";
	return NULL;
}

int confcheck_values(const struct confparse_section *section)
{
	cfg_opt_t *option = section->cfg->opts;

	for (; option->name; option++) {
		unsigned i, count = option->type == CFGT_STR ? cfg_opt_size(option) : 0;

		/* Its variables may be unset then, so it means nothing. */
		if (confparse_is_spared(section->parse, option->name))
			continue;
		for (i = 0; i < count; i++) {
			const char *value = cfg_opt_getnstr(option, i);
			const char *fault = value ? value_fault(value) : NULL;

			if (fault)
				return confparse_fail(section->parse,
				    confparse_line(section, option->name), "%s %s", option->name,
				    fault);
		}
	}
	return 0;
}

bool confcheck_is_given(const struct confparse_section *section, const char *name)
{
	return cfg_size(section->cfg, name) > 0 && cfg_getnstr(section->cfg, name, 0) != NULL;
}

int confcheck_fail(
    const struct confparse_section *section, const char *name, unsigned i, const char *must)
{
	return confparse_fail(section->parse, confparse_line(section, name), "%s = \"%.*s\": %s",
	    name, SHOWN_MAX, cfg_getnstr(section->cfg, name, i), must);
}

int confcheck_fail_file(
    const struct confparse_section *section, const char *name, const char *fault)
{
	bool forbidden = errno == EACCES || errno == EPERM;

	(void)confcheck_fail(section, name, 0, fault);
	if (forbidden)
		section->parse->err->status = EX_NOPERM;
	return -1;
}

int confcheck_copy(const struct confparse_section *section, const char *name, char **copy)
{
	const char *value = cfg_getstr(section->cfg, name);

	if (!value)
		return 0;
	*copy = strdup(value);
	return *copy ? 0 : confparse_fail_memory(section->parse);
}

int confcheck_path(const struct confparse_section *section, const char *name, char **copy)
{
	const char *value = cfg_getstr(section->cfg, name);

	if (value && value[0] != '/')
		return confcheck_fail(section, name, 0, confcheck_not_absolute);
	return confcheck_copy(section, name, copy);
}

/* Copies all values of a list. */
static int copy_words(
    const struct confparse_section *section, const char *name, unsigned count, char ***copy)
{
	unsigned i;

	*copy = calloc(count + 1, sizeof **copy);
	for (i = 0; *copy && i < count; i++) {
		(*copy)[i] = strdup(cfg_getnstr(section->cfg, name, i));
		if (!(*copy)[i])
			return confparse_fail_memory(section->parse);
	}
	return *copy ? 0 : confparse_fail_memory(section->parse);
}

int confcheck_words(
    const struct confparse_section *section, const char *name, unsigned most, char ***copy)
{
	unsigned count = cfg_size(section->cfg, name);

	if (count == 0)
		return 0;
	if (count > most)
		return confparse_fail(section->parse, confparse_line(section, name),
		    "%s has %u words; write %u at most", name, count, most);
	return copy_words(section, name, count, copy);
}

int confcheck_command(const struct confparse_section *section, const char *name, char ***copy)
{
	if (confcheck_is_given(section, name) && !confparse_is_spared(section->parse, name) &&
	    cfg_getnstr(section->cfg, name, 0)[0] != '/')
		return confcheck_fail(section, name, 0, confcheck_not_absolute);
	return confcheck_words(section, name, CONFIG_WORDS_MAX, copy);
}

/* The same, where NONE is a pattern too. */
static int take_patterns(
    const struct confparse_section *section, const char *name, const char *none, char ***copy)
{
	unsigned i, count = cfg_size(section->cfg, name);

	if (count > CONFIG_PATTERNS_MAX)
		return confparse_fail(section->parse, confparse_line(section, name),
		    "%s has %u patterns; write %d at most", name, count, CONFIG_PATTERNS_MAX);
	for (i = 0; i < count; i++) {
		const char *value = cfg_getnstr(section->cfg, name, i);
		const char *fault = strcmp(value, none) == 0 ? NULL : confvalue_pattern(value);

		if (fault)
			return confcheck_fail(section, name, i, fault);
	}
	return count ? copy_words(section, name, count, copy) : 0;
}

int confcheck_patterns(const struct confparse_section *section, const char *name, char ***copy)
{
	return take_patterns(section, name, "", copy);
}

int confcheck_senders(const struct confparse_section *section, const char *name, char ***copy)
{
	return take_patterns(section, name, "<>", copy);
}

void confcheck_free_words(char **words)
{
	size_t i;

	for (i = 0; words && words[i]; i++)
		free(words[i]);
	free(words);
}

int confcheck_choose(const struct confparse_section *section, const char *name,
    const char *const *words, unsigned *choice)
{
	const char *value = cfg_getstr(section->cfg, name);
	char must[128] = "must be ";
	unsigned i;

	for (i = 0; words[i]; i++) {
		size_t len = strlen(must);

		if (strcmp(words[i], value) == 0) {
			*choice = i;
			return 0;
		}
		(void)snprintf(
		    must + len, sizeof must - len, "%s\"%s\"", i ? " or " : "", words[i]);
	}
	return confcheck_fail(section, name, 0, must);
}

int confcheck_number(const struct confparse_section *section, const char *name, unsigned least,
    unsigned most, unsigned *number)
{
	char must[80];
	int64_t value;

	(void)snprintf(must, sizeof must, "must be a number from %u to %u, without leading zeros",
	    least, most);
	if (!units_number(cfg_getstr(section->cfg, name), most, &value) || value < least)
		return confcheck_fail(section, name, 0, must);
	*number = (unsigned)value;
	return 0;
}

int confcheck_size(const struct confparse_section *section, const char *name, uint64_t *bytes)
{
	const char *text = cfg_getstr(section->cfg, name);

	if (text && (!units_size(text, bytes) || *bytes == 0))
		return confcheck_fail(section, name, 0,
		    "must be a size such as \"500K\", \"25M\" or \"1G\"; remove it to set none");
	return 0;
}
