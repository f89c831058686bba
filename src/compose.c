#include "compose.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sysexits.h>

#include "address.h"
#include "header.h"
#include "utf8.h"

#define WORD_MAX  75 /* bytes of an encoded word, RFC 2047 section 2 */
#define SHOWN_MAX 80 /* bytes of a faulty address that an error repeats */

static const char WORD_START[] = "=?UTF-8?Q?";
static const char WORD_END[] = "?=";

/* Text that grows in a buffer. */
struct text {
	char *bytes;
	size_t len;
	size_t room;
	bool full; /* something did not fit */
};

static void text_add(struct text *text, const char *bytes, size_t len)
{
	if (text->room - text->len < len) {
		text->full = true;
		return;
	}
	memcpy(text->bytes + text->len, bytes, len);
	text->len += len;
}

static void text_string(struct text *text, const char *string)
{
	text_add(text, string, strlen(string));
}

/* ---- addresses ---- */

/* Copies TEXT as far as it can be shown. */
static const char *shown(char buf[SHOWN_MAX + 1], const char *text, size_t len)
{
	size_t made = 0;

	while (len > 0) {
		const size_t step = utf8_printable_len(text, len);

		if (made + (step > 0 ? step : 1) > SHOWN_MAX)
			break;
		if (step > 0)
			memcpy(buf + made, text, step);
		else
			buf[made] = '?';
		made += step > 0 ? step : 1;
		text += step > 0 ? step : 1;
		len -= step > 0 ? step : 1;
	}
	buf[made] = '\0';
	return buf;
}

static int fail_address(const char *text, size_t len, const char *fault, struct error *err)
{
	char buf[SHOWN_MAX + 1];

	error_set(err, EX_DATAERR, "\"%s\" is no address to use: %s; nothing is queued",
	    shown(buf, text, len), fault);
	return -1;
}

/* A list of addresses that is read. */
struct reading {
	struct envelope *envelope;
	const char *domain;
	char *sender; /* the first of them, when that is asked for, else NULL */
	size_t count;
	struct error *err;
};

/* Room for a local name and a domain that are both too long: address_fault is to say so. */
#define WHOLE_MAX (2 * ADDRESS_MAX + 4)

/* Puts ADDR into WHOLE, with DOMAIN if it has none; what is cut is still too long. */
static size_t make_whole(const char *addr, size_t len, const char *domain, char whole[WHOLE_MAX])
{
	int made;

	if (len > ADDRESS_MAX)
		len = ADDRESS_MAX + 1;
	memcpy(whole, addr, len);
	if (len == 0 || memchr(addr, '@', len) != NULL)
		return len;
	made = snprintf(whole + len, WHOLE_MAX - len, "@%.*s", ADDRESS_MAX, domain);
	return len + (size_t)made;
}

static int take_address(void *context, const char *addr, size_t len)
{
	struct reading *reading = context;
	char whole[WHOLE_MAX];
	const size_t whole_len = make_whole(addr, len, reading->domain, whole);
	const char *fault = address_fault(whole, whole_len);

	if (fault != NULL) {
		(void)fail_address(addr, len, fault, reading->err);
		return 1;
	}
	reading->count++;
	if (reading->sender != NULL) {
		memcpy(reading->sender, whole, whole_len);
		reading->sender[whole_len] = '\0';
		return 0;
	}
	if (envelope_add(reading->envelope, whole, whole_len))
		return 0;
	error_set(reading->err, EX_DATAERR, "more than %d recipients; nothing is queued",
	    ENVELOPE_RECIPIENTS_MAX);
	return 1;
}

static int read_addresses(struct reading *reading, const char *text, size_t len)
{
	const char *fault;
	const int result = address_list(text, len, take_address, reading, &fault);

	if (result == -1)
		return fail_address(text, len, fault, reading->err);
	return result == 0 ? 0 : -1;
}

int compose_recipients(
    struct envelope *envelope, const char *text, size_t len, const char *domain, struct error *err)
{
	struct reading reading = {.envelope = envelope, .domain = domain, .err = err};

	return read_addresses(&reading, text, len);
}

int compose_sender(
    struct envelope *envelope, const char *text, const char *domain, struct error *err)
{
	char sender[WHOLE_MAX] = "";
	struct reading reading = {.domain = domain, .sender = sender, .err = err};
	const size_t len = strlen(text);

	if (len > 0 && strcmp(text, "<>") != 0) {
		if (read_addresses(&reading, text, len) == -1)
			return -1;
		if (reading.count != 1)
			return fail_address(text, len, "a sender is one address", err);
	}
	if (envelope_begin(envelope, sender))
		return 0;
	error_set(err, EX_TEMPFAIL, "out of memory; nothing is queued");
	return -1;
}

/* ---- the header as it came ---- */

static const char *const RECIPIENTS[] = {"To", "Cc", "Bcc", NULL};
static const char *const RESENT_RECIPIENTS[] = {"Resent-To", "Resent-Cc", "Resent-Bcc", NULL};
static const char *const WITH_ADDRESSES[] = {"From", "Sender", "Reply-To", "To", "Cc",
    "Resent-From", "Resent-Sender", "Resent-To", "Resent-Cc", NULL};
static const char *const DROPPED[] = {"Bcc", "Resent-Bcc", "Return-Path", NULL};

static bool is_one_of(const struct header_line *field, const char *const *names)
{
	for (; *names != NULL; names++)
		if (header_is(field, *names))
			return true;
	return false;
}

static bool has_field(const char *header, size_t len, const char *const *names)
{
	size_t offset = 0;

	while (offset < len) {
		const struct header_line field = header_field_at(header, len, offset);

		if (is_one_of(&field, names))
			return true;
		offset = field.next;
	}
	return false;
}

static bool has_named(const char *header, size_t len, const char *name)
{
	const char *const names[] = {name, NULL};

	return has_field(header, len, names);
}

/* A message that is sent on to others by hand has theirs in fields of their own. */
static int extract(const struct compose *compose, struct envelope *envelope, const char *header,
    size_t len, struct error *err)
{
	const char *const *names =
	    has_field(header, len, RESENT_RECIPIENTS) ? RESENT_RECIPIENTS : RECIPIENTS;
	size_t offset = 0;

	while (offset < len) {
		const struct header_line field = header_field_at(header, len, offset);

		offset = field.next;
		if (is_one_of(&field, names)) {
			const struct header_line value = header_value(&field);

			if (compose_recipients(
				envelope, value.text, value.len, compose->domain, err) == -1)
				return -1;
		}
	}
	return 0;
}

/* ---- what is written ---- */

static void write_block(struct text *out, const struct envelope *envelope)
{
	char line[ENVELOPE_LINE_MAX];

	text_add(out, line, envelope_write_sender(envelope, line));
	for (size_t i = 0; i < envelope->count; i++)
		text_add(out, line, envelope_write_recipient(&envelope->recipient[i], line));
}

static void write_trace(struct text *out, const struct compose *compose)
{
	char uid[24];

	(void)snprintf(uid, sizeof uid, "%lu", compose->uid);
	text_string(out, "Received: by ");
	text_string(out, compose->host);
	text_string(out, " (maildrain, from userid ");
	text_string(out, uid);
	text_string(out, ")\n\tid ");
	text_string(out, compose->unique);
	text_string(out, "; ");
	text_string(out, compose->date);
	text_string(out, "\n");
}

/* A list of addresses that is copied to OUT, with DOMAIN where one is missing. */
struct copying {
	struct text *out;
	const char *list;
	size_t copied;
	const char *domain;
};

static void fill_gap(void *context, size_t offset)
{
	struct copying *copying = context;

	text_add(copying->out, copying->list + copying->copied, offset - copying->copied);
	text_string(copying->out, "@");
	text_string(copying->out, copying->domain);
	copying->copied = offset;
}

static void write_addresses(struct text *out, const char *list, size_t len, const char *domain)
{
	struct copying copying = {.out = out, .list = list, .domain = domain};
	const size_t start = out->len;

	if (address_gaps(list, len, fill_gap, &copying) == -1) {
		out->len = start;
		copying.copied = 0;
	}
	text_add(out, list + copying.copied, len - copying.copied);
}

static bool is_dropped(const struct header_line *field)
{
	static const char prefix[] = ENVELOPE_PREFIX;
	const size_t len = sizeof prefix - 1;

	return is_one_of(field, DROPPED) ||
	       (header_name_len(field) >= len && strncasecmp(field->text, prefix, len) == 0);
}

/*
 * Encoded words, RFC 2047: for a text behind COLUMN bytes of its first line. No character is torn
 * apart; folds go.
 */
static void write_encoded(struct text *out, const char *text, size_t len, size_t column)
{
	static const char plain[] =
	    "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
	size_t used = column + strlen(WORD_START);

	text_string(out, WORD_START);
	for (size_t step; len > 0; text += step, len -= step) {
		step = utf8_len(text, len);
		if (*text == '\r' || *text == '\n')
			continue;
		if (used + 3 * step + strlen(WORD_END) > WORD_MAX) {
			text_string(out, WORD_END);
			text_string(out, "\n ");
			text_string(out, WORD_START);
			used = strlen(WORD_START);
		}
		for (size_t i = 0; i < step; i++) {
			const bool as_is = text[i] != '\0' && strchr(plain, text[i]) != NULL;
			char octet[4];

			(void)snprintf(
			    octet, sizeof octet, as_is ? "%c" : "=%02X", (unsigned char)text[i]);
			text_string(out, octet);
			used += strlen(octet);
		}
	}
	text_string(out, WORD_END);
}

/* Whether TEXT is of characters that can be shown, and folds. */
static bool is_readable(const char *text, size_t len)
{
	while (len > 0) {
		const size_t step = strchr("\t\r\n", *text) != NULL && *text != '\0'
					? 1
					: utf8_printable_len(text, len);

		if (step == 0)
			return false;
		text += step;
		len -= step;
	}
	return true;
}

/*
 * Many programs write UTF-8 into Subject as it is. A server must offer SMTPUTF8 to take that, and
 * few do; encoded, every server does.
 */
static bool is_to_encode(const struct header_line *field, const struct header_line *value)
{
	const bool is_words = header_is(field, "Subject") || header_is(field, "Comments") ||
			      strncasecmp(field->text, "X-", 2) == 0;
	const size_t name_len = header_name_len(field);

	return is_words && name_len < WORD_MAX / 2 && !address_is_ascii(value->text, value->len) &&
	       is_readable(value->text, value->len);
}

static void write_words(
    struct text *out, const struct header_line *field, const struct header_line *value)
{
	size_t blank = 0;

	while (blank < value->len && strchr(" \t\r\n", value->text[blank]) != NULL)
		blank++;
	text_add(out, field->text, header_name_len(field));
	text_string(out, ": ");
	write_encoded(
	    out, value->text + blank, value->len - blank, header_name_len(field) + strlen(": "));
}

static void write_field(struct text *out, const struct header_line *field, const char *domain)
{
	const struct header_line value = header_value(field);

	if (is_one_of(field, WITH_ADDRESSES)) {
		text_add(out, field->text, (size_t)(value.text - field->text));
		write_addresses(out, value.text, value.len, domain);
	} else if (is_to_encode(field, &value)) {
		write_words(out, field, &value);
	} else {
		text_add(out, field->text, field->len);
	}
}

/* The end for FIELD: its own, but for a bare CR, of which what follows could make a CRLF. */
static const char *end_of(const char *header, const struct header_line *field)
{
	const char *behind = header + field->next;

	return behind[-1] == '\n' && behind[-2] == '\r' ? "\r\n" : "\n";
}

static void write_fields(struct text *out, const char *header, size_t len, const char *domain)
{
	size_t offset = 0;

	while (offset < len) {
		const struct header_line field = header_field_at(header, len, offset);

		if (!is_dropped(&field)) {
			write_field(out, &field, domain);
			text_string(out, end_of(header, &field));
		}
		offset = field.next;
	}
}

bool compose_is_name(const char *name)
{
	const size_t len = strlen(name);

	return len <= COMPOSE_NAME_MAX && strpbrk(name, "\t\r\n") == NULL && is_readable(name, len);
}

static void write_quoted(struct text *out, const char *name)
{
	text_string(out, "\"");
	for (; *name != '\0'; name++) {
		if (*name == '"' || *name == '\\')
			text_string(out, "\\");
		text_add(out, name, 1);
	}
	text_string(out, "\"");
}

static void write_from(struct text *out, const struct compose *compose)
{
	const char *name = compose->full_name;

	text_string(out, "From: ");
	if (*name != '\0') {
		if (!address_is_ascii(name, strlen(name)))
			write_encoded(out, name, strlen(name), strlen("From: "));
		else if (strpbrk(name, "()<>[]:;@\\,.\"=?") != NULL)
			write_quoted(out, name);
		else
			text_string(out, name);
		text_string(out, " ");
	}
	text_string(out, "<");
	text_string(out, compose->author);
	text_string(out, ">\n");
}

static void write_missing(
    struct text *out, const struct compose *compose, const char *header, size_t len)
{
	if (!has_named(header, len, "From"))
		write_from(out, compose);
	if (!has_named(header, len, "Date")) {
		text_string(out, "Date: ");
		text_string(out, compose->date);
		text_string(out, "\n");
	}
	if (!has_named(header, len, "Message-ID")) {
		text_string(out, "Message-ID: <");
		text_string(out, compose->unique);
		text_string(out, "@");
		text_string(out, compose->domain);
		text_string(out, ">\n");
	}
}

ssize_t compose_head(const struct compose *compose, struct envelope *envelope, const char *header,
    size_t len, char *out, struct error *err)
{
	struct text text = {.bytes = out, .room = ENVELOPE_HEAD_MAX};

	if (compose->extract && extract(compose, envelope, header, len, err) == -1)
		return -1;
	if (envelope->count == 0) {
		error_set(err, EX_USAGE,
		    "there is no recipient, neither on the command line nor %s",
		    compose->extract ? "in To, Cc or Bcc" : "asked for with -t");
		return -1;
	}
	write_block(&text, envelope);
	write_trace(&text, compose);
	write_fields(&text, header, len, compose->domain);
	write_missing(&text, compose, header, len);
	text_string(&text, "\n");
	if (!text.full)
		return (ssize_t)text.len;
	error_set(err, EX_DATAERR, "recipients and header are more than 1 MiB; nothing is queued");
	return -1;
}
