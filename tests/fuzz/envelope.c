/* envelope: the block and the header at the start of a file. */
#include <ctype.h>
#include <stdio.h>
#include <strings.h>

#include "address.h"
#include "envelope.h"
#include "fuzz.h"

static const char EVIL[] = "X-Maildrain-To: <evil@example.net>\n";

static bool is_end(char c)
{
	return c == '\n' || c == '\r';
}

/* Where the line behind AT starts. */
static size_t next_line(const char *text, size_t len, size_t at)
{
	while (at < len && !is_end(text[at]))
		at++;
	if (at < len && text[at] == '\r')
		at++;
	if (at < len && text[at] == '\n')
		at++;
	return at;
}

static bool is_block_line(const char *text, size_t len, size_t at)
{
	static const char prefix[] = "X-Maildrain-";
	const size_t n = sizeof prefix - 1;

	return len - at >= n && strncasecmp(text + at, prefix, n) == 0;
}

/* The unbroken run of such lines at the very start. */
static size_t block_end(const char *text, size_t len)
{
	size_t at = 0;

	while (at < len && is_block_line(text, len, at))
		at = next_line(text, len, at);
	return at;
}

static int parse(struct envelope *envelope, const char *text, size_t len)
{
	struct envelope_fault fault = {.text = NULL};
	const int result = envelope_parse(envelope, text, len, &fault);

	if (result == -1) {
		assert(fault.text != NULL && *fault.text != '\0' && fault.status[0] == '5');
		return -1;
	}
	assert(envelope->block_len == block_end(text, len));
	assert(envelope->count > 0 && envelope->count <= ENVELOPE_RECIPIENTS_MAX);
	assert(envelope->sender[0] == '\0' ||
	       address_fault(envelope->sender, strlen(envelope->sender)) == NULL);
	return 0;
}

static void check_same_recipients(const struct envelope *a, const struct envelope *b)
{
	assert(strcmp(a->sender, b->sender) == 0 && a->count == b->count);
	for (size_t i = 0; i < a->count; i++) {
		assert(a->recipient[i].state == b->recipient[i].state);
		assert(strcmp(a->recipient[i].address, b->recipient[i].address) == 0);
	}
}

/* A prefix of the file says nothing yet, or the same as the whole. */
static size_t check_head_len(const char *text, size_t len)
{
	const size_t whole = envelope_head_len(text, len);

	for (size_t i = 0; i < len; i += 1 + len / 64) {
		const size_t part = envelope_head_len(text, i);

		assert(part == 0 || (part == whole && part <= i));
	}
	return whole;
}

/* A line that a form smuggles into the header, anywhere behind its first line, changes nothing. */
static void check_smuggled(
    const struct envelope *envelope, const char *head, size_t len, struct fuzz *fuzz)
{
	size_t at = next_line(head, len, envelope->block_len);
	struct envelope other = {.count = 0};
	char *text = malloc(len + sizeof EVIL);

	for (size_t skip = fuzz_choose(fuzz, 0, 5); skip > 0 && at < len; skip--)
		at = next_line(head, len, at);
	/* Not between a field and its folded rest, nor where a line has no end. */
	if (at < len && head[at] != ' ' && head[at] != '\t' && is_end(head[at - 1]) &&
	    !(head[at - 1] == '\r' && head[at] == '\n')) {
		memcpy(text, head, at);
		memcpy(text + at, EVIL, sizeof EVIL - 1);
		memcpy(text + at + sizeof EVIL - 1, head + at, len - at);
		assert(parse(&other, text, len + sizeof EVIL - 1) == 0);
		check_same_recipients(envelope, &other);
	}
	envelope_free(&other);
	free(text);
}

/* The block that is written back, in front of the header; the caller frees it. */
static char *rewrite(
    const struct envelope *envelope, const char *head, size_t len, size_t *rewritten)
{
	char *text = malloc((envelope->count + 1) * ENVELOPE_LINE_MAX + len);
	size_t used;

	assert(text != NULL);
	used = envelope_write_sender(envelope, text);
	for (size_t i = 0; i < envelope->count; i++) {
		char *line = malloc(ENVELOPE_LINE_MAX);
		const size_t n = envelope_write_recipient(&envelope->recipient[i], line);

		assert(n < ENVELOPE_LINE_MAX && memchr(line, '\n', n) == line + n - 1);
		assert(memchr(line, '\r', n) == NULL);
		memcpy(text + used, line, n);
		used += n;
		free(line);
	}
	memcpy(text + used, head + envelope->block_len, len - envelope->block_len);
	*rewritten = used + len - envelope->block_len;
	return text;
}

/* Each recipient is the same one in the same state afterwards; a faulty one stays faulty. */
static void check_rewritten(const struct envelope *envelope, const char *head, size_t len)
{
	struct envelope again = {.count = 0};
	size_t rewritten;
	char *text = rewrite(envelope, head, len, &rewritten);

	assert(parse(&again, text, rewritten) == 0);
	assert(again.count == envelope->count && strcmp(again.sender, envelope->sender) == 0);
	for (size_t i = 0; i < again.count; i++) {
		const struct recipient *old = &envelope->recipient[i];
		const struct recipient *new = &again.recipient[i];
		const bool good = address_fault(old->address, strlen(old->address)) == NULL;

		assert(
		    new->state == (old->state == RECIPIENT_DEFERRED ? RECIPIENT_TODO : old->state));
		if (good)
			assert(strcmp(new->address, old->address) == 0);
		else if (old->state != RECIPIENT_DONE)
			assert(address_fault(new->address, strlen(new->address)) != NULL);
	}
	envelope_free(&again);
	free(text);
}

/* Gives every other recipient a result, as an attempt does. */
static void attempt(struct envelope *envelope, struct fuzz *fuzz)
{
	static const enum recipient_state states[] = {
	    RECIPIENT_DONE, RECIPIENT_DEFERRED, RECIPIENT_FAILED};

	envelope_refuse_faulty(envelope);
	for (size_t i = 0; i < envelope->count; i++) {
		const size_t choice = fuzz_choose(fuzz, 0, 5);

		if (choice < 3 && envelope->recipient[i].state == RECIPIENT_TODO)
			envelope_result(envelope, &envelope->recipient[i], states[choice], "4.0.0",
			    "450 4.2.1 Mailbox busy");
	}
}

/* Whether a Bcc field starts there, in any spelling that somebody might take for one. */
static bool is_bcc(const char *text, size_t len, size_t at)
{
	const char *names[] = {"bcc", "resent-bcc"};

	for (size_t i = 0; i < 2; i++) {
		size_t end = at + strlen(names[i]);

		if (end > len || strncasecmp(text + at, names[i], strlen(names[i])) != 0)
			continue;
		while (end < len && (text[end] == ' ' || text[end] == '\t'))
			end++;
		if (end < len && text[end] == ':')
			return true;
	}
	return false;
}

static void check_drop_bcc(const char *head, size_t len)
{
	char *text = malloc(len + 1);
	size_t kept, again;

	assert(text != NULL);
	memcpy(text, head, len);
	kept = envelope_drop_bcc(text, len);
	assert(kept <= len);
	for (size_t at = 0; at < kept; at = next_line(text, kept, at))
		assert(!is_bcc(text, kept, at));
	again = envelope_drop_bcc(text, kept);
	assert(again == kept);
	free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz fuzz = fuzz_start(data, size);
	struct envelope envelope = {.count = 0};
	size_t len;

	fuzz_seed(&fuzz);
	len = check_head_len(fuzz.at, fuzz.left);
	if (len == 0)
		len = fuzz.left;
	check_drop_bcc(fuzz.at, len);
	if (parse(&envelope, fuzz.at, len) == 0) {
		check_smuggled(&envelope, fuzz.at, len, &fuzz);
		check_rewritten(&envelope, fuzz.at, len);
		attempt(&envelope, &fuzz);
		check_rewritten(&envelope, fuzz.at, len);
		envelope_restart(&envelope);
		assert(envelope_count(&envelope, RECIPIENT_FAILED) == 0);
		check_rewritten(&envelope, fuzz.at, len);
	}
	envelope_free(&envelope);
	return 0;
}
