#include "http_named.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "address.h"
#include "header.h"

/* The recipients to be served now, and who of them is named. */
struct named {
	struct http_request *request;
	const struct envelope *envelope;
	bool *seen;
	const char *api;
};

/*
 * Whether the two are one mailbox. Servers that tell upper case from lower in a local part are as
 * good as none; who took them for two would send twice.
 */
static bool is_same(const char *address, const char *named, size_t len)
{
	return strlen(address) == len && strncasecmp(address, named, len) == 0;
}

static int see(void *context, const char *addr, size_t len)
{
	struct named *named = context;
	const struct envelope *envelope = named->envelope;
	bool found = false;

	for (size_t i = 0; i < envelope->count; i++) {
		const struct recipient *recipient = &envelope->recipient[i];

		if (recipient->state != RECIPIENT_TODO || !is_same(recipient->address, addr, len))
			continue;
		named->seen[i] = true;
		found = true;
	}
	if (found)
		return 0;
	http_request_refuse(named->request, "5.3.3",
	    "%s sends to everybody in the header, and %.*s is not to get it now; use smtp for such "
	    "mail",
	    named->api, (int)len, addr);
	return 1;
}

/* False when the request is refused by that. */
static bool see_field(struct named *named, const struct header_line *field)
{
	const struct header_line value = header_value(field);
	const char *fault = NULL;
	const int result = address_list(value.text, value.len, see, named, &fault);

	if (result == -1)
		http_request_refuse(named->request, "5.3.3",
		    "%s sends to those in the header, which can't be read: %s; use smtp for such "
		    "mail",
		    named->api, fault);
	return result == 0;
}

static bool see_all(struct named *named, const char *head, size_t len)
{
	size_t offset = 0;

	while (offset < len) {
		const struct header_line field = header_field_at(head, len, offset);

		if (field.len == 0)
			break;
		if ((header_is(&field, "To") || header_is(&field, "Cc")) &&
		    !see_field(named, &field))
			return false;
		offset = field.next;
	}
	return true;
}

/* A Bcc field of all who are not named, each on a line of its own. */
static void put_bcc(struct named *named)
{
	const struct envelope *envelope = named->envelope;
	size_t size = 1;
	char *text;
	char *end;

	for (size_t i = 0; i < envelope->count; i++)
		size += strlen(envelope->recipient[i].address) + sizeof "Bcc: <>,\r\n";
	text = arena_alloc(&named->request->arena, size);
	if (text == NULL) {
		named->request->failed = true;
		return;
	}
	*text = '\0';
	end = text;
	for (size_t i = 0; i < envelope->count; i++)
		if (envelope->recipient[i].state == RECIPIENT_TODO && !named->seen[i])
			end += snprintf(end, size - (size_t)(end - text), "%s<%s>",
			    end == text ? "Bcc: " : ",\r\n ", envelope->recipient[i].address);
	if (end != text)
		(void)snprintf(end, size - (size_t)(end - text), "\r\n");
	named->request->front = text;
}

void http_named(struct http_request *request, const struct message *message, const char *api)
{
	const char *head = message->buf + message->buf_pos;
	const size_t len = message->buf_len - message->buf_pos;
	const size_t head_len = envelope_head_len(head, len);
	const size_t count = message->envelope.count;
	struct named named = {.request = request, .envelope = &message->envelope, .api = api};

	named.seen = arena_alloc(&request->arena, count * sizeof *named.seen + 1);
	if (named.seen == NULL) {
		request->failed = true;
		return;
	}
	memset(named.seen, 0, count * sizeof *named.seen);
	if (see_all(&named, head, head_len > 0 ? head_len : len))
		put_bcc(&named);
}
