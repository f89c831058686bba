#include "route.h"

#include <fnmatch.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "plain.h"

#define VALUE_MAX 1000 /* bytes of a field's value that are compared */

static bool fits(const char *pattern, const char *text)
{
	return fnmatch(pattern, text, FNM_CASEFOLD) == 0;
}

static bool address_fits(const char *pattern, const char *address)
{
	const char *at = strrchr(address, '@');

	if (strchr(pattern, '@') || !at)
		return fits(pattern, address);
	return fits(pattern, at + 1);
}

static bool sender_fits(const char *pattern, const char *sender)
{
	if (strcmp(pattern, "<>") == 0)
		return sender[0] == '\0';
	return address_fits(pattern, sender);
}

/* The pattern of the list PATTERNS that TEXT fits; MET is the answer. NULL asks nothing. */
static const char *first_fit(char *const *patterns, const char *text,
    bool (*fit)(const char *pattern, const char *text), bool *met)
{
	size_t i;

	*met = patterns == NULL;
	for (i = 0; patterns && text && patterns[i]; i++)
		if (fit(patterns[i], text)) {
			*met = true;
			return patterns[i];
		}
	return NULL;
}

/* Makes a string of the value TEXT[0..LEN) of a field: one line, without the blanks around it. */
static void unfold(const char *text, size_t len, char out[VALUE_MAX + 1])
{
	size_t used = 0, i;

	for (i = 0; i < len && used < VALUE_MAX; i++) {
		const bool blank = text[i] == ' ' || text[i] == '\t';

		if (text[i] == '\r' || text[i] == '\n' || (blank && used == 0))
			continue;
		out[used++] = (char)(blank ? ' ' : text[i] ? text[i] : '?');
	}
	while (used > 0 && out[used - 1] == ' ')
		used--;
	out[used] = '\0';
}

static bool header_fits(const struct route_header_pattern *asked, const struct route_facts *facts)
{
	char value[VALUE_MAX + 1];
	size_t len = 0;
	const char *text = facts->header(facts->context, asked->name, &len);

	if (!text)
		return false;
	unfold(text, len, value);
	return fits(asked->pattern, value);
}

static enum route_answer ask_header(
    const struct route_config *route, const struct route_facts *facts, struct route_match *match)
{
	size_t i;

	if (route->header_count == 0)
		return ROUTE_YES;
	if (!facts->header)
		return ROUTE_UNKNOWN;
	for (i = 0; i < route->header_count; i++)
		if (header_fits(&route->header[i], facts)) {
			match->header = &route->header[i];
			return ROUTE_YES;
		}
	return ROUTE_NO;
}

static enum route_answer ask_size(const struct route_config *route, uint64_t size)
{
	if (route->larger_than == 0 && route->smaller_than == 0)
		return ROUTE_YES;
	if (size == ROUTE_SIZE_UNKNOWN)
		return ROUTE_UNKNOWN;
	if (size <= route->larger_than && route->larger_than != 0)
		return ROUTE_NO;
	return size >= route->smaller_than && route->smaller_than != 0 ? ROUTE_NO : ROUTE_YES;
}

/* Whether the addresses of a message are those that ROUTE asks for. */
static bool addresses_fit(
    const struct route_config *route, const struct route_facts *facts, struct route_match *match)
{
	bool sender, from, recipient;

	match->sender = first_fit(route->sender, facts->sender, sender_fits, &sender);
	match->from = first_fit(route->from, facts->from, address_fits, &from);
	match->recipient = first_fit(route->recipient, facts->recipient, address_fits, &recipient);
	return sender && from && recipient;
}

enum route_answer route_ask(
    const struct route_config *route, const struct route_facts *facts, struct route_match *match)
{
	enum route_answer size = ask_size(route, facts->size), header;

	memset(match, 0, sizeof *match);
	if (size == ROUTE_NO || !addresses_fit(route, facts, match))
		return ROUTE_NO;
	header = ask_header(route, facts, match);
	return header == ROUTE_YES ? size : header;
}

static bool is_wish(const struct config *config, const char *wish, struct route_choice *choice)
{
	size_t i;

	choice->wished = true;
	for (i = 0; i < config->route_count; i++)
		if (strcmp(config->route[i].name, wish) == 0) {
			choice->route = &config->route[i];
			choice->ranks = &choice->route->ranks;
			return true;
		}
	for (i = 0; i < config->relay_count; i++)
		if (strcmp(config->relay[i].name, wish) == 0) {
			choice->ranks = &config->alone[i];
			return true;
		}
	return false;
}

bool route_choose(
    const struct config *config, const struct route_facts *facts, struct route_choice *choice)
{
	size_t i;

	memset(choice, 0, sizeof *choice);
	if (facts->wish)
		return is_wish(config, facts->wish, choice);
	for (i = 0; i < config->route_count; i++)
		if (route_ask(&config->route[i], facts, &choice->match) == ROUTE_YES) {
			choice->route = &config->route[i];
			choice->ranks = &choice->route->ranks;
			return true;
		}
	choice->ranks = &config->every;
	return true;
}

/* Appends to the string BUF of SIZE bytes; what does not fit is cut. */
__attribute__((format(printf, 3, 4))) static void append(
    char *buf, size_t size, const char *format, ...)
{
	const size_t len = strlen(buf);
	va_list args;

	va_start(args, format);
	(void)vsnprintf(buf + len, size - len, format, args);
	va_end(args);
}

static const char *joint(const char *buf)
{
	return buf[0] ? ", " : "";
}

static void append_match(char *buf, const char *what, const char *pattern)
{
	if (pattern)
		append(buf, ROUTE_REASON_MAX, "%s%s matches \"%s\"", joint(buf), what, pattern);
}

static void append_size(char *buf, const char *what, uint64_t bytes)
{
	char size[PLAIN_SIZE_MAX];

	if (bytes)
		append(buf, ROUTE_REASON_MAX, "%s%s than %s", joint(buf), what,
		    plain_size(bytes, size));
}

const char *route_reason(const struct route_choice *choice, char buf[ROUTE_REASON_MAX])
{
	const struct route_match *match = &choice->match;

	buf[0] = '\0';
	if (choice->wished || !choice->route) {
		append(buf, ROUTE_REASON_MAX, "%s",
		    choice->wished ? "the message asks for it" : "no route takes it");
		return buf;
	}
	append_match(buf, "sender", match->sender);
	append_match(buf, "From", match->from);
	append_match(buf, "recipient", match->recipient);
	if (match->header)
		append_match(buf, match->header->name, match->header->pattern);
	append_size(buf, "larger", choice->route->larger_than);
	append_size(buf, "smaller", choice->route->smaller_than);
	if (!buf[0])
		append(buf, ROUTE_REASON_MAX, "it has no conditions");
	return buf;
}

bool route_needs_content(const struct config *config)
{
	return config->route_count > 0 || config->relay_count > 1;
}

bool route_needs_header(const struct config *config)
{
	size_t i;

	for (i = 0; i < config->route_count; i++)
		if (config->route[i].from || config->route[i].header_count > 0)
			return true;
	return false;
}

static bool takes_all(const struct route_config *route)
{
	return !route->sender && !route->from && !route->recipient && route->header_count == 0 &&
	       route->larger_than == 0 && route->smaller_than == 0;
}

const struct route_config *route_hiding(const struct config *config, size_t i)
{
	size_t before;

	for (before = 0; before < i; before++)
		if (takes_all(&config->route[before]))
			return &config->route[before];
	return NULL;
}

bool route_allows(const struct config *config, const char *address)
{
	size_t i;

	for (i = 0; i < config->allow_count; i++)
		if (address_fits(config->allow[i], address))
			return true;
	return config->allow_count == 0;
}
