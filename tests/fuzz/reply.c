/* reply: what a server says, in pieces and at once. */
#include <stdio.h>

#include "fuzz.h"
#include "reply.h"
#include "utf8.h"

#define OUTCOME_MAX 8

/* What came of a whole input: as many replies as fit, and how it ended. */
struct outcome {
	struct reply reply[OUTCOME_MAX];
	size_t replies;
	enum reply_progress last;
};

static bool is_status(const char *status, char class)
{
	unsigned subject, detail;
	char end;

	return sscanf(status + 1, ".%3u.%3u%c", &subject, &detail, &end) == 2 && status[0] == class;
}

static void check_reply(const struct reply *reply)
{
	const size_t len = strlen(reply->text);
	char code[4];

	assert(reply->code >= 200 && reply->code <= 599);
	(void)snprintf(code, sizeof code, "%d", reply->code);
	assert(strncmp(reply->text, code, 3) == 0 && len < REPLY_TEXT_MAX);
	for (size_t i = 0; i < len;) {
		const size_t n = utf8_printable_len(reply->text + i, len - i);

		assert(n > 0);
		i += n;
	}
	assert(reply->status[0] == '\0' || is_status(reply->status, reply->status[0]));
	if (reply->code >= 400)
		assert(is_status(reply_status(reply), reply->text[0]));
}

/* Feeds all of it, cut as FUZZ chooses, or at once when it is NULL. */
static void feed(const char *at, size_t left, struct fuzz *fuzz, struct outcome *outcome)
{
	struct reply_parser *parser = malloc(sizeof *parser);

	assert(parser != NULL);
	memset(outcome, 0, sizeof *outcome);
	reply_init(parser);
	while (left > 0) {
		const size_t piece = fuzz != NULL ? fuzz_piece(fuzz, left) : left;
		size_t used = SIZE_MAX;

		outcome->last = reply_feed(parser, at, piece, &used);
		assert(used <= piece && (outcome->last == REPLY_BROKEN || used > 0));
		assert(outcome->last != REPLY_MORE || used == piece);
		if (outcome->last == REPLY_BROKEN)
			break;
		at += used;
		left -= used;
		if (outcome->last != REPLY_WHOLE)
			continue;
		assert(at[-1] == '\n');
		check_reply(&parser->reply);
		if (outcome->replies < OUTCOME_MAX)
			outcome->reply[outcome->replies] = parser->reply;
		outcome->replies++;
	}
	if (outcome->last == REPLY_BROKEN && left > 0) {
		size_t used;

		assert(reply_feed(parser, "250 Ok\r\n", 8, &used) == REPLY_BROKEN);
	}
	free(parser);
}

/* The code of a line without its LF; 0 for what is none. */
static int code_of(const char *line, size_t len)
{
	int code = 0;

	for (size_t i = 0; i < 3; i++) {
		if (i >= len || line[i] < '0' || line[i] > '9')
			return 0;
		code = code * 10 + line[i] - '0';
	}
	if (len > 3 && strchr(" -\r", line[3]) == NULL)
		return 0;
	if (len > 3 && (line[3] == '\0' || (line[3] == '\r' && len > 4)))
		return 0;
	return code >= 200 && code < 600 ? code : 0;
}

/* Line by line, with nothing but the codes: the replies, each with its own, and how it ends. */
static void check_codes(const char *at, size_t left, const struct outcome *outcome)
{
	enum reply_progress last = REPLY_MORE;
	size_t replies = 0, lines = 0;
	const char *end;
	int before = 0;

	while (left > 0 && last != REPLY_BROKEN) {
		const size_t len =
		    (end = memchr(at, '\n', left)) != NULL ? (size_t)(end - at) : left;
		const int code = code_of(at, len);

		last = REPLY_MORE;
		if (len >= REPLY_LINE_MAX)
			last = REPLY_BROKEN;
		else if (end == NULL)
			break;
		else if (code == 0 || (lines > 0 && code != before) || lines == REPLY_LINES_MAX)
			last = REPLY_BROKEN;
		else if (len <= 3 || at[3] != '-')
			last = REPLY_WHOLE;
		lines = last == REPLY_WHOLE ? 0 : lines + 1;
		before = code;
		if (last == REPLY_WHOLE && replies < OUTCOME_MAX)
			assert(outcome->reply[replies].code == code);
		replies += last == REPLY_WHOLE;
		at += end != NULL ? len + 1 : len;
		left -= end != NULL ? len + 1 : len;
	}
	assert(outcome->replies == replies && outcome->last == last);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz fuzz = fuzz_start(data, size);
	struct outcome whole, pieces;

	fuzz_seed(&fuzz);
	feed(fuzz.at, fuzz.left, NULL, &whole);
	check_codes(fuzz.at, fuzz.left, &whole);
	feed(fuzz.at, fuzz.left, &fuzz, &pieces);
	assert(whole.replies == pieces.replies && whole.last == pieces.last);
	for (size_t i = 0; i < whole.replies && i < OUTCOME_MAX; i++) {
		assert(whole.reply[i].code == pieces.reply[i].code);
		assert(strcmp(whole.reply[i].status, pieces.reply[i].status) == 0);
		assert(strcmp(whole.reply[i].text, pieces.reply[i].text) == 0);
	}
	return 0;
}
