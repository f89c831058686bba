#include "batch.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "address.h"
#include "header.h"
#include "route.h"
#include "staging.h"

static const char *find_header(void *context, const char *name, size_t *len)
{
	const struct message *message = context;
	struct header_line value;
	size_t head_len;
	const char *head = message_header(message, &head_len);

	if (!header_find(head, head_len, name, &value))
		return NULL;
	*len = value.len;
	return value.text;
}

/* The first of a list; what is longer than an address is none. */
static int copy_first(void *context, const char *addr, size_t len)
{
	char *from = context;

	if (len <= ADDRESS_MAX)
		(void)snprintf(from, ADDRESS_MAX + 1, "%.*s", (int)len, addr);
	return 1;
}

static void read_from(struct message *message, char from[ADDRESS_MAX + 1])
{
	const char *fault;
	const char *value;
	size_t len;

	from[0] = '\0';
	value = find_header(message, "From", &len);
	if (value != NULL && address_list(value, len, copy_first, from, &fault) == -1)
		from[0] = '\0';
}

static void say_held(struct message *message, const char *status, const char *why)
{
	message->held_status = status;
	message->held_why = why;
}

/* The ranks for RECIPIENT; NULL: it is held. */
static const struct route_ranks *ranks_for(const struct config *config, struct message *message,
    struct route_facts *facts, struct recipient *recipient)
{
	struct route_choice choice;

	facts->recipient = recipient->address;
	if (route_choose(config, facts, &choice))
		return choice.ranks;
	recipient->held = true;
	say_held(message, "4.3.5",
	    "X-Maildrain-Relay names neither a route nor a relay of the configuration");
	return NULL;
}

static void change_all(
    struct envelope *envelope, enum recipient_state from, enum recipient_state to)
{
	for (size_t i = 0; i < envelope->count; i++)
		if (envelope->recipient[i].state == from)
			envelope->recipient[i].state = to;
}

/* Whoever is not served yet is to be served later, or is held. */
static void put_off_all(const struct config *config, struct message *message)
{
	struct envelope *envelope = &message->envelope;

	change_all(envelope, RECIPIENT_LATER, RECIPIENT_TODO);
	for (size_t i = 0; i < envelope->count; i++)
		envelope->recipient[i].held = false;
	if (staging_hold(envelope, config) > 0)
		say_held(
		    message, STAGING_HELD_STATUS, "not all recipients are in allow_recipients");
	change_all(envelope, RECIPIENT_TODO, RECIPIENT_LATER);
}

static bool is_next(const struct recipient *recipient)
{
	return recipient->state == RECIPIENT_LATER && !recipient->held;
}

/* From FIRST on those that RANKS is for, MOST of them, are to be served now. */
static void take_group(const struct config *config, struct message *message,
    struct route_facts *facts, size_t first, const struct route_ranks *ranks, size_t most)
{
	struct envelope *envelope = &message->envelope;

	for (size_t i = first; i < envelope->count && most > 0; i++) {
		struct recipient *recipient = &envelope->recipient[i];

		if (!is_next(recipient) || ranks_for(config, message, facts, recipient) != ranks)
			continue;
		recipient->state = RECIPIENT_TODO;
		most--;
	}
}

static enum batch_next find_group(const struct config *config, struct lane *lane,
    struct message *message, struct route_facts *facts, size_t hint, struct batch *batch)
{
	const struct envelope *envelope = &message->envelope;
	const struct route_ranks *useless = NULL;

	for (size_t i = 0; i < envelope->count; i++) {
		struct recipient *recipient = &envelope->recipient[i];
		const struct route_ranks *ranks;
		enum lane_found found;

		if (!is_next(recipient))
			continue;
		ranks = ranks_for(config, message, facts, recipient);
		if (ranks == NULL || ranks == useless)
			continue;
		found = lane_choose(lane, ranks, message->size.wire, hint, &batch->relay);
		if (found == LANE_NONE) {
			useless = ranks;
			batch->stranded = true;
			continue;
		}
		take_group(config, message, facts, i, ranks,
		    found == LANE_FOUND ? lane_recipients_max(&lane[batch->relay]) : SIZE_MAX);
		return found == LANE_FOUND ? BATCH_SEND : BATCH_TOO_LARGE;
	}
	return BATCH_NOBODY;
}

enum batch_next batch_find(const struct config *config, struct lane *lane, struct message *message,
    size_t hint, struct batch *batch)
{
	char from[ADDRESS_MAX + 1] = "";
	struct route_facts facts = {
	    .sender = message->envelope.sender,
	    .from = from,
	    .size = message->file_size,
	    .wish = message->envelope.relay,
	    .header = find_header,
	    .context = message,
	};

	*batch = (struct batch){.relay = SIZE_MAX};
	if (route_needs_header(config))
		read_from(message, from);
	put_off_all(config, message);
	return find_group(config, lane, message, &facts, hint, batch);
}

bool batch_has_more(const struct message *message)
{
	return envelope_count(&message->envelope, RECIPIENT_LATER) > 0;
}
