#include "dsn.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "address.h"
#include "header.h"
#include "utf8.h"

#define LISTED_MAX     100 /* recipients in the text for a person; the report has all */
#define LINE_MAX_7BIT  990 /* RFC 5322 section 2.1.1 has 998 */
#define MESSAGE_ID_MAX 250
#define BOUNDARY_MAX   64
#define XTEXT_MAX      900 /* bytes of an address in that form: it can't be folded */
#define XTEXT_CHAR_MAX 11  /* "\\x{10FFFF}" */

bool dsn_concerns(const struct recipient *recipient, bool delayed)
{
	return recipient->state != RECIPIENT_DONE &&
	       !(delayed && recipient->state == RECIPIENT_FAILED);
}

size_t dsn_count(const struct envelope *envelope, bool delayed)
{
	size_t count = 0;

	for (size_t i = 0; i < envelope->count; i++)
		count += dsn_concerns(&envelope->recipient[i], delayed);
	return count;
}

/* The code that a server's words start with, of the class in its first digit; 0 for other words. */
static char code_class(const char *words)
{
	if (strspn(words, "0123456789") != 3 || strchr("2345", words[0]) == NULL ||
	    (words[3] != ' ' && words[3] != '\0'))
		return 0;
	return words[0];
}

const char *dsn_status(const struct recipient *recipient, const char *status)
{
	if (recipient->state != RECIPIENT_FAILED)
		return status;
	if (recipient->status[0] != '\0')
		return recipient->status;
	if (code_class(recipient->reply) == '5')
		return "5.0.0";
	/* The last words of a server on who was given up. */
	if (code_class(recipient->reply) == '4')
		return "5.4.7";
	/* Whose address we refuse has no code of a server. */
	if (address_fault(recipient->address, strlen(recipient->address)) != NULL)
		return "5.1.3";
	return status;
}

const char *dsn_words(const struct recipient *recipient, const char *status)
{
	if (recipient->reply[0] != '\0')
		return recipient->reply;
	if (status[0] == '4')
		return "not accepted yet";
	if (strcmp(status, "5.4.7") == 0)
		return "given up: it has expired, or its last attempt was cut short";
	if (strcmp(status, "5.3.0") == 0)
		return "given up: it may have been delivered, but that could not be recorded";
	return "not accepted";
}

void dsn_say(FILE *out, const struct recipient *recipient, const char *status)
{
	const char *words = dsn_words(recipient, status);

	if (code_class(words) == 0)
		(void)fprintf(out, "%s: ", dsn_status(recipient, status));
	notice_words(out, words, NOTICE_WORDS_MAX);
}

/* ---- the text for a person ---- */

static void say_recipients(FILE *out, const struct dsn *dsn)
{
	const struct envelope *envelope = dsn->envelope;
	const size_t count = dsn_count(envelope, dsn->delayed);
	size_t listed = 0;

	for (size_t i = 0; i < envelope->count && listed < LISTED_MAX; i++) {
		const struct recipient *recipient = &envelope->recipient[i];

		if (!dsn_concerns(recipient, dsn->delayed))
			continue;
		listed++;
		(void)fputs("    <", out);
		notice_words(out, recipient->address, NOTICE_ADDRESS_MAX);
		(void)fputs(">\n        ", out);
		dsn_say(out, recipient, dsn->status);
		(void)fputs("\n", out);
	}
	if (count > listed)
		(void)fprintf(
		    out, "    and %zu more, in the report for programs\n", count - listed);
}

static void say_attempts(FILE *out, const struct dsn *dsn)
{
	if (dsn->attempts == 0)
		(void)fputs("It was never tried", out);
	else if (dsn->attempts == 1)
		(void)fputs("It was tried once", out);
	else
		(void)fprintf(out, "It was tried %u times", dsn->attempts);
	if (!dsn->delayed) {
		(void)fputs(", and is given up.\n", out);
		return;
	}
	(void)fputs(", and will be tried again, at the latest on\n", out);
	notice_date(out, dsn->until);
	(void)fputs(
	    ".\nYou need not send it again. There is no further warning of this kind.\n", out);
}

static void say_others(FILE *out, const struct dsn *dsn)
{
	const size_t served = envelope_count(dsn->envelope, RECIPIENT_DONE);

	if (served > 0)
		(void)fprintf(out, "It was delivered to %zu other recipient%s.\n", served,
		    served == 1 ? "" : "s");
}

static void say(FILE *out, const struct dsn *dsn)
{
	(void)fprintf(out, "This is the mail system at %s.\n\nA message from <", dsn->notice.host);
	notice_words(out, dsn->envelope->sender, NOTICE_ADDRESS_MAX);
	(void)fprintf(out, ">\n%s to:\n\n",
	    dsn->delayed ? "has not been delivered yet" : "could not be delivered");
	say_recipients(out, dsn);
	(void)fputs("\n", out);
	say_attempts(out, dsn);
	say_others(out, dsn);
	/* Indented, as all that others have written: no line of theirs can be a boundary. */
	(void)fputs("Its header is attached. Its id is:\n\n    ", out);
	notice_words(out, dsn->id, NOTICE_ADDRESS_MAX);
	(void)fputs("\n", out);
}

static int write_text(FILE *out, const struct dsn *dsn)
{
	char *text = NULL;
	size_t len = 0;
	FILE *memory = open_memstream(&text, &len);

	if (memory == NULL)
		return -1;
	say(memory, dsn);
	if (fclose(memory) != 0) {
		free(text);
		return -1;
	}
	notice_body(out, "text/plain; charset=utf-8", text, len, NOTICE_LINE);
	free(text);
	return 0;
}

/* ---- the report for programs ---- */

/* The code point of the character of LEN bytes at TEXT. */
static uint32_t code_point(const char *text, size_t len)
{
	uint32_t point = (unsigned char)text[0] & (len == 1 ? 0x7f : 0xffu >> (len + 1));

	for (size_t i = 1; i < len; i++)
		point = point << 6 | ((unsigned char)text[i] & 0x3f);
	return point;
}

/* One character as in utf-8-addr-xtext, RFC 6533 section 3. */
static size_t put_xtext(char *to, size_t room, const char *text, size_t len)
{
	const char c = text[0];

	if (len == 1 && c > ' ' && c < 127 && strchr("\\+=", c) == NULL)
		return (size_t)snprintf(to, room, "%c", c);
	return (size_t)snprintf(to, room, "\\x{%" PRIX32 "}", code_point(text, len));
}

/* "utf-8; ADDRESS", in ASCII. */
static void address_utf8(char *to, size_t room, const char *address)
{
	const size_t len = strnlen(address, NOTICE_ADDRESS_MAX);
	size_t used = (size_t)snprintf(to, room, "utf-8; ");

	for (size_t i = 0, step = 1; i < len && used + XTEXT_CHAR_MAX < room; i += step) {
		const size_t shown = utf8_printable_len(address + i, len - i);

		step = shown > 0 ? shown : 1;
		used += put_xtext(to + used, room - used, shown > 0 ? address + i : "?", step);
	}
}

static void write_final_recipient(FILE *out, const char *address)
{
	char text[XTEXT_MAX];

	if (address_is_ascii(address, strlen(address)))
		(void)snprintf(text, sizeof text, "rfc822; %.*s", NOTICE_ADDRESS_MAX, address);
	else
		address_utf8(text, sizeof text, address);
	notice_field(out, "Final-Recipient", text, sizeof text);
}

/*
 * Whether all recipients that the report is about were tried last at dsn->last: RFC 3464 section
 * 2.3.7 allows no other date. Who still waits in a failed message was not tried then, but given up;
 * and of several attempts nobody has noted which was whose last.
 */
static bool is_last_known(const struct dsn *dsn)
{
	const struct envelope *envelope = dsn->envelope;

	if (dsn->delayed || dsn->attempts == 0)
		return dsn->attempts > 0;
	return envelope_count(envelope, RECIPIENT_TODO) == 0 &&
	       (dsn->attempts == 1 || envelope->count == 1);
}

static void write_recipient(FILE *out, const struct dsn *dsn, const struct recipient *recipient)
{
	const char *words = dsn_words(recipient, dsn->status);
	char diagnostic[NOTICE_WORDS_MAX + 16];

	(void)fputs("\n", out);
	write_final_recipient(out, recipient->address);
	(void)fprintf(out, "Action: %s\nStatus: %s\n", dsn->delayed ? "delayed" : "failed",
	    dsn_status(recipient, dsn->status));
	(void)snprintf(diagnostic, sizeof diagnostic, "%s; %.*s",
	    code_class(words) != 0 ? "smtp" : "X-maildrain", NOTICE_WORDS_MAX, words);
	notice_field(out, "Diagnostic-Code", diagnostic, sizeof diagnostic);
	if (is_last_known(dsn))
		notice_field_date(out, "Last-Attempt-Date", dsn->last);
	if (dsn->delayed)
		notice_field_date(out, "Will-Retry-Until", dsn->until);
}

static void write_report(FILE *out, const struct dsn *dsn)
{
	const struct envelope *envelope = dsn->envelope;

	(void)fprintf(out, "Content-Type: message/delivery-status\n\nReporting-MTA: dns; %s\n",
	    dsn->notice.host);
	notice_field_date(out, "Arrival-Date", dsn->arrival);
	for (size_t i = 0; i < envelope->count; i++)
		if (dsn_concerns(&envelope->recipient[i], dsn->delayed))
			write_recipient(out, dsn, &envelope->recipient[i]);
	(void)fputs("\n", out);
}

/* ---- the header of the message ---- */

/* Copies HEADER[0..LEN) to TEXT with LF for each end of line; returns the length. */
static size_t copy_lines(char *text, const char *header, size_t len)
{
	size_t used = 0;

	for (size_t i = 0; i < len; i++) {
		if (header[i] == '\r' && i + 1 < len && header[i + 1] == '\n')
			continue;
		text[used] = header[i];
		if (header[i] == '\r')
			text[used] = '\n';
		used++;
	}
	return used;
}

/* How much of HEADER is repeated: all, or the lines that fit. */
static size_t kept_len(const char *header, size_t len)
{
	if (len <= DSN_HEADER_MAX)
		return len;
	for (size_t kept = DSN_HEADER_MAX; kept > 0; kept--)
		if (header[kept - 1] == '\n' || header[kept - 1] == '\r')
			return kept;
	return DSN_HEADER_MAX;
}

static int write_header(FILE *out, const struct dsn *dsn)
{
	const size_t kept = kept_len(dsn->header, dsn->header_len);
	char *text = malloc(kept + 128);
	size_t len;

	if (text == NULL)
		return -1;
	len = copy_lines(text, dsn->header, kept);
	while (len > 1 && text[len - 1] == '\n' && text[len - 2] == '\n')
		len--;
	if (len > 0 && text[len - 1] != '\n')
		text[len++] = '\n';
	if (kept < dsn->header_len)
		len += (size_t)snprintf(text + len, 100,
		    "X-Maildrain-Note: %zu more bytes of this header are left out\n",
		    dsn->header_len - kept);
	notice_body(out, "text/rfc822-headers", text, len, LINE_MAX_7BIT);
	free(text);
	return 0;
}

/* ---- the whole ---- */

/* Whether TEXT[0..LEN) is "<LEFT@RIGHT>" of printable ASCII, RFC 5322 section 3.6.4. */
static bool is_message_id(const char *text, size_t len)
{
	size_t ats = 0;

	if (len < 5 || len > MESSAGE_ID_MAX || text[0] != '<' || text[len - 1] != '>')
		return false;
	for (size_t i = 1; i + 1 < len; i++) {
		if (text[i] <= ' ' || text[i] >= 127 || strchr("<>()\\\",;:", text[i]) != NULL)
			return false;
		ats += text[i] == '@';
	}
	return ats == 1 && text[1] != '@' && text[len - 2] != '@';
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static void write_thread(FILE *out, const struct dsn *dsn)
{
	struct header_line id;

	if (!header_find(dsn->header, dsn->header_len, "Message-ID", &id))
		return;
	while (id.len > 0 && is_blank(*id.text)) {
		id.text++;
		id.len--;
	}
	while (id.len > 0 && is_blank(id.text[id.len - 1]))
		id.len--;
	if (is_message_id(id.text, id.len))
		(void)fprintf(out, "In-Reply-To: %.*s\nReferences: %.*s\n", (int)id.len, id.text,
		    (int)id.len, id.text);
}

/*
 * The header of the message is the only part with lines of others from their first octet on: the
 * boundary must not be in it.
 */
static void choose_boundary(const struct dsn *dsn, char boundary[BOUNDARY_MAX])
{
	unsigned count = 0;

	do
		(void)snprintf(boundary, BOUNDARY_MAX, "=_%.50s.%u", dsn->notice.key, count++);
	while (memmem(dsn->header, dsn->header_len, boundary, strlen(boundary)) != NULL);
}

int dsn_write(FILE *out, const struct dsn *dsn)
{
	struct notice notice = dsn->notice;
	char boundary[BOUNDARY_MAX];

	choose_boundary(dsn, boundary);
	notice.subject = dsn->delayed ? "Mail is delayed" : "Mail could not be delivered";
	notice_header(out, &notice, "auto-replied");
	write_thread(out, dsn);
	(void)fprintf(out,
	    "Content-Type: multipart/report; report-type=delivery-status;\n"
	    "\tboundary=\"%s\"\n\n--%s\n",
	    boundary, boundary);
	if (write_text(out, dsn) == -1)
		return -1;
	(void)fprintf(out, "\n--%s\n", boundary);
	write_report(out, dsn);
	(void)fprintf(out, "--%s\n", boundary);
	if (write_header(out, dsn) == -1)
		return -1;
	(void)fprintf(out, "\n--%s--\n", boundary);
	return 0;
}
