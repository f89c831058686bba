#include "envelope.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "address.h"
#include "entry.h"
#include "header.h"

static const char BLOCK_PREFIX[] = ENVELOPE_PREFIX;

size_t envelope_head_len(const char *head, size_t len)
{
	size_t offset = 0;

	while (offset < len) {
		struct header_line line = header_line_at(head, len, offset);

		/* A CR at the very end may be half of a CRLF: wait for more. */
		if (line.next == len && (line.next == offset + line.len || head[len - 1] == '\r'))
			return 0;
		if (line.len == 0)
			return line.next;
		offset = line.next;
	}
	return 0;
}

/* Makes room for one recipient more. */
static bool recipients_grow(struct envelope *envelope)
{
	const size_t room = envelope->room == 0 ? 8 : envelope->room * 4;
	struct recipient *more;

	if (envelope->count < envelope->room)
		return true;
	more = arena_alloc(&envelope->arena, room * sizeof *more);
	if (more == NULL)
		return false;
	if (envelope->count > 0)
		memcpy(more, envelope->recipient, envelope->count * sizeof *more);
	envelope->recipient = more;
	envelope->room = room;
	return true;
}

/* A NUL would cut the text short; as any other control character it gets the address refused. */
static const char *copy_address(struct envelope *envelope, const char *text, size_t len)
{
	char *copy = arena_copy(&envelope->arena, text, len);

	for (size_t i = 0; copy != NULL && i < len; i++)
		if (copy[i] == '\0')
			copy[i] = '\1';
	return copy;
}

/*
 * The enhanced status in the words of an earlier attempt, "550 5.1.1 …"; "" without one. It may get
 * into the name of the file, so what only looks like one, "5.1.1.", is none.
 */
static void read_status(const char *reply, char *status, size_t size)
{
	const char *second = strchr(reply, ' ');
	size_t len;

	if (second == NULL)
		return;
	len = strcspn(second + 1, " ");
	if (len < size && second[1] == '5' && entry_is_status(second + 1, len))
		(void)snprintf(status, size, "%.*s", (int)len, second + 1);
}

static bool recipient_put(struct envelope *envelope, enum recipient_state state,
    const char *address, size_t len, const char *reply, size_t reply_len)
{
	struct recipient recipient = {
	    .state = state,
	    .address = copy_address(envelope, address, len),
	    .reply = arena_copy(&envelope->arena, reply, reply_len),
	};

	if (recipient.address == NULL || recipient.reply == NULL || !recipients_grow(envelope))
		return false;
	if (state == RECIPIENT_FAILED)
		read_status(recipient.reply, recipient.status, sizeof recipient.status);
	envelope->recipient[envelope->count++] = recipient;
	return true;
}

/* The same for one that a message may have too many of. */
static bool recipient_add(struct envelope *envelope, enum recipient_state state,
    const char *address, size_t len, const char *reply, size_t reply_len)
{
	return envelope->count < ENVELOPE_RECIPIENTS_MAX &&
	       recipient_put(envelope, state, address, len, reply, reply_len);
}

static int fault_set(struct envelope_fault *fault, const char *status, const char *text)
{
	(void)snprintf(fault->status, sizeof fault->status, "%s", status);
	fault->text = text;
	return -1;
}

static int fault_too_many(struct envelope_fault *fault)
{
	return fault_set(fault, "5.5.3", "too many recipients in one message");
}

struct path {
	const char *address;
	size_t len;
	const char *rest; /* behind the ">" and spaces */
	size_t rest_len;
};

/* Splits "<ADDRESS> WORDS" at the first ">"; false when VALUE has no such form. */
static bool split_path(const struct header_line *value, struct path *path)
{
	const char *end = value->text + value->len;
	const char *close;

	if (value->len < 2 || value->text[0] != '<')
		return false;
	close = memchr(value->text, '>', value->len);
	if (close == NULL)
		return false;
	path->address = value->text + 1;
	path->len = (size_t)(close - path->address);
	path->rest = close + 1;
	while (path->rest < end && *path->rest == ' ')
		path->rest++;
	path->rest_len = (size_t)(end - path->rest);
	return true;
}

static int block_recipient(struct envelope *envelope, enum recipient_state state,
    const struct path *path, struct envelope_fault *fault)
{
	const char *reply = path->rest;
	size_t reply_len = path->rest_len;
	size_t len = path->len;

	/* Nothing may follow the address that is still to be served: what does makes it faulty. */
	if (state == RECIPIENT_TODO && reply_len > 0) {
		len = (size_t)(path->rest + path->rest_len - path->address);
		reply_len = 0;
	}
	if (!recipient_add(envelope, state, path->address, len, reply, reply_len))
		return fault_too_many(fault);
	return 0;
}

/* What a line of the block says: KEY is "To", "From" … */
static int block_field(struct envelope *envelope, const char *key, size_t key_len,
    const struct header_line *value, struct envelope_fault *fault)
{
	static const struct {
		const char *key;
		enum recipient_state state;
	} kinds[] = {
	    {"To", RECIPIENT_TODO}, {"Done", RECIPIENT_DONE}, {"Failed", RECIPIENT_FAILED}};
	struct path path;

	if (key_len == 5 && strncasecmp(key, "Relay", 5) == 0) {
		envelope->relay = arena_copy(&envelope->arena, value->text, value->len);
		return 0;
	}
	if (!split_path(value, &path))
		return fault_set(fault, "5.6.0", "an envelope line has no <address>");
	if (key_len == 4 && strncasecmp(key, "From", 4) == 0) {
		envelope->sender = copy_address(envelope, path.address, path.len);
		envelope->has_from = envelope->sender != NULL;
		return 0;
	}
	for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
		if (key_len == strlen(kinds[i].key) && strncasecmp(key, kinds[i].key, key_len) == 0)
			return block_recipient(envelope, kinds[i].state, &path, fault);
	return fault_set(fault, "5.6.0", "an envelope line of unknown kind");
}

/* Reads the block at the start, if there is one; sets block_len. */
static int parse_block(
    struct envelope *envelope, const char *head, size_t len, struct envelope_fault *fault)
{
	const size_t prefix_len = sizeof BLOCK_PREFIX - 1;
	size_t offset = 0;

	while (offset < len) {
		struct header_line line = header_line_at(head, len, offset);
		const char *colon;
		struct header_line value;

		if (line.len < prefix_len || strncasecmp(line.text, BLOCK_PREFIX, prefix_len) != 0)
			break;
		colon = memchr(line.text, ':', line.len);
		if (colon == NULL)
			return fault_set(fault, "5.6.0", "an envelope line has no colon");
		value.text = colon + 1;
		value.len = (size_t)(line.text + line.len - value.text);
		while (value.len > 0 && (*value.text == ' ' || *value.text == '\t')) {
			value.text++;
			value.len--;
		}
		if (block_field(envelope, line.text + prefix_len,
			(size_t)(colon - line.text) - prefix_len, &value, fault) == -1)
			return -1;
		offset = line.next;
	}
	envelope->block_len = offset;
	return 0;
}

bool envelope_add(struct envelope *envelope, const char *addr, size_t len)
{
	for (size_t i = 0; i < envelope->count; i++) {
		const char *known = envelope->recipient[i].address;

		if (strlen(known) == len && memcmp(known, addr, len) == 0)
			return true;
	}
	return recipient_add(envelope, RECIPIENT_TODO, addr, len, "", 0);
}

static int add_recipient(void *context, const char *addr, size_t len)
{
	return envelope_add(context, addr, len) ? 0 : 1;
}

/* The sender is the first mailbox of the list. */
static int set_sender(void *context, const char *addr, size_t len)
{
	struct envelope *envelope = context;

	/* "<>" in a header is no null sender: only an envelope line can ask for that. */
	if (len == 0)
		return 1;
	envelope->sender = copy_address(envelope, addr, len);
	envelope->has_from = envelope->sender != NULL;
	return 1;
}

/* One field of the header, as "sendmail -t" understands it; SENDER_SEEN: Sender overrules From. */
static int header_field(struct envelope *envelope, const struct header_line *field,
    bool *sender_seen, struct envelope_fault *fault)
{
	const bool sender = header_is(field, "Sender");
	const char *words = NULL;
	struct header_line value;
	int result;

	if (sender || (header_is(field, "From") && !*sender_seen && !envelope->has_from)) {
		value = header_value(field);
		result = address_list(value.text, value.len, set_sender, envelope, &words);
		*sender_seen = *sender_seen || (sender && result == 1);
		return result == -1 ? fault_set(fault, "5.1.7", words) : 0;
	}
	if (header_is(field, "To") || header_is(field, "Cc") || header_is(field, "Bcc")) {
		value = header_value(field);
		result = address_list(value.text, value.len, add_recipient, envelope, &words);
		if (result == -1)
			return fault_set(fault, "5.1.3", words);
		if (result != 0)
			return fault_too_many(fault);
	}
	return 0;
}

static int parse_header(
    struct envelope *envelope, const char *head, size_t len, struct envelope_fault *fault)
{
	bool sender_seen = false;
	size_t offset = envelope->block_len;

	while (offset < len) {
		struct header_line field = header_field_at(head, len, offset);

		if (field.len == 0)
			break;
		if (header_name_len(&field) > 0 &&
		    header_field(envelope, &field, &sender_seen, fault) == -1)
			return -1;
		offset = field.next;
	}
	return 0;
}

static void clear(struct envelope *envelope)
{
	struct arena arena = envelope->arena;

	arena_reset(&arena);
	*envelope = (struct envelope){.arena = arena, .sender = ""};
}

bool envelope_begin(struct envelope *envelope, const char *sender)
{
	clear(envelope);
	envelope->sender = arena_copy(&envelope->arena, sender, strlen(sender));
	envelope->has_from = envelope->sender != NULL;
	return envelope->has_from;
}

int envelope_parse(
    struct envelope *envelope, const char *head, size_t len, struct envelope_fault *fault)
{
	struct header_line first;

	clear(envelope);
	if (parse_block(envelope, head, len, fault) == -1)
		return -1;
	first = header_line_at(head, len, envelope->block_len);
	if (header_name_len(&first) == 0)
		return fault_set(
		    fault, "5.6.0", "this is no message: it does not start with a header");
	if (envelope->block_len == 0 && parse_header(envelope, head, len, fault) == -1)
		return -1;
	if (!envelope->has_from)
		return fault_set(fault, "5.1.7", "no sender: neither envelope line nor From");
	if (envelope->sender[0] != '\0') {
		const char *wrong = address_fault(envelope->sender, strlen(envelope->sender));

		if (wrong != NULL)
			return fault_set(fault, "5.1.7", wrong);
	}
	if (envelope->count == 0)
		return fault_set(
		    fault, "5.1.3", "no recipient: neither envelope line nor To, Cc or Bcc");
	return 0;
}

void envelope_restart(struct envelope *envelope)
{
	for (size_t i = 0; i < envelope->count; i++) {
		struct recipient *recipient = &envelope->recipient[i];

		if (recipient->state == RECIPIENT_FAILED) {
			recipient->state = RECIPIENT_TODO;
			recipient->status[0] = '\0';
			recipient->reply = "";
		}
	}
}

void envelope_refuse_faulty(struct envelope *envelope)
{
	for (size_t i = 0; i < envelope->count; i++) {
		struct recipient *recipient = &envelope->recipient[i];
		const char *wrong = NULL;

		if (recipient->state == RECIPIENT_TODO)
			wrong = address_fault(recipient->address, strlen(recipient->address));
		if (wrong != NULL)
			envelope_result(envelope, recipient, RECIPIENT_FAILED, "5.1.3", wrong);
	}
}

size_t envelope_drop_bcc(char *head, size_t len)
{
	size_t offset = 0;
	size_t kept = 0;

	while (offset < len) {
		struct header_line field = header_field_at(head, len, offset);
		const size_t bytes = field.next - offset;

		if (!header_is(&field, "Bcc") && !header_is(&field, "Resent-Bcc")) {
			memmove(head + kept, head + offset, bytes);
			kept += bytes;
		}
		offset = field.next;
	}
	return kept;
}

size_t envelope_write_sender(const struct envelope *envelope, char *buf)
{
	int len = snprintf(buf, ENVELOPE_LINE_MAX, "%sFrom: <%.*s>\n", BLOCK_PREFIX, ADDRESS_MAX,
	    envelope->sender);

	if (envelope->relay != NULL)
		len += snprintf(buf + len, ENVELOPE_LINE_MAX - (size_t)len, "%sRelay: %.64s\n",
		    BLOCK_PREFIX, envelope->relay);
	return (size_t)len;
}

/*
 * A faulty address may hold what ends its line or its "<>": a "<" in that place keeps it as faulty,
 * and makes it neither another address nor another line when it is read again.
 */
static void clean_address(char *text, size_t size, const char *address)
{
	(void)snprintf(text, size, "%s", address);
	for (char *c = text; *c != '\0'; c++)
		if ((unsigned char)*c < ' ' || *c == 127 || *c == '>')
			*c = '<';
}

size_t envelope_write_recipient(const struct recipient *recipient, char *buf)
{
	char address[2048];
	const bool served =
	    recipient->state == RECIPIENT_DONE || recipient->state == RECIPIENT_FAILED;
	const char *key = recipient->state == RECIPIENT_DONE	 ? "Done"
			  : recipient->state == RECIPIENT_FAILED ? "Failed"
								 : "To";
	int len;

	clean_address(address, sizeof address, recipient->address);
	len = snprintf(buf, ENVELOPE_LINE_MAX, "%s%s: <%s>%s%.1024s\n", BLOCK_PREFIX, key, address,
	    served ? " " : "", served ? recipient->reply : "");
	return (size_t)len;
}

size_t envelope_count(const struct envelope *envelope, enum recipient_state state)
{
	size_t count = 0;

	for (size_t i = 0; i < envelope->count; i++)
		count += envelope->recipient[i].state == state;
	return count;
}

void envelope_result(struct envelope *envelope, struct recipient *recipient,
    enum recipient_state state, const char *status, const char *reply)
{
	const char *copy = arena_copy(&envelope->arena, reply, strlen(reply));

	recipient->state = state;
	recipient->tried = true;
	recipient->reply = copy != NULL ? copy : "";
	(void)snprintf(recipient->status, sizeof recipient->status, "%s", status);
}

bool envelope_redirect(struct envelope *envelope, const char *address)
{
	const size_t count = envelope->count;

	if (!recipient_put(envelope, RECIPIENT_TODO, address, strlen(address), "", 0))
		return false;
	for (size_t i = 0; i < count; i++) {
		struct recipient *recipient = &envelope->recipient[i];

		recipient->redirected = recipient->state == RECIPIENT_TODO;
		if (recipient->redirected)
			recipient->state = RECIPIENT_LATER;
	}
	envelope->redirected = envelope->recipient[count].address;
	return true;
}

void envelope_restore(struct envelope *envelope)
{
	const struct recipient *last = &envelope->recipient[envelope->count - 1];

	for (size_t i = 0; i + 1 < envelope->count; i++) {
		struct recipient *recipient = &envelope->recipient[i];

		if (!recipient->redirected)
			continue;
		recipient->redirected = false;
		recipient->state = last->state;
		recipient->reply = last->reply;
		recipient->tried = last->tried;
		recipient->asked = last->asked;
		memcpy(recipient->status, last->status, sizeof recipient->status);
	}
	envelope->count--;
}

void envelope_free(struct envelope *envelope)
{
	arena_free(&envelope->arena);
	*envelope = (struct envelope){0};
}
