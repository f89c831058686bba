#include "confroute.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "confcheck.h"
#include "confvalue.h"
#include "envelope.h"

#define SHOWN_MAX 80 /* bytes of a name that a message repeats */

static const char BLANKS[] = " \t";

/* Makes room for COUNT ranks of up to ROOM relays each. */
static int make_ranks(
    const struct confparse *parse, struct route_ranks *ranks, size_t count, size_t room)
{
	size_t i;

	ranks->rank = calloc(count + 1, sizeof *ranks->rank);
	if (!ranks->rank)
		return confparse_fail_memory(parse);
	for (i = 0; i < count; i++) {
		ranks->rank[i].relay = calloc(room + 1, sizeof *ranks->rank[i].relay);
		ranks->count++;
		if (!ranks->rank[i].relay)
			return confparse_fail_memory(parse);
	}
	return 0;
}

static void free_ranks(struct route_ranks *ranks)
{
	size_t i;

	for (i = 0; i < ranks->count; i++)
		free(ranks->rank[i].relay);
	free(ranks->rank);
}

static void add_relay(struct route_rank *rank, size_t relay)
{
	rank->relay[rank->count++] = relay;
}

static bool has_relay(const struct route_ranks *ranks, size_t relay)
{
	size_t i, j;

	for (i = 0; i < ranks->count; i++)
		for (j = 0; j < ranks->rank[i].count; j++)
			if (ranks->rank[i].relay[j] == relay)
				return true;
	return false;
}

static int fail_unknown_relay(const struct confparse_section *section, const char *name)
{
	const char *near = confparse_nearest(section->parse, CONFPARSE_RELAY, name);

	return confparse_fail(section->parse, confparse_line(section, "relays"),
	    "relays names \"%.*s\", and there is no relay of that name%s%s%s", SHOWN_MAX, name,
	    near ? "; did you mean \"" : "; add it, or correct the name", near ? near : "",
	    near ? "\"?" : "");
}

/* Adds the relay NAME to RANK, one of those in RANKS. */
static int take_relay(const struct confparse_section *section, const struct config *config,
    const char *name, struct route_ranks *ranks, struct route_rank *rank)
{
	size_t i;

	for (i = 0; i < config->relay_count; i++)
		if (strcmp(config->relay[i].name, name) == 0)
			break;
	if (i == config->relay_count)
		return fail_unknown_relay(section, name);
	if (has_relay(ranks, i))
		return confparse_fail(section->parse, confparse_line(section, "relays"),
		    "relays names \"%s\" twice; remove one of them", name);
	add_relay(rank, i);
	return 0;
}

/* Adds the relays in WORDS, which is cut up for that, to RANK. */
static int take_rank(const struct confparse_section *section, const struct config *config,
    char *words, struct route_ranks *ranks, struct route_rank *rank)
{
	char *rest = NULL, *name;

	for (name = strtok_r(words, BLANKS, &rest); name; name = strtok_r(NULL, BLANKS, &rest))
		if (take_relay(section, config, name, ranks, rank))
			return -1;
	if (rank->count == 0)
		return confparse_fail(section->parse, confparse_line(section, "relays"),
		    "relays has a value without a name; remove it");
	return 0;
}

static int fill_ranks(
    const struct confparse_section *section, const struct config *config, struct route_ranks *ranks)
{
	unsigned i, count = cfg_size(section->cfg, "relays");

	if (count == 0)
		return confparse_fail(section->parse, confparse_line(section, "relays"),
		    "route \"%s\" has no relays; add some, as in relays = {\"main\", \"backup\"}",
		    cfg_title(section->cfg));
	if (count > CONFIG_RELAYS_MAX)
		return confparse_fail(section->parse, confparse_line(section, "relays"),
		    "relays has %u values; write %d at most", count, CONFIG_RELAYS_MAX);
	if (make_ranks(section->parse, ranks, count, config->relay_count))
		return -1;
	for (i = 0; i < count; i++) {
		char *words = strdup(cfg_getnstr(section->cfg, "relays", i));
		int result = words ? take_rank(section, config, words, ranks, &ranks->rank[i])
				   : confparse_fail_memory(section->parse);

		free(words);
		if (result)
			return -1;
	}
	return 0;
}

/* The length of the field name that TEXT starts with, up to its colon; 0 when there is none. */
static size_t field_name_len(const char *text)
{
	size_t len = 0;

	while (text[len] > ' ' && text[len] < 0x7f && text[len] != ':')
		len++;
	return text[len] == ':' ? len : 0;
}

/* Makes a condition of "NAME: PATTERN". */
static int take_header(
    const struct confparse_section *section, unsigned i, struct route_header_pattern *header)
{
	const char *text = cfg_getnstr(section->cfg, "header", i);
	const size_t len = field_name_len(text);
	const char *pattern = text + len + 1;

	if (len == 0)
		return confcheck_fail(section, "header", i,
		    "must be the name of a header field, a colon and a pattern, as in \"List-Id: "
		    "*\"");
	pattern += strspn(pattern, BLANKS);
	if (!*pattern)
		return confcheck_fail(
		    section, "header", i, "has no pattern behind its colon; write * for any value");
	if (strncasecmp(text, ENVELOPE_PREFIX, strlen(ENVELOPE_PREFIX)) == 0)
		return confcheck_fail(section, "header", i,
		    "is a line of the envelope, which is never in the header");
	header->name = strndup(text, len);
	header->pattern = strdup(pattern);
	return header->name && header->pattern ? 0 : confparse_fail_memory(section->parse);
}

static int fill_headers(const struct confparse_section *section, struct route_config *route)
{
	unsigned i, count = cfg_size(section->cfg, "header");

	if (count == 0)
		return 0;
	if (count > CONFIG_PATTERNS_MAX)
		return confparse_fail(section->parse, confparse_line(section, "header"),
		    "header has %u values; write %d at most", count, CONFIG_PATTERNS_MAX);
	route->header = calloc(count, sizeof *route->header);
	if (!route->header)
		return confparse_fail_memory(section->parse);
	for (i = 0; i < count; i++) {
		route->header_count++;
		if (take_header(section, i, &route->header[i]))
			return -1;
	}
	return 0;
}

static int fill_sizes(const struct confparse_section *section, struct route_config *route)
{
	if (confcheck_size(section, "larger_than", &route->larger_than) ||
	    confcheck_size(section, "smaller_than", &route->smaller_than))
		return -1;
	if (route->smaller_than == 0 || route->larger_than + 1 < route->smaller_than)
		return 0;
	return confcheck_fail(section, "smaller_than", 0,
	    "no message is smaller than this and larger than larger_than; correct one of them");
}

/* A list that is there and empty would ask what nothing can meet, or nothing at all. */
static int check_empty(const struct confparse_section *section)
{
	static const char *const lists[] = {"sender", "from", "recipient", "header", NULL};
	const char *const *name;

	for (name = lists; *name; name++)
		if (confparse_is_set(section, *name) && !confcheck_is_given(section, *name))
			return confparse_fail(section->parse, confparse_line(section, *name),
			    "%s is an empty list; write a pattern, or remove it", *name);
	return 0;
}

int confroute_fill(const struct confparse_section *section, const struct config *config,
    struct route_config *route)
{
	route->name = strdup(cfg_title(section->cfg));
	if (!route->name)
		return confparse_fail_memory(section->parse);
	if (section->parse->use == CONFIG_SPOOL)
		return 0;
	if (confcheck_values(section) || check_empty(section) ||
	    confcheck_senders(section, "sender", &route->sender) ||
	    confcheck_patterns(section, "from", &route->from) ||
	    confcheck_patterns(section, "recipient", &route->recipient))
		return -1;
	if (fill_headers(section, route) || fill_sizes(section, route))
		return -1;
	return fill_ranks(section, config, &route->ranks);
}

void confroute_free(struct route_config *route)
{
	size_t i;

	for (i = 0; i < route->header_count; i++) {
		free(route->header[i].name);
		free(route->header[i].pattern);
	}
	free(route->header);
	confcheck_free_words(route->sender);
	confcheck_free_words(route->from);
	confcheck_free_words(route->recipient);
	free_ranks(&route->ranks);
	free(route->name);
}

int confroute_fill_plain(const struct confparse *parse, struct config *config)
{
	size_t i;

	if (make_ranks(parse, &config->every, config->relay_count, 1))
		return -1;
	config->alone = calloc(config->relay_count + 1, sizeof *config->alone);
	if (!config->alone)
		return confparse_fail_memory(parse);
	for (i = 0; i < config->relay_count; i++) {
		add_relay(&config->every.rank[i], i);
		if (make_ranks(parse, &config->alone[i], 1, 1))
			return -1;
		add_relay(&config->alone[i].rank[0], i);
	}
	return 0;
}

void confroute_free_plain(struct config *config)
{
	size_t i;

	free_ranks(&config->every);
	for (i = 0; config->alone && i < config->relay_count; i++)
		free_ranks(&config->alone[i]);
	free(config->alone);
}
