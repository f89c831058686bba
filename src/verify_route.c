#include "verify_route.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sysexits.h>

#include "address.h"
#include "plain.h"
#include "route.h"

/* ---- the facts ---- */

/* The value of the first field NAME of LETTER, and its length at LEN; NULL when there is none. */
static const char *value_of(const struct verify_letter *letter, const char *name, size_t *len)
{
	const size_t name_len = strlen(name);

	for (size_t i = 0; i < letter->header_count; i++) {
		const char *field = letter->header[i];

		if (strncasecmp(field, name, name_len) == 0 && field[name_len] == ':') {
			*len = strlen(field + name_len + 1);
			return field + name_len + 1;
		}
	}
	return NULL;
}

static const char *find_value(void *context, const char *name, size_t *len)
{
	return value_of(context, name, len);
}

/* An address, as address_list hands it over. */
struct author {
	char address[ADDRESS_MAX + 1];
};

static int take_author(void *context, const char *addr, size_t len)
{
	struct author *author = context;

	if (author->address[0] == '\0' && len <= ADDRESS_MAX) {
		memcpy(author->address, addr, len);
		author->address[len] = '\0';
	}
	return 0;
}

/* The address in From, which is the sender's where the header is not known; NULL: none. */
static const char *find_author(
    const struct verify_letter *letter, const char *sender, struct author *author)
{
	size_t len = 0;
	const char *fault;
	const char *text = value_of(letter, "From", &len);

	author->address[0] = '\0';
	if (text == NULL)
		return sender[0] != '\0' ? sender : NULL;
	if (address_list(text, len, take_author, author, &fault) != 0 || author->address[0] == '\0')
		return NULL;
	return author->address;
}

static int check_address(const char *address, struct error *err)
{
	const char *fault = address_fault(address, strlen(address));

	if (fault == NULL)
		return 0;
	error_set(err, EX_DATAERR, "%s is no address: %s", address, fault);
	return -1;
}

/* ---- what is told ---- */

static const char *relay_name(const struct config *config, size_t relay)
{
	return config->relay[relay].name;
}

static void print_rank(const struct config *config, const struct route_rank *rank)
{
	for (size_t i = 0; i < rank->count; i++) {
		const struct relay_config *relay = &config->relay[rank->relay[i]];

		(void)printf("%s%s", i > 0 ? ", " : "", relay->name);
		if (rank->count > 1)
			(void)printf(" (weight %u)", relay->weight);
	}
}

static void print_ranks(const struct config *config, const struct route_ranks *ranks)
{
	for (size_t i = 0; i < ranks->count; i++) {
		(void)printf("  %zu. ", i + 1);
		print_rank(config, &ranks->rank[i]);
		(void)printf("\n");
	}
	if (ranks->count == 0)
		(void)printf("  there is no relay\n");
}

static void print_choice(const struct config *config, const struct route_choice *choice)
{
	char reason[ROUTE_REASON_MAX];

	if (choice->route != NULL)
		(void)printf("route \"%s\": ", choice->route->name);
	else if (choice->wished)
		(void)printf("relay \"%s\": ", relay_name(config, choice->ranks->rank[0].relay[0]));
	plain_text(stdout, route_reason(choice, reason));
	(void)printf("%s\n", choice->route == NULL && !choice->wished
				 ? ", so the relays in the order of the file"
				 : "");
	print_ranks(config, choice->ranks);
}

static const char *joint(const char **next)
{
	const char *now = *next;

	*next = " and ";
	return now;
}

static void print_size(const char *what, uint64_t bytes, const char **next)
{
	char size[PLAIN_SIZE_MAX];

	if (bytes != 0)
		(void)printf("%s%s than %s", joint(next), what, plain_size(bytes, size));
}

/* What ROUTE asks that is not known. */
static void print_unknown(const struct route_config *route, const struct route_facts *facts)
{
	const char *next = ", if ";

	(void)printf("  route \"%s\"", route->name);
	for (size_t i = 0; facts->header == NULL && i < route->header_count; i++) {
		(void)printf(
		    "%s%s matches \"", i > 0 ? " or " : joint(&next), route->header[i].name);
		plain_text(stdout, route->header[i].pattern);
		(void)printf("\"");
	}
	if (facts->size == ROUTE_SIZE_UNKNOWN) {
		print_size("it is larger", route->larger_than, &next);
		print_size("it is smaller", route->smaller_than, &next);
	}
	(void)printf("\n");
}

/* Routes before the one that is chosen that would go first if the message were so. */
static void print_others(
    const struct config *config, const struct route_facts *facts, const struct route_choice *choice)
{
	bool first = true;

	if (choice->wished)
		return;
	for (size_t i = 0; i < config->route_count && &config->route[i] != choice->route; i++) {
		struct route_match match;

		if (route_ask(&config->route[i], facts, &match) != ROUTE_UNKNOWN)
			continue;
		if (first)
			(void)printf("its header or size may lead elsewhere first (see --header, "
				     "--size):\n");
		first = false;
		print_unknown(&config->route[i], facts);
	}
}

static void print_staging(const struct config *config, const char *recipient)
{
	if (!route_allows(config, recipient)) {
		(void)printf("held: the recipient is not in allow_recipients\n");
	} else if (config->redirect_to != NULL) {
		(void)printf("redirect_to: it goes to ");
		plain_text(stdout, config->redirect_to);
		(void)printf(" instead, by the relays of its real recipient\n");
	}
}

static void print_letter(const char *sender, const char *recipient)
{
	(void)printf("from ");
	plain_text(stdout, sender[0] != '\0' ? sender : "<>");
	(void)printf(" to ");
	plain_text(stdout, recipient);
	(void)printf("\n");
}

int verify_route(const struct config *config, struct verify_letter *letter, struct error *err)
{
	const char *sender = strcmp(letter->sender, "<>") == 0 ? "" : letter->sender;
	struct author author;
	struct route_facts facts = {.sender = sender,
	    .from = find_author(letter, sender, &author),
	    .recipient = letter->recipient,
	    .size = letter->size,
	    .wish = letter->wish,
	    .header = letter->header != NULL ? find_value : NULL,
	    .context = letter};
	struct route_choice choice;

	if ((sender[0] != '\0' && check_address(sender, err) == -1) ||
	    check_address(letter->recipient, err) == -1)
		return -1;
	print_letter(sender, letter->recipient);
	print_staging(config, letter->recipient);
	if (!route_choose(config, &facts, &choice)) {
		(void)printf(
		    "held: no route and no relay has the name that the message asks for\n");
		return 0;
	}
	print_choice(config, &choice);
	print_others(config, &facts, &choice);
	return 0;
}

void verify_routes(const struct config *config)
{
	for (size_t i = 0; i < config->route_count; i++) {
		const struct route_config *before = route_hiding(config, i);

		(void)printf("route \"%s\"\n", config->route[i].name);
		print_ranks(config, &config->route[i].ranks);
		if (before != NULL)
			(void)printf(
			    "  note: route \"%s\" stands before it and takes all mail; "
			    "only what asks for this one by X-Maildrain-Relay comes here\n",
			    before->name);
	}
}
