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

/* Numbers are read as strings: to libconfuse 010 is eight. */
static const cfg_opt_t RELAY_OPTIONS[] = {
    CFG_STR("url", NULL, CFGF_NONE),
    CFG_STR("tls", "required", CFGF_NONE),
    CFG_STR("tls_min_version", "1.2", CFGF_NONE),
    CFG_STR("helo", NULL, CFGF_NONE),
    CFG_STR("user", NULL, CFGF_NONE),
    CFG_STR("password_file", NULL, CFGF_NONE),
    CFG_STR("ca_file", NULL, CFGF_NONE),
    CFG_STR("cert_file", NULL, CFGF_NONE),
    CFG_STR("key_file", NULL, CFGF_NONE),
    CFG_STR("connections", "4", CFGF_NONE),
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
    {.name = "relay", .type = CFGT_SEC, .flags = CFGF_MULTI | CFGF_TITLE | CFGF_NO_TITLE_DUPES},
    {.name = MESSAGE_OPTION, .type = CFGT_PTR},
    CFG_END(),
};

_Static_assert(COUNT(RELAY_OPTIONS) <= CONFPARSE_OPTIONS_MAX, "a line for each option");
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

static int fail_unknown(const struct confparse *parse, const struct conftext_item *item)
{
	bool inside = item->section_line != 0;
	const cfg_opt_t *other = inside ? TOP_OPTIONS : RELAY_OPTIONS;
	const char *near = nearest_option(inside ? RELAY_OPTIONS : TOP_OPTIONS, item);
	int len = item->name_len < SHOWN_MAX ? (int)item->name_len : SHOWN_MAX;

	if (find_option(other, item->name, item->name_len) >= 0 && inside)
		return confparse_fail(parse, item->line,
		    "%.*s can't stand in a section; move it out of the one opened on line %u, or "
		    "add the '}' that is missing there",
		    len, item->name, item->section_line);
	if (find_option(other, item->name, item->name_len) >= 0)
		return confparse_fail(parse, item->line,
		    "%.*s stands outside of a relay; move it into relay \"NAME\" { }", len,
		    item->name);
	if (near)
		return confparse_fail(parse, item->line,
		    "unknown option '%.*s'; did you mean '%s'?", len, item->name, near);
	return confparse_fail(parse, item->line,
	    "unknown option '%.*s'; remove it, or see maildrain.conf(5) for those there are", len,
	    item->name);
}

/* Notes where a relay starts. That one without a title is wrong, libconfuse will say. */
static int survey_relay(struct confparse *parse, const struct conftext_item *item)
{
	struct confparse_lines *relay;
	const char *fault;
	size_t i;

	for (i = 0; item->title && i < parse->relays; i++) {
		relay = &parse->relay[i];
		if (relay->title && relay->title_len == item->title_len &&
		    memcmp(relay->title, item->title, item->title_len) == 0)
			return confparse_fail(parse, item->line,
			    "a second relay of the name on line %u; give one of them another name",
			    relay->self);
	}
	fault = item->title ? confvalue_name(item->title, item->title_len) : NULL;
	if (fault)
		return confparse_fail(parse, item->line, "the name of a relay %s", fault);
	if (parse->relays == CONFIG_RELAYS_MAX)
		return confparse_fail(
		    parse, item->line, "more than %d relays; remove some", CONFIG_RELAYS_MAX);
	relay = &parse->relay[parse->relays++];
	relay->self = item->line;
	relay->title = item->title;
	relay->title_len = item->title_len;
	return 0;
}

/* Notes where an item stands, and looks at what libconfuse would not clearly complain of. */
static int survey_item(struct confparse *parse, const struct conftext_item *item)
{
	const cfg_opt_t *options = item->section_line ? RELAY_OPTIONS : TOP_OPTIONS;
	struct confparse_lines *lines =
	    item->section_line ? &parse->relay[parse->relays - 1] : &parse->top;
	int i = find_option(options, item->name, item->name_len);

	if (i < 0)
		return fail_unknown(parse, item);
	if (item->kind == CONFTEXT_SECTION && options[i].type == CFGT_SEC)
		return survey_relay(parse, item);
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
	static const char *const spared[] = {[CONFIG_SPOOL] = CONFTEXT_SECTIONS,
	    [CONFIG_INSPECT] = "password_file",
	    [CONFIG_SEND] = NULL};
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

/* A copy of the tables that reports errors to MESSAGE. */
static cfg_t *start_parser(struct message *message)
{
	cfg_opt_t top[COUNT(TOP_OPTIONS)], relay[COUNT(RELAY_OPTIONS)];
	void **place = (void **)(void *)message;

	memcpy(top, TOP_OPTIONS, sizeof top);
	memcpy(relay, RELAY_OPTIONS, sizeof relay);
	top[find_option(top, MESSAGE_OPTION, strlen(MESSAGE_OPTION))].simple_value.ptr = place;
	relay[find_option(relay, MESSAGE_OPTION, strlen(MESSAGE_OPTION))].simple_value.ptr = place;
	top[find_option(top, "relay", strlen("relay"))].subopts = relay;
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

/* Where option NAME of a section stands, or the section itself when it has none. */
unsigned confparse_line(const struct confparse_section *section, const char *name)
{
	int i = find_option(section->cfg->opts, name, strlen(name));
	unsigned line = i < 0 ? 0 : section->lines->option[i];

	return line ? line : section->lines->self;
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

struct confparse_section confparse_relay(const struct confparse *parse, size_t i)
{
	return (struct confparse_section){
	    parse, cfg_getnsec(parse->cfg, "relay", (unsigned)i), &parse->relay[i]};
}
