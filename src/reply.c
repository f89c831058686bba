#include "reply.h"

#include <string.h>

#include "decimal.h"
#include "utf8.h"

#define LINES_BROKEN  (REPLY_LINES_MAX + 1) /* marks a parser that has given up */
#define CHARACTER_MAX 4			    /* bytes of a UTF-8 character */

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

void reply_init(struct reply_parser *parser)
{
	memset(parser, 0, sizeof *parser);
}

static enum reply_progress reply_break(struct reply_parser *parser)
{
	parser->lines = LINES_BROKEN;
	return REPLY_BROKEN;
}

/* Moves bytes up to the LF into the line; returns how many, with *ENDED when the LF was there. */
static size_t line_take(struct reply_parser *parser, const char *bytes, size_t len, bool *ended)
{
	size_t room = sizeof parser->line - parser->line_len;
	size_t take = len < room ? len : room;
	const char *lf = memchr(bytes, '\n', take);

	if (lf)
		take = (size_t)(lf - bytes) + 1;
	memcpy(parser->line + parser->line_len, bytes, take);
	parser->line_len += take;
	*ended = lf != NULL;
	return take;
}

/* The length of the line without its end. */
static size_t line_trim(const struct reply_parser *parser)
{
	size_t len = parser->line_len - 1;

	return len > 0 && parser->line[len - 1] == '\r' ? len - 1 : len;
}

/* Three digits, 2xx to 5xx, then space, "-" or the end; 0 when it is none. */
static int line_code(const char *line, size_t len)
{
	if (len < 3 || line[0] < '2' || line[0] > '5' || !is_digit(line[1]) || !is_digit(line[2]))
		return 0;
	if (len > 3 && line[3] != ' ' && line[3] != '-')
		return 0;
	return (line[0] - '0') * 100 + (line[1] - '0') * 10 + (line[2] - '0');
}

/* "." and one to three digits; 0 when they are not there. */
static size_t status_part(const char *text, size_t len)
{
	size_t i = 1;

	if (len < 2 || text[0] != '.')
		return 0;
	while (i < len && i < 4 && is_digit(text[i]))
		i++;
	return i > 1 ? i : 0;
}

/* The length of the enhanced status that TEXT starts with, RFC 2034 section 4; 0 without one. */
static size_t status_len(const char *text, size_t len)
{
	size_t subject, detail, end;

	if (len == 0 || (text[0] != '2' && text[0] != '4' && text[0] != '5'))
		return 0;
	subject = status_part(text + 1, len - 1);
	detail = subject ? status_part(text + 1 + subject, len - 1 - subject) : 0;
	end = 1 + subject + detail;
	return detail > 0 && (end == len || text[end] == ' ') ? end : 0;
}

/* Appends TEXT as far as it fits, with '?' for each byte that may not be shown. */
static void text_add(struct reply *reply, const char *text, size_t len)
{
	size_t end = strlen(reply->text);

	while (len > 0) {
		size_t shown = utf8_printable_len(text, len);
		size_t step = shown ? shown : 1;

		if (end + CHARACTER_MAX >= sizeof reply->text)
			break; /* whatever comes: nothing may follow a cut */
		memcpy(reply->text + end, shown ? text : "?", step);
		end += step;
		text += step;
		len -= step;
	}
	reply->text[end] = '\0';
}

/* A first line makes the reply anew. */
static void reply_begin(struct reply *reply, int code, const char *text, size_t len)
{
	size_t status = status_len(text, len);

	reply->code = code;
	memcpy(reply->status, text, status);
	reply->status[status] = '\0';
	reply->text[decimal_write((uint64_t)code, 3, reply->text)] = '\0';
}

/* The text of a further line behind the enhanced status that it repeats. */
static size_t status_repeated(const struct reply *reply, const char *text, size_t len)
{
	size_t status = status_len(text, len);

	if (status == 0 || status != strlen(reply->status) ||
	    memcmp(text, reply->status, status) != 0)
		return 0;
	return status < len ? status + 1 : status;
}

/* Takes the whole line in PARSER. */
static enum reply_progress line_parse(struct reply_parser *parser)
{
	struct reply *reply = &parser->reply;
	size_t len = line_trim(parser);
	int code = line_code(parser->line, len);
	size_t skip = len > 3 ? 4 : 3;
	bool last = len <= 3 || parser->line[3] == ' ';

	parser->line_len = 0;
	if (code == 0 || (parser->lines > 0 && code != reply->code) ||
	    parser->lines == REPLY_LINES_MAX)
		return reply_break(parser);
	if (parser->lines++ == 0)
		reply_begin(reply, code, parser->line + skip, len - skip);
	else
		skip += status_repeated(reply, parser->line + skip, len - skip);
	if (len > skip) {
		text_add(reply, " ", 1);
		text_add(reply, parser->line + skip, len - skip);
	}
	if (!last)
		return REPLY_MORE;
	parser->lines = 0;
	return REPLY_WHOLE;
}

enum reply_progress reply_feed(
    struct reply_parser *parser, const char *bytes, size_t len, size_t *used)
{
	enum reply_progress progress = REPLY_MORE;

	*used = 0;
	if (parser->lines == LINES_BROKEN)
		return REPLY_BROKEN;
	while (progress == REPLY_MORE && *used < len) {
		bool ended;

		*used += line_take(parser, bytes + *used, len - *used, &ended);
		if (ended)
			progress = line_parse(parser);
		else if (parser->line_len == sizeof parser->line)
			progress = reply_break(parser);
	}
	return progress;
}

const char *reply_status(const struct reply *reply)
{
	if (reply->status[0] != '\0' && reply->status[0] - '0' == reply->code / 100)
		return reply->status;
	return reply->code >= 500 ? "5.0.0" : "4.0.0";
}
