#include "confparse.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sysexits.h>

#include "conftext.h"
#include "confvalue.h"
#include "slurp.h"

#define FILE_MAX     ((size_t)1024 * 1024)
#define SHOWN_MAX    80 /* bytes of a name that a message repeats */
#define COUNT(array) (sizeof(array) / sizeof(array)[0])

/*
 * Where libconfuse's error function finds its struct message: libconfuse hands it the section
 * only, and copies options with their pointers into each. No name in a file has a blank.
 */
#define MESSAGE_OPTION " message"

#define SECTION(title)                                                                             \
	{                                                                                          \
		.name = (title), .type = CFGT_SEC,                                                 \
		.flags = CFGF_MULTI | CFGF_TITLE | CFGF_NO_TITLE_DUPES                             \
	}

/* Numbers are read as strings: to libconfuse 010 is eight. */
static const cfg_opt_t RELAY_OPTIONS[] = {
    CFG_STR("url", NULL, CFGF_NONE),
    CFG_STR("weight", "1", CFGF_NONE),
    CFG_STR("tls", "required", CFGF_NONE),
    CFG_STR("tls_min_version", "1.2", CFGF_NONE),
    CFG_STR("helo", NULL, CFGF_NONE),
    CFG_STR("user", NULL, CFGF_NONE),
    CFG_STR("password_file", NULL, CFGF_NONE),
    CFG_STR_LIST("password_command", NULL, CFGF_NODEFAULT),
    CFG_STR("auth", "password", CFGF_NONE),
    CFG_STR_LIST("token_command", NULL, CFGF_NODEFAULT),
    CFG_STR("session_token_file", NULL, CFGF_NONE),
    CFG_STR("region", NULL, CFGF_NONE),
    CFG_STR_LIST("arguments", NULL, CFGF_NODEFAULT),
    CFG_STR("ca_file", NULL, CFGF_NONE),
    CFG_STR("cert_file", NULL, CFGF_NONE),
    CFG_STR("key_file", NULL, CFGF_NONE),
    CFG_STR("connections", "4", CFGF_NONE),
    CFG_STR("messages_per_connection", "0", CFGF_NONE),
    CFG_STR("recipients_per_message", "0", CFGF_NONE),
    CFG_STR("message_size", NULL, CFGF_NONE),
    CFG_STR("rate", NULL, CFGF_NONE),
    CFG_STR("quota", NULL, CFGF_NONE),
    CFG_STR("chunking", "auto", CFGF_NONE),
    CFG_STR("pipeline", "20", CFGF_NONE),
    CFG_STR("timeout_connect", "30s", CFGF_NONE),
    CFG_STR("timeout_greeting", "5m", CFGF_NONE),
    CFG_STR("timeout_command", "5m", CFGF_NONE),
    CFG_STR("timeout_data", "2m", CFGF_NONE),
    CFG_STR("timeout_block", "3m", CFGF_NONE),
    CFG_STR("timeout_dot", "10m", CFGF_NONE),
    {.name = MESSAGE_OPTION, .type = CFGT_PTR},
    CFG_END(),
};

static const cfg_opt_t ROUTE_OPTIONS[] = {
    CFG_STR_LIST("sender", NULL, CFGF_NODEFAULT),
    CFG_STR_LIST("from", NULL, CFGF_NODEFAULT),
    CFG_STR_LIST("recipient", NULL, CFGF_NODEFAULT),
    CFG_STR_LIST("header", NULL, CFGF_NODEFAULT),
    CFG_STR("larger_than", NULL, CFGF_NONE),
    CFG_STR("smaller_than", NULL, CFGF_NONE),
    CFG_STR_LIST("relays", NULL, CFGF_NODEFAULT),
    {.name = MESSAGE_OPTION, .type = CFGT_PTR},
    CFG_END(),
};

static const cfg_opt_t TOP_OPTIONS[] = {
    CFG_STR("spool", "/var/spool/maildrain", CFGF_NONE),
    CFG_STR("domain", NULL, CFGF_NONE),
    CFG_STR_LIST("retry", "{1m, 5m, 15m, 1h, 3h, 6h, 12h, 24h}", CFGF_NONE),
    CFG_STR("keep_sent", "7d", CFGF_NONE),
    CFG_STR("shared_spool", "false", CFGF_NONE),
    CFG_STR("claim", "1h", CFGF_NONE),
    CFG_STR_LIST("notify", "{sender}", CFGF_NONE),
    CFG_STR("notify_from", NULL, CFGF_NONE),
    CFG_STR("notify_per_run", "10", CFGF_NONE),
    CFG_STR("notify_per_hour", "20", CFGF_NONE),
    CFG_STR("delay_warning", NULL, CFGF_NONE),
    CFG_STR("metrics_file", NULL, CFGF_NONE),
    CFG_STR_LIST("alert_command", NULL, CFGF_NODEFAULT),
    CFG_STR("redirect_to", NULL, CFGF_NONE),
    CFG_STR_LIST("allow_recipients", NULL, CFGF_NODEFAULT),
    SECTION("relay"),
    SECTION("route"),
    {.name = MESSAGE_OPTION, .type = CFGT_PTR},
    CFG_END(),
};

static const struct {
	const char *name;
	const cfg_opt_t *options;
	size_t size; /* of the options, in bytes */
	size_t most; /* such sections */
} kinds[CONFPARSE_KINDS] = {
    [CONFPARSE_RELAY] = {"relay", RELAY_OPTIONS, sizeof RELAY_OPTIONS, CONFIG_RELAYS_MAX},
    [CONFPARSE_ROUTE] = {"route", ROUTE_OPTIONS, sizeof ROUTE_OPTIONS, CONFIG_ROUTES_MAX},
};

/* What leads to a secret; ends with NULL. */
static const char *const SECRETS[] = {
    "password_file", "password_command", "token_command", "session_token_file", NULL};

_Static_assert(CONFIG_RELAYS_MAX <= CONFPARSE_SECTIONS_MAX, "lines for each relay");
_Static_assert(CONFIG_ROUTES_MAX <= CONFPARSE_SECTIONS_MAX, "lines for each route");
_Static_assert(COUNT(RELAY_OPTIONS) <= CONFPARSE_OPTIONS_MAX, "a line for each option");
_Static_assert(COUNT(ROUTE_OPTIONS) <= CONFPARSE_OPTIONS_MAX, "a line for each option");
_Static_assert(COUNT(TOP_OPTIONS) <= CONFPARSE_OPTIONS_MAX, "a line for each option");

/* The first error of libconfuse. */
struct message {
	char text[256];
	int line;
};

/* Reports a fault in line LINE, or in the file as a whole when it is 0. Returns -1. */
int confparse_fail(const struct confparse *parse, unsigned line, const char *format, ...)
{
	char text[sizeof parse->err->text];
	va_list args;

	va_start(args, format);
	(void)vsnprintf(text, sizeof text, format, args);
	va_end(args);
	if (line)
		error_set(parse->err, EX_CONFIG, "%s:%u: %s", parse->path, line, text);
	else
		error_set(parse->err, EX_CONFIG, "%s: %s", parse->path, text);
	return -1;
}

int confparse_fail_memory(const struct confparse *parse)
{
	return confparse_fail(parse, 0, "out of memory while it was read; try again");
}

/* Reports that the configuration file itself can't be read, for the reason in FAULT and errno. */
static int fail_unreadable(const struct confparse *parse, const char *fault)
{
	bool forbidden = errno == EACCES || errno == EPERM;

	error_set(parse->err, forbidden ? EX_NOPERM : EX_CONFIG,
	    "%s: can't read the configuration: %s", parse->path, fault);
	return -1;
}

/* Reads the file into TEXT, of FILE_MAX + 1 bytes, and makes it a string. */
static int read_text(const struct confparse *parse, char *text, size_t *len)
{
	struct stat st;
	const char *fault;
	ssize_t got = slurp(parse->path, text, FILE_MAX + 1, &st, &fault);

	if (got < 0)
		return fail_unreadable(parse, fault);
	if ((size_t)got > FILE_MAX)
		return confparse_fail(
		    parse, 0, "the file is larger than 1 MiB; is it a configuration?");
	*len = (size_t)got;
	text[got] = '\0';
	return 0;
}

/* The index in OPTIONS of the LEN bytes at NAME, or -1. */
static int find_option(const cfg_opt_t *options, const char *name, size_t len)
{
	int i;

	for (i = 0; options[i].name; i++)
		if (strlen(options[i].name) == len && memcmp(options[i].name, name, len) == 0)
			return i;
	return -1;
}

/* The option whose name is likely meant by a wrong one, or NULL. */
static const char *nearest_option(const cfg_opt_t *options, const struct conftext_item *item)
{
	const char *best = NULL;
	unsigned least = 3;
	int i;

	for (i = 0; options[i].name; i++) {
		const char *name = options[i].name;
		unsigned distance =
		    confvalue_distance(name, strlen(name), item->name, item->name_len);

		if (distance < least && distance < item->name_len) {
			least = distance;
			best = name;
		}
	}
	return best;
}

/* The kind of section that has the option that ITEM names; CONFPARSE_KINDS: none has. */
static enum confparse_kind kind_with(const struct conftext_item *item)
{
	int kind = 0;

	while (kind < CONFPARSE_KINDS &&
	       find_option(kinds[kind].options, item->name, item->name_len) < 0)
		kind++;
	return (enum confparse_kind)kind;
}

/* An option that belongs into a section of another kind, WHERE. */
static int fail_misplaced(
    const struct confparse *parse, const struct conftext_item *item, enum confparse_kind where)
{
	const char *right = kinds[where].name;
	int len = (int)item->name_len;

	if (!item->section_line)
		return confparse_fail(parse, item->line,
		    "%.*s stands outside of a %s; move it into %s \"NAME\" { }", len, item->name,
		    right, right);
	return confparse_fail(parse, item->line,
	    "%.*s is an option of a %s, and stands in the %s opened on line %u; move it into "
	    "%s \"NAME\" { }",
	    len, item->name, right, kinds[parse->last].name, item->section_line, right);
}

static int fail_unknown(
    const struct confparse *parse, const cfg_opt_t *options, const struct conftext_item *item)
{
	enum confparse_kind where = kind_with(item);
	const char *near = nearest_option(options, item);
	int len = item->name_len < SHOWN_MAX ? (int)item->name_len : SHOWN_MAX;

	if (options != TOP_OPTIONS && find_option(TOP_OPTIONS, item->name, item->name_len) >= 0)
		return confparse_fail(parse, item->line,
		    "%.*s can't stand in a section; move it out of the one opened on line %u, or "
		    "add the '}' that is missing there",
		    len, item->name, item->section_line);
	if (where != CONFPARSE_KINDS)
		return fail_misplaced(parse, item, where);
	if (near)
		return confparse_fail(parse, item->line,
		    "unknown option '%.*s'; did you mean '%s'?", len, item->name, near);
	return confparse_fail(parse, item->line,
	    "unknown option '%.*s'; remove it, or see maildrain.conf(5) for those there are", len,
	    item->name);
}

/* The kind of section that OPTION of the top is. */
static enum confparse_kind kind_of(const cfg_opt_t *option)
{
	int kind = 0;

	while (strcmp(kinds[kind].name, option->name) != 0)
		kind++;
	return (enum confparse_kind)kind;
}

static int check_title(const struct confparse *parse, const struct conftext_item *item,
    const struct confparse_lines *earlier, size_t count, const char *kind)
{
	const char *fault = confvalue_name(item->title, item->title_len);
	size_t i;

	for (i = 0; i < count; i++)
		if (earlier[i].title && earlier[i].title_len == item->title_len &&
		    memcmp(earlier[i].title, item->title, item->title_len) == 0)
			return confparse_fail(parse, item->line,
			    "a second %s of the name on line %u; give one of them another name",
			    kind, earlier[i].self);
	return fault ? confparse_fail(parse, item->line, "the name of a %s %s", kind, fault) : 0;
}

/* Notes where a section starts. That one without a title is wrong, libconfuse will say. */
static int survey_section(
    struct confparse *parse, const struct conftext_item *item, enum confparse_kind kind)
{
	struct confparse_lines *section = parse->section[kind];
	size_t count = parse->count[kind];

	if (item->title && check_title(parse, item, section, count, kinds[kind].name))
		return -1;
	if (count == kinds[kind].most)
		return confparse_fail(parse, item->line, "more than %zu %ss; remove some",
		    kinds[kind].most, kinds[kind].name);
	section[count].self = item->line;
	section[count].title = item->title;
	section[count].title_len = item->title_len;
	parse->count[kind]++;
	parse->last = kind;
	return 0;
}

/* The lines of the section that ITEM stands in. */
static struct confparse_lines *lines_around(
    struct confparse *parse, const struct conftext_item *item)
{
	if (!item->section_line)
		return &parse->top;
	return &parse->section[parse->last][parse->count[parse->last] - 1];
}

/* Notes where an item stands, and looks at what libconfuse would not clearly complain of. */
static int survey_item(struct confparse *parse, const struct conftext_item *item)
{
	const cfg_opt_t *options = item->section_line ? kinds[parse->last].options : TOP_OPTIONS;
	struct confparse_lines *lines = lines_around(parse, item);
	int i = find_option(options, item->name, item->name_len);

	if (i < 0)
		return fail_unknown(parse, options, item);
	if (item->kind == CONFTEXT_SECTION && options[i].type == CFGT_SEC)
		return survey_section(parse, item, kind_of(&options[i]));
	if (item->kind == CONFTEXT_SECTION)
		return confparse_fail(parse, item->line, "%s is no section; write %s = VALUE",
		    options[i].name, options[i].name);
	if (options[i].type == CFGT_SEC)
		return confparse_fail(parse, item->line, "%s is a section; write %s \"NAME\" { }",
		    options[i].name, options[i].name);
	if (item->kind == CONFTEXT_LIST && !(options[i].flags & CFGF_LIST))
		return confparse_fail(parse, item->line,
		    "%s takes one value, not a list; remove the braces", options[i].name);
	if (lines->option[i])
		return confparse_fail(parse, item->line,
		    "%s is already set on line %u; remove one of them", options[i].name,
		    lines->option[i]);
	lines->option[i] = item->line;
	return 0;
}

/* Finds the faults in the text that libconfuse would not, and blanks its comments. */
static int survey(struct confparse *parse, char *text, size_t len)
{
	static const char *const *const spared[] = {
	    [CONFIG_SPOOL] = CONFTEXT_SECTIONS, [CONFIG_INSPECT] = SECRETS, [CONFIG_SEND] = NULL};
	struct conftext ct;
	struct conftext_item item;
	int got;

	conftext_start(&ct, text, len, getenv, spared[parse->use]);
	while ((got = conftext_next(&ct, &item)) == 1)
		if (survey_item(parse, &item))
			return -1;
	return got ? confparse_fail(parse, ct.fault_line, "%s", ct.fault) : 0;
}

/* libconfuse's error function. */
static void note_error(cfg_t *cfg, const char *format, va_list args)
{
	int i = find_option(cfg->opts, MESSAGE_OPTION, strlen(MESSAGE_OPTION));
	struct message *message = i < 0 ? NULL : (struct message *)cfg->opts[i].simple_value.ptr;

	if (!message || message->text[0])
		return;
	message->line = cfg->line;
	(void)vsnprintf(message->text, sizeof message->text, format, args);
}

/* Copies SIZE bytes of options to COPY, and has it report errors to MESSAGE. */
static void copy_options(
    cfg_opt_t *copy, const cfg_opt_t *options, size_t size, struct message *message)
{
	void **place = (void **)(void *)message;

	memcpy(copy, options, size);
	copy[find_option(copy, MESSAGE_OPTION, strlen(MESSAGE_OPTION))].simple_value.ptr = place;
}

/* A copy of the tables that reports errors to MESSAGE. */
static cfg_t *start_parser(struct message *message)
{
	cfg_opt_t top[COUNT(TOP_OPTIONS)], sub[CONFPARSE_KINDS][CONFPARSE_OPTIONS_MAX];
	int kind;

	copy_options(top, TOP_OPTIONS, sizeof top, message);
	for (kind = 0; kind < CONFPARSE_KINDS; kind++) {
		const char *name = kinds[kind].name;

		copy_options(sub[kind], kinds[kind].options, kinds[kind].size, message);
		top[find_option(top, name, strlen(name))].subopts = sub[kind];
	}
	return cfg_init(top, CFGF_NONE);
}

/* Has libconfuse parse TEXT. NULL when it can't. */
static cfg_t *run_libconfuse(const struct confparse *parse, const char *text)
{
	struct message message = {.line = 0};
	cfg_t *cfg = start_parser(&message);

	if (!cfg) {
		(void)confparse_fail_memory(parse);
		return NULL;
	}
	(void)cfg_set_error_function(cfg, note_error);
	if (cfg_parse_buf(cfg, text) == CFG_SUCCESS)
		return cfg;
	(void)cfg_free(cfg);
	if (message.text[0])
		(void)confparse_fail(parse, (unsigned)message.line,
		    "%s; see maildrain.conf(5) for how it is written", message.text);
	else
		(void)confparse_fail_memory(parse);
	return NULL;
}

/* Where option NAME of a section stands, or 0. */
static unsigned line_of(const struct confparse_section *section, const char *name)
{
	int i = find_option(section->cfg->opts, name, strlen(name));

	return i < 0 ? 0 : section->lines->option[i];
}

unsigned confparse_line(const struct confparse_section *section, const char *name)
{
	unsigned line = line_of(section, name);

	return line ? line : section->lines->self;
}

bool confparse_is_set(const struct confparse_section *section, const char *name)
{
	return line_of(section, name) != 0;
}

int confparse_load(
    struct confparse *parse, const char *path, enum config_use use, struct error *err)
{
	char *text = malloc(FILE_MAX + 1);
	size_t len = 0;
	int result = -1;

	memset(parse, 0, sizeof *parse);
	parse->path = path;
	parse->use = use;
	parse->err = err;
	if (!text)
		return confparse_fail_memory(parse);
	if (read_text(parse, text, &len) == 0 && survey(parse, text, len) == 0) {
		parse->cfg = run_libconfuse(parse, text);
		result = parse->cfg ? 0 : -1;
	}
	free(text);
	return result;
}

void confparse_free(struct confparse *parse)
{
	(void)cfg_free(parse->cfg);
	parse->cfg = NULL;
}

struct confparse_section confparse_top(const struct confparse *parse)
{
	return (struct confparse_section){parse, parse->cfg, &parse->top};
}

struct confparse_section confparse_nth(
    const struct confparse *parse, enum confparse_kind kind, size_t i)
{
	return (struct confparse_section){parse,
	    cfg_getnsec(parse->cfg, kinds[kind].name, (unsigned)i), &parse->section[kind][i]};
}

const char *confparse_nearest(
    const struct confparse *parse, enum confparse_kind kind, const char *name)
{
	const char *best = NULL;
	unsigned least = 3;
	size_t i, len = strlen(name);

	for (i = 0; i < parse->count[kind]; i++) {
		const char *title = cfg_title(confparse_nth(parse, kind, i).cfg);
		unsigned distance = confvalue_distance(title, strlen(title), name, len);

		if (distance < least && distance < len) {
			least = distance;
			best = title;
		}
	}
	return best;
}

bool confparse_is_spared(const struct confparse *parse, const char *name)
{
	size_t i;

	for (i = 0; parse->use == CONFIG_INSPECT && SECRETS[i]; i++)
		if (strcmp(SECRETS[i], name) == 0)
			return true;
	return false;
}
