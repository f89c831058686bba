/* intake and compose: what is handed in as to sendmail, and the spool file that it becomes. */
#include <strings.h>

#include "address.h"
#include "compose.h"
#include "fuzz.h"
#include "header.h"
#include "intake.h"

static const struct compose known = {
    .domain = "shop.example",
    .host = "web1.example",
    .unique = "1.M2P3Q4.web1",
    .date = "Sun, 22 Nov 2026 13:00:00 +0000",
    .uid = 33,
    .author = "www-data@shop.example",
};

/* Where a line of a single dot starts, with dots as a person reads them; LEN if there is none. */
static size_t dot_line(const char *text, size_t len)
{
	for (size_t at = 0; at < len; at++) {
		const size_t left = len - at;

		if (text[at] != '.' || (at > 0 && text[at - 1] != '\n'))
			continue;
		if (left == 1 || text[at + 1] == '\n' ||
		    (text[at + 1] == '\r' && (left == 2 || text[at + 2] == '\n')))
			return at;
	}
	return len;
}

/* Takes TEXT in pieces; the caller frees what is given. */
static char *take(struct fuzz *fuzz, const char *text, size_t len, size_t *taken)
{
	struct intake_dot dot = {.ended = false};
	char *made = malloc(len + 1);

	assert(made != NULL);
	*taken = 0;
	for (size_t at = 0; at < len;) {
		const size_t piece = fuzz_piece(fuzz, len - at);
		char *out = malloc(piece + INTAKE_SPARE);
		const size_t n = intake_dot_take(&dot, text + at, piece, out);

		assert(n <= piece + INTAKE_SPARE && *taken + n <= len);
		memcpy(made + *taken, out, n);
		*taken += n;
		free(out);
		at += piece;
	}
	assert(*taken == dot_line(text, len) && memcmp(made, text, *taken) == 0);
	return made;
}

/* The same places whether the text comes whole or in pieces. */
static struct intake_head find(struct fuzz *fuzz, const char *text, size_t len)
{
	struct intake_head once = {.start = 0};
	struct intake_head pieces = {.start = 0};
	size_t given = 0;

	assert(intake_head_find(&once, text, len, true));
	while (!intake_head_find(&pieces, text, given, given == len))
		given += fuzz_piece(fuzz, len - given);
	assert(once.start == pieces.start && once.end == pieces.end && once.body == pieces.body);
	assert(once.start <= once.end && once.end <= once.body && once.body <= len);
	return once;
}

static bool has_prefix(const struct header_line *field, const char *prefix)
{
	return header_name_len(field) >= strlen(prefix) &&
	       strncasecmp(field->text, prefix, strlen(prefix)) == 0;
}

/* Fields that must be there are, and others are not. */
static void check_fields(const char *head, size_t len, size_t block_len)
{
	bool from = false, date = false, id = false;
	size_t offset = block_len;

	while (offset < len - 1) {
		const struct header_line field = header_field_at(head, len, offset);

		assert(header_name_len(&field) > 0);
		assert((offset == block_len) <= header_is(&field, "Received"));
		assert(!has_prefix(&field, ENVELOPE_PREFIX) && !header_is(&field, "Bcc"));
		from = from || header_is(&field, "From");
		date = date || header_is(&field, "Date");
		id = id || header_is(&field, "Message-ID");
		offset = field.next;
	}
	assert(from && date && id && offset == len - 1);
}

/* What a run will read is what was meant. */
static void check_head(const struct envelope *envelope, const char *head, size_t len)
{
	struct envelope again = {.count = 0};
	struct envelope_fault fault;

	assert(envelope_head_len(head, len) == len);
	assert(envelope_parse(&again, head, len, &fault) == 0);
	assert(again.count == envelope->count && strcmp(again.sender, envelope->sender) == 0);
	for (size_t i = 0; i < again.count; i++) {
		const char *address = again.recipient[i].address;

		assert(strcmp(address, envelope->recipient[i].address) == 0);
		assert(address_fault(address, strlen(address)) == NULL);
		assert(again.recipient[i].state == RECIPIENT_TODO);
	}
	assert(again.relay == NULL);
	check_fields(head, len, again.block_len);
	envelope_free(&again);
}

static void compose(
    struct fuzz *fuzz, const char *sender, const char *name, const char *header, size_t len)
{
	struct compose with = known;
	struct envelope envelope = {.count = 0};
	struct error err = {.text = ""};
	char *out = malloc(ENVELOPE_HEAD_MAX);
	char *word = fuzz_line(fuzz);
	ssize_t made;

	assert(out != NULL);
	with.extract = fuzz_choose(fuzz, 0, 1) == 1;
	with.full_name = compose_is_name(name) ? name : "";
	made = compose_sender(&envelope, sender, with.domain, &err);
	if (made == 0)
		made = compose_recipients(&envelope, word, strlen(word), with.domain, &err);
	if (made == 0)
		made = compose_head(&with, &envelope, header, len, out, &err);
	if (made == -1)
		assert(err.text[0] != '\0');
	else
		check_head(&envelope, out, (size_t)made);
	envelope_free(&envelope);
	free(word);
	free(out);
}

/* Three lines, of the sender, the sender's name and the recipients, then the message. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz fuzz = fuzz_start(data, size);
	struct fuzz rest;
	struct intake_head head;
	char *sender, *name, *text;
	size_t len;

	fuzz_seed(&fuzz);
	sender = fuzz_line(&fuzz);
	name = fuzz_line(&fuzz);
	rest = fuzz;
	free(fuzz_line(&rest));
	text = take(&rest, rest.at, rest.left, &len);
	head = find(&rest, text, len);
	compose(&fuzz, sender, name, text + head.start, head.end - head.start);
	free(sender);
	free(name);
	free(text);
	return 0;
}
