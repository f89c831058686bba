/* route: a message's facts against conditions, both from the input: nothing is read past its end,
 * and what is said to be met is met. */
#include <fnmatch.h>

#include "fuzz.h"
#include "route.h"

struct fields {
	const char *text;
	size_t len;
	bool there;
};

static const char *find(void *context, const char *name, size_t *len)
{
	const struct fields *fields = context;

	assert(strcmp(name, "Subject") == 0);
	*len = fields->len;
	return fields->there ? fields->text : NULL;
}

/* A list of one pattern, or none at all for an empty line. */
static char **list_of(char *pattern, char *list[2])
{
	list[0] = pattern;
	list[1] = NULL;
	return pattern[0] != '\0' ? list : NULL;
}

static void check_address(const char *pattern, char *const *asked, const char *address)
{
	const char *at = strrchr(address, '@');

	assert((pattern != NULL) == (asked != NULL));
	if (pattern == NULL || strcmp(pattern, "<>") == 0)
		return;
	assert(pattern == asked[0]);
	assert(fnmatch(pattern, strchr(pattern, '@') == NULL && at != NULL ? at + 1 : address,
		   FNM_CASEFOLD) == 0);
}

static void check_met(const struct route_config *route, const struct route_facts *facts,
    const struct route_match *match)
{
	check_address(match->sender, route->sender, facts->sender);
	check_address(match->from, route->from, facts->from != NULL ? facts->from : "");
	check_address(match->recipient, route->recipient, facts->recipient);
	assert((match->header != NULL) == (route->header_count > 0));
	assert(route->larger_than == 0 || facts->size > route->larger_than);
	assert(route->smaller_than == 0 || facts->size < route->smaller_than);
}

/* Where the route takes it, it is chosen, and for a reason that can be told. */
static void check_choice(struct route_config *route, const struct route_facts *facts)
{
	const struct config config = {.route = route, .route_count = 1};
	struct route_choice choice;
	struct route_match match;
	char reason[ROUTE_REASON_MAX];
	const bool taken = route_ask(route, facts, &match) == ROUTE_YES;

	if (taken)
		check_met(route, facts, &match);
	assert(route_choose(&config, facts, &choice));
	assert(choice.route == (taken ? route : NULL));
	assert(choice.ranks == (taken ? &route->ranks : &config.every));
	assert(route_reason(&choice, reason) == reason && strlen(reason) < sizeof reason);
	assert(reason[0] != '\0');
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz fuzz = fuzz_start(data, size);
	const unsigned flags = fuzz_byte(&fuzz);
	char subject[] = "Subject", *line[8], *list[3][2];
	struct route_header_pattern header;
	struct route_config route = {.header = &header};
	struct fields fields;
	struct route_facts facts;

	for (size_t i = 0; i < 8; i++)
		line[i] = fuzz_line(&fuzz);
	header = (struct route_header_pattern){.name = subject, .pattern = line[1]};
	route.name = line[0];
	route.sender = list_of(line[2], list[0]);
	route.from = list_of(line[3], list[1]);
	route.recipient = list_of(line[4], list[2]);
	route.header_count = flags & 1;
	route.larger_than = flags & 2 ? strlen(line[0]) : 0;
	route.smaller_than = flags & 4 ? strlen(line[0]) * 2 : 0;
	fields = (struct fields){fuzz.at, fuzz.left, (flags & 8) == 0};
	facts = (struct route_facts){.sender = line[5],
	    .from = flags & 16 ? NULL : line[6],
	    .recipient = line[7],
	    .size = size,
	    .header = flags & 32 ? NULL : find,
	    .context = &fields};
	check_choice(&route, &facts);
	for (size_t i = 0; i < 8; i++)
		free(line[i]);
	return 0;
}
