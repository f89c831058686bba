#include "notice.h"

#include <stdbool.h>
#include <string.h>
#include <time.h>

#include "address.h"
#include "utf8.h"

#define FOLD_COLUMN 76
#define QP_COLUMN   75			  /* the "=" of a soft line break is the 76th */
#define YEAR_10000  INT64_C(253402300800) /* epoch seconds */

static void write_to(FILE *out, const struct notice *notice)
{
	const char *before = "To: ";

	for (size_t i = 0; i < notice->to_count; i++) {
		if (!address_is_ascii(notice->to[i], strlen(notice->to[i])))
			continue;
		(void)fprintf(out, "%s<%s>", before, notice->to[i]);
		before = ",\n\t";
	}
	(void)fputs(before[0] == 'T' ? "To: undisclosed-recipients:;\n" : "\n", out);
}

void notice_header(FILE *out, const struct notice *notice, const char *submitted)
{
	(void)fputs("X-Maildrain-From: <>\n", out);
	for (size_t i = 0; i < notice->to_count; i++)
		(void)fprintf(out, "X-Maildrain-To: <%s>\n", notice->to[i]);
	(void)fprintf(out, "From: \"Mail Delivery System\" <%s>\n", notice->from);
	write_to(out, notice);
	(void)fprintf(out, "Subject: %s\n", notice->subject);
	notice_field_date(out, "Date", notice->date);
	(void)fprintf(out, "Message-ID: <%s@%s>\n", notice->key, notice->host);
	(void)fprintf(out, "Auto-Submitted: %s\nMIME-Version: 1.0\n", submitted);
}

void notice_date(FILE *out, int64_t when)
{
	const time_t seconds = (time_t)when;
	struct tm tm;
	char text[64];

	/* In the C locale, which is that of a program that sets none: names are English. */
	if (gmtime_r(&seconds, &tm) != NULL &&
	    strftime(text, sizeof text, "%a, %d %b %Y %H:%M:%S +0000", &tm) > 0)
		(void)fputs(text, out);
}

void notice_field_date(FILE *out, const char *field, int64_t when)
{
	if (when < 0 || when >= YEAR_10000)
		return;
	(void)fprintf(out, "%s: ", field);
	notice_date(out, when);
	(void)fputs("\n", out);
}

void notice_words(FILE *out, const char *text, size_t most)
{
	const size_t len = strnlen(text, most + 1);

	for (size_t i = 0, step = 1; i < len; i += step) {
		const size_t shown = utf8_printable_len(text + i, len - i);

		step = shown > 0 ? shown : 1;
		if (i + step > most) {
			(void)fputs(" [...]", out);
			return;
		}
		(void)fwrite(shown > 0 ? text + i : "?", 1, step, out);
	}
}

/* The length of the word at TEXT[0..LEN), which starts with no blank. */
static size_t word_len(const char *text, size_t len)
{
	const char *blank = memchr(text, ' ', len);

	return blank != NULL ? (size_t)(blank - text) : len;
}

/* TEXT[0..LEN) with a "?" for each character that is not ASCII, or no character. */
static void write_ascii(FILE *out, const char *text, size_t len)
{
	for (size_t i = 0, step = 1; i < len; i += step) {
		const size_t shown = utf8_printable_len(text + i, len - i);

		step = shown > 0 ? shown : 1;
		(void)fputc(shown == 1 ? text[i] : '?', out);
	}
}

void notice_field(FILE *out, const char *name, const char *text, size_t most)
{
	const size_t len = strnlen(text, most);
	size_t column = strlen(name) + 1;
	size_t word;

	(void)fprintf(out, "%s:", name);
	for (size_t i = 0; i < len; i += word) {
		word = text[i] == ' ' ? 1 : word_len(text + i, len - i);
		if (text[i] == ' ')
			continue;
		(void)fputs(column + 1 + word > FOLD_COLUMN ? "\n " : " ", out);
		column = column + 1 + word > FOLD_COLUMN ? 1 + word : column + 1 + word;
		write_ascii(out, text + i, word);
	}
	(void)fputs("\n", out);
}

/* Whether C may stand for itself in 7bit text, RFC 2045 section 2.7, and in quoted-printable. */
static bool is_plain(char c)
{
	return (c >= ' ' && c < 127) || c == '\t';
}

static bool is_7bit(const char *text, size_t len, size_t most)
{
	size_t column = 0;

	for (size_t i = 0; i < len; i++) {
		column = text[i] == '\n' ? 0 : column + 1;
		if (column > most || (text[i] != '\n' && !is_plain(text[i])))
			return false;
	}
	return true;
}

/* RFC 2045 section 6.7. */
static void write_quoted(FILE *out, const char *text, size_t len)
{
	size_t column = 0;

	for (size_t i = 0; i < len; i++) {
		const bool last = i + 1 == len || text[i + 1] == '\n';
		const bool blank = text[i] == ' ' || text[i] == '\t';
		const bool plain = is_plain(text[i]) && text[i] != '=' && !(blank && last);
		const size_t width = plain ? 1 : 3;

		if (text[i] == '\n') {
			(void)fputc('\n', out);
			column = 0;
			continue;
		}
		if (column + width > QP_COLUMN) {
			(void)fputs("=\n", out);
			column = 0;
		}
		(void)fprintf(out, plain ? "%c" : "=%02X", (unsigned char)text[i]);
		column += width;
	}
}

void notice_body(FILE *out, const char *type, const char *text, size_t len, size_t most)
{
	const bool as_it_is = is_7bit(text, len, most);

	(void)fprintf(out, "Content-Type: %s\nContent-Transfer-Encoding: %s\n\n", type,
	    as_it_is ? "7bit" : "quoted-printable");
	if (as_it_is)
		(void)fwrite(text, 1, len, out);
	else
		write_quoted(out, text, len);
	if (len == 0 || text[len - 1] != '\n')
		(void)fputs("\n", out);
}
