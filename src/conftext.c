#include "conftext.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define VARIABLE_MAX 64
#define SHOWN_MAX    40 /* bytes of a name that a message repeats */

const char *const CONFTEXT_SECTIONS[] = {NULL};

__attribute__((format(printf, 3, 4))) static int fail(
    struct conftext *ct, unsigned line, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	(void)vsnprintf(ct->fault, sizeof ct->fault, format, args);
	va_end(args);
	ct->fault_line = line;
	return -1;
}

/* The byte OFFSET places on, or -1 behind the end. */
static int peek(const struct conftext *ct, size_t offset)
{
	return offset < ct->len - ct->pos ? (unsigned char)ct->text[ct->pos + offset] : -1;
}

/* Whether C ends what came before it: a blank, the end of the text, or a byte of MORE. */
static bool is_end(int c, const char *more)
{
	return c == -1 || (c != 0 && (strchr(" \t\r\n", c) || strchr(more, c)));
}

static bool is_name(int c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       c == '_' || c == '-';
}

static bool is_word(int c)
{
	return is_name(c) || c == '.';
}

/* Control characters, but for the tab and the end of a line. */
static bool is_control(const struct conftext *ct)
{
	int c = peek(ct, 0);

	if (c == '\t' || c == '\n' || (c == '\r' && peek(ct, 1) == '\n'))
		return false;
	return (c >= 0 && c < ' ') || c == 0x7f;
}

/* How much of an item's name a message repeats. */
static int shown(const struct conftext_item *item)
{
	return item->name_len < SHOWN_MAX ? (int)item->name_len : SHOWN_MAX;
}

static int fail_unexpected(struct conftext *ct, const char *expected)
{
	int c = peek(ct, 0);

	if (c == -1)
		return fail(ct, ct->line, "the file ends where %s is expected", expected);
	if (c > ' ' && c < 0x7f)
		return fail(ct, ct->line, "unexpected '%c' where %s is expected", c, expected);
	return fail(
	    ct, ct->line, "unexpected byte 0x%02x where %s is expected", (unsigned)c, expected);
}

static int fail_control(struct conftext *ct)
{
	return fail(ct, ct->line, "control character 0x%02x; remove it", (unsigned)peek(ct, 0));
}

/* Overwrites a comment that ends with its line. */
static int blank_line_comment(struct conftext *ct)
{
	for (; peek(ct, 0) != -1 && peek(ct, 0) != '\n'; ct->pos++) {
		if (is_control(ct))
			return fail_control(ct);
		ct->text[ct->pos] = ' ';
	}
	return 0;
}

/* Overwrites COUNT bytes. */
static void blank(struct conftext *ct, size_t count)
{
	memset(ct->text + ct->pos, ' ', count);
	ct->pos += count;
}

/* Overwrites a comment in C's form, but for the ends of its lines. */
static int blank_block_comment(struct conftext *ct)
{
	unsigned opened = ct->line;

	blank(ct, 2);
	while (peek(ct, 0) != -1) {
		if (peek(ct, 0) == '*' && peek(ct, 1) == '/') {
			blank(ct, 2);
			return 0;
		}
		if (is_control(ct))
			return fail_control(ct);
		if (peek(ct, 0) == '\n') {
			ct->line++;
			ct->pos++;
		} else {
			blank(ct, 1);
		}
	}
	return fail(ct, opened, "the comment opened here is never closed; add */");
}

/* Goes to the next byte that is neither a blank nor in a comment. */
static int skip_blanks(struct conftext *ct)
{
	for (;;) {
		int c = peek(ct, 0), next = peek(ct, 1), fault = 0;

		if (c == '\n')
			ct->line++;
		if (c == ' ' || c == '\t' || c == '\n' || (c == '\r' && next == '\n'))
			ct->pos++;
		else if (c == '#' || (c == '/' && next == '/'))
			fault = blank_line_comment(ct);
		else if (c == '/' && next == '*')
			fault = blank_block_comment(ct);
		else
			return 0;
		if (fault)
			return -1;
	}
}

/* Whether the variables in ITEM may be unset. */
static bool is_spared(const struct conftext *ct, const struct conftext_item *item)
{
	const char *const *name = ct->spared;

	if (name == CONFTEXT_SECTIONS)
		return ct->section_line != 0;
	for (; name && *name; name++)
		if (strlen(*name) == item->name_len &&
		    memcmp(*name, item->name, item->name_len) == 0)
			return true;
	return false;
}

/* What getenv knows of a variable; unset is a fault, and so is empty when a default was given. */
static int check_environment(
    struct conftext *ct, const struct conftext_item *item, const char *variable, bool has_default)
{
	const char *value = ct->env(variable);

	if ((value && *value) || is_spared(ct, item))
		return 0;
	if (!value)
		return has_default ? 0
				   : fail(ct, ct->line,
					 "${%s} is not set in the environment; set it, or write "
					 "${%s:-VALUE} to say what holds without it",
					 variable, variable);
	return fail(ct, ct->line, "${%s} is empty in the environment; set it to something%s",
	    variable, has_default ? ", or unset it" : "");
}

/* Reads ${VAR} or ${VAR:-default}. libconfuse would look for its "}" on later lines too. */
static int scan_variable(struct conftext *ct, const struct conftext_item *item)
{
	char variable[VARIABLE_MAX + 1];
	size_t len = 0;
	bool has_default;

	for (ct->pos += 2; is_name(peek(ct, 0)) && peek(ct, 0) != '-'; ct->pos++) {
		if (len == VARIABLE_MAX)
			return fail(ct, ct->line, "the name in ${...} is too long");
		variable[len++] = ct->text[ct->pos];
	}
	variable[len] = '\0';
	has_default = peek(ct, 0) == ':' && peek(ct, 1) == '-';
	if (has_default)
		ct->pos += 2;
	while (has_default && peek(ct, 0) != -1 && !strchr("\"\\$}\r\n", peek(ct, 0)) &&
	       !is_control(ct))
		ct->pos++;
	if (len == 0 || peek(ct, 0) != '}')
		return fail(ct, ct->line,
		    "\"${\" without an end; write ${NAME} or ${NAME:-VALUE}, or \\${ for "
		    "just these characters");
	ct->pos++;
	return check_environment(ct, item, variable, has_default);
}

/* One step within double quotes. */
static int scan_double_byte(struct conftext *ct, const struct conftext_item *item)
{
	int c = peek(ct, 0), next = peek(ct, 1);

	if (c == '$' && next == '{')
		return scan_variable(ct, item);
	if (c == '\\' && (next <= 0 || !strchr("\"\\$", next)))
		return fail(ct, ct->line,
		    "a backslash stands only before \\, \" or $ here; write \\\\ for one "
		    "backslash");
	ct->pos += c == '\\' ? 2 : 1;
	return 0;
}

/* One step within single quotes. */
static int scan_single_byte(struct conftext *ct, const struct conftext_item *item)
{
	int c = peek(ct, 0), next = peek(ct, 1);

	(void)item;
	if (c == '$' && next == '{')
		return fail(ct, ct->line,
		    "${...} means nothing within single quotes; put it in double quotes");
	ct->pos += c == '\\' && (next == '\\' || next == '\'') ? 2 : 1;
	return 0;
}

static int scan_quoted(struct conftext *ct, const struct conftext_item *item)
{
	int quote = peek(ct, 0);
	size_t start = ++ct->pos;

	while (peek(ct, 0) != quote) {
		if (peek(ct, 0) == -1 || peek(ct, 0) == '\n' || peek(ct, 0) == '\r')
			return fail(
			    ct, ct->line, "a quote (%c) is never closed on this line", quote);
		if (is_control(ct) || peek(ct, 0) == '\t')
			return fail_control(ct);
		if ((quote == '"' ? scan_double_byte : scan_single_byte)(ct, item))
			return -1;
	}
	if (ct->pos == start)
		return fail(ct, ct->line,
		    "an empty value; write one, or remove the option to get its default");
	ct->pos++;
	if (!is_end(peek(ct, 0), ",{}#/"))
		return fail_unexpected(ct, "a blank or the end of the line");
	return 0;
}

static int scan_word(struct conftext *ct)
{
	while (is_word(peek(ct, 0)))
		ct->pos++;
	if (is_control(ct))
		return fail_control(ct);
	if (!is_end(peek(ct, 0), ",{}"))
		return fail(ct, ct->line,
		    "an unquoted value may hold letters, digits, '.', '_' and '-' only; put it in "
		    "double quotes");
	return 0;
}

static int scan_string(struct conftext *ct, const struct conftext_item *item)
{
	int c = peek(ct, 0);

	if (c == '"' || c == '\'')
		return scan_quoted(ct, item);
	if (c == -1 || strchr("={}(),", c))
		return fail_unexpected(ct, "a value");
	if (c != '$' || peek(ct, 1) != '{')
		return scan_word(ct);
	if (scan_variable(ct, item))
		return -1;
	if (!is_end(peek(ct, 0), ",{}"))
		return fail(
		    ct, ct->line, "a value with ${...} and more in it; put it in double quotes");
	return 0;
}

static int scan_list(struct conftext *ct, const struct conftext_item *item)
{
	unsigned opened = ct->line;

	ct->pos++;
	for (;;) {
		if (skip_blanks(ct))
			return -1;
		if (peek(ct, 0) == '}')
			break;
		if (peek(ct, 0) == -1)
			return fail(ct, opened, "the list opened here is never closed; add }");
		if (scan_string(ct, item) || skip_blanks(ct))
			return -1;
		if (peek(ct, 0) == ',')
			ct->pos++;
		else if (peek(ct, 0) != '}' && peek(ct, 0) != -1)
			return fail(ct, ct->line,
			    "no ',' or '}' behind a value of the list opened on line %u", opened);
	}
	ct->pos++;
	return 0;
}

/* Reads what is behind NAME "=". */
static int scan_value(struct conftext *ct, struct conftext_item *item)
{
	unsigned line = ct->line;

	ct->pos++;
	if (skip_blanks(ct))
		return -1;
	if (peek(ct, 0) == '{') {
		item->kind = CONFTEXT_LIST;
		return scan_list(ct, item);
	}
	if (peek(ct, 0) == -1 || ct->line != line)
		return fail(ct, line, "no value behind '%.*s ='; write one on the same line",
		    shown(item), item->name);
	item->kind = CONFTEXT_VALUE;
	return scan_string(ct, item);
}

/* Reads what is behind the name of a section. */
static int scan_section(struct conftext *ct, struct conftext_item *item)
{
	item->kind = CONFTEXT_SECTION;
	if (peek(ct, 0) != '{') {
		size_t start = ct->pos;
		int quoted = peek(ct, 0) == '"' || peek(ct, 0) == '\'';

		if (scan_string(ct, item))
			return -1;
		item->title = ct->text + start + quoted;
		item->title_len = ct->pos - start - 2 * (size_t)quoted;
		if (skip_blanks(ct))
			return -1;
	}
	if (peek(ct, 0) != '{')
		return fail(ct, item->line, "no '=' behind '%.*s'", shown(item), item->name);
	if (ct->section_line)
		return fail(ct, item->line,
		    "a section within the one opened on line %u; is a '}' missing before it?",
		    ct->section_line);
	ct->section_line = item->line;
	ct->pos++;
	return 0;
}

/* Reads what is behind the name of an item. */
static int scan_item(struct conftext *ct, struct conftext_item *item)
{
	int c = peek(ct, 0);

	if (item->name_len == strlen("include") &&
	    memcmp(item->name, "include", item->name_len) == 0)
		return fail(
		    ct, item->line, "include is not supported; write everything into this file");
	if (c == '=')
		return scan_value(ct, item);
	if (c == '+' && peek(ct, 1) == '=')
		return fail(ct, ct->line, "'+=' is not supported; write the whole list behind '='");
	if (c == '{' || c == '"' || c == '\'' || c == '$' || is_word(c))
		return scan_section(ct, item);
	return fail(ct, item->line, "no '=' behind '%.*s'", shown(item), item->name);
}

void conftext_start(
    struct conftext *ct, char *text, size_t len, conftext_env *env, const char *const *spared)
{
	memset(ct, 0, sizeof *ct);
	ct->text = text;
	ct->len = len;
	ct->env = env;
	ct->spared = spared;
	ct->line = 1;
}

/* Goes to the next name, out of the section where it ends. Returns as conftext_next does. */
static int find_name(struct conftext *ct)
{
	for (;;) {
		if (skip_blanks(ct))
			return -1;
		if (peek(ct, 0) != '}')
			break;
		if (!ct->section_line)
			return fail(ct, ct->line, "a '}' that closes nothing; remove it");
		ct->section_line = 0;
		ct->pos++;
	}
	if (peek(ct, 0) == -1 && ct->section_line)
		return fail(ct, ct->section_line,
		    "the section opened here is never closed; add '}' behind its last line");
	return peek(ct, 0) != -1;
}

int conftext_next(struct conftext *ct, struct conftext_item *item)
{
	int found = find_name(ct);

	if (found != 1)
		return found;
	memset(item, 0, sizeof *item);
	item->line = ct->line;
	item->section_line = ct->section_line;
	item->name = ct->text + ct->pos;
	while (is_name(peek(ct, 0)))
		ct->pos++;
	item->name_len = (size_t)(ct->text + ct->pos - item->name);
	if (item->name_len == 0)
		return fail_unexpected(ct, "the name of an option");
	if (!is_end(peek(ct, 0), "={\"'(+#/"))
		return fail_unexpected(ct, "a blank or '=' behind the name of an option");
	if (skip_blanks(ct) || scan_item(ct, item))
		return -1;
	return 1;
}
