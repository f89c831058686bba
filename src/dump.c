#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "dump.h"

enum dump_seen {
	SEEN_FROM = 1,
	SEEN_MIME = 2,
	SEEN_TYPE = 4,
	SEEN_ENCODING = 8,
	SEEN_SUBJECT = 16,
	SEEN_ID = 32,
	/* Of its first line: */
	SEEN_BLOCK = 64, /* it would start an envelope block */
	SEEN_RULE = 128, /* it starts with a rule, whose newline comes later */
	SEEN_ODD = 256	 /* the order of fields is not Django's */
};

#define SEEN_WHOLE (SEEN_TYPE | SEEN_SUBJECT | SEEN_FROM) /* by each Django, always */

static const struct {
	const char *name;
	unsigned seen;
} fields[] = {
    {"From", SEEN_FROM},
    {"MIME-Version", SEEN_MIME},
    {"Content-Type", SEEN_TYPE},
    {"Content-Transfer-Encoding", SEEN_ENCODING},
    {"Subject", SEEN_SUBJECT},
    {"Message-ID", SEEN_ID},
};

void dump_init(struct dump *dump, uint64_t offset)
{
	memset(dump, 0, sizeof(*dump));
	dump->offset = dump->start = dump->line_start = offset;
}

static bool starts_with_rule(const struct dump *dump)
{
	if (dump->line_len < DUMP_RULE)
		return false;
	for (size_t i = 0; i < DUMP_RULE; i++)
		if (dump->line[i] != '-')
			return false;
	return true;
}

static bool is_rule(const struct dump *dump)
{
	return dump->line_len == DUMP_RULE && starts_with_rule(dump);
}

static bool is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\r';
}

/* The length of the present line without white space at its end. */
static size_t trimmed_len(const struct dump *dump)
{
	size_t len = dump->line_len;

	while (len > 0 && is_space(dump->line[len - 1]))
		len--;
	return len;
}

/* The empty line that ends a header: a CR is all it may hold. */
static bool is_empty(const struct dump *dump)
{
	return dump->line_len == 0 || (dump->line_len == 1 && dump->line[0] == '\r');
}

static bool is_closing(const struct dump *dump)
{
	size_t len = strlen(dump->closing);

	return trimmed_len(dump) == len && memcmp(dump->line, dump->closing, len) == 0;
}

/* The length of the field name at AT, 0 when LEN bytes there are no field. */
static size_t field_name_len(const char *at, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if (at[i] == ':')
			return i;
		if (at[i] <= ' ' || at[i] > '~')
			return 0;
	}
	return 0;
}

/*
 * Where the field of the present line starts. It starts behind a rule whose newline another process
 * came before: Python's buffer may fill up just there.
 */
static size_t field_start(const struct dump *dump)
{
	return starts_with_rule(dump) ? DUMP_RULE : 0;
}

static bool is_field(const struct dump *dump)
{
	size_t start = field_start(dump);

	return field_name_len(dump->line + start, dump->line_len - start) > 0;
}

static unsigned field_seen(const char *name, size_t len)
{
	for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
		if (len == strlen(fields[i].name) && strncasecmp(name, fields[i].name, len) == 0)
			return fields[i].seen;
	return 0;
}

static void append_type(struct dump_run *run, const char *text, size_t len)
{
	size_t room = sizeof(run->type) - 1 - run->type_len;

	if (len > room)
		len = room;
	memcpy(run->type + run->type_len, text, len);
	run->type_len += len;
	run->type[run->type_len] = '\0';
}

static bool is_encoding(const char *value, size_t len)
{
	while (len > 0 && is_space(*value)) {
		value++;
		len--;
	}
	return (len == 6 && strncasecmp(value, "base64", len) == 0) ||
	       (len == 16 && strncasecmp(value, "quoted-printable", len) == 0);
}

/*
 * Django starts with Content-Type or MIME-Version and has one From; what a site adds comes behind.
 * Anything else may be the end of another message before the header.
 */
static bool is_odd(const struct dump *dump, unsigned seen)
{
	const struct dump_run *run = &dump->run;
	const unsigned mime = SEEN_TYPE | SEEN_MIME;

	if (dump->line_start == run->start && (seen & mime) == 0)
		return true;
	if ((run->seen & SEEN_FROM) == 0)
		return (run->seen & seen & mime) != 0;
	return seen == SEEN_FROM;
}

/* Python reads the first Content-Type; two encodings contradict each other, neither is believed. */
static void take_field(struct dump *dump)
{
	struct dump_run *run = &dump->run;
	size_t start = field_start(dump);
	size_t name_len = field_name_len(dump->line + start, dump->line_len - start);
	unsigned seen = field_seen(dump->line + start, name_len);
	size_t value = start + name_len + 1;
	size_t end = trimmed_len(dump);

	if (end < value)
		end = value;
	if (is_odd(dump, seen))
		run->seen |= SEEN_ODD;
	run->in_type = seen == SEEN_TYPE && (run->seen & SEEN_TYPE) == 0;
	if (run->in_type)
		append_type(run, dump->line + value, end - value);
	if (seen == SEEN_ENCODING)
		run->encoded = (run->seen & SEEN_ENCODING) == 0 &&
			       is_encoding(dump->line + value, end - value);
	run->seen |= seen;
}

static bool starts_with_block(const struct dump *dump)
{
	static const char block[] = "X-Maildrain-";
	size_t len = sizeof(block) - 1;

	return dump->line_len >= len && strncasecmp(dump->line, block, len) == 0;
}

static unsigned first_line_seen(const struct dump *dump)
{
	if (starts_with_rule(dump))
		return SEEN_RULE;
	return starts_with_block(dump) ? SEEN_BLOCK : 0;
}

static void open_run(struct dump *dump)
{
	struct dump_run *run = &dump->run;

	run->open = true;
	run->start = dump->line_start;
	run->seen = first_line_seen(dump);
	run->encoded = run->in_type = false;
	run->type_len = 0;
	run->type[0] = '\0';
}

/* Adds the present line to the open run; false when it does not belong there. */
static bool extend_run(struct dump *dump)
{
	struct dump_run *run = &dump->run;

	if (dump->line_len > 0 && (dump->line[0] == ' ' || dump->line[0] == '\t')) {
		if (run->in_type)
			append_type(run, dump->line, dump->line_len);
		return dump->line_start > run->start;
	}
	if (!is_field(dump))
		return false;
	take_field(dump);
	return true;
}

static void doubt_record(struct dump *dump, enum dump_doubt doubt)
{
	if (dump->doubt == DUMP_CLEAR)
		dump->doubt = doubt;
}

/* Copies a parameter's value, quoted or not, to OUT; returns what follows it, or NULL. */
static const char *copy_value(const char *at, char *out, size_t size)
{
	bool quoted = *at == '"';
	size_t len = 0;

	if (quoted)
		at++;
	while (*at != '\0' && (quoted ? *at != '"' : *at != ';' && !is_space(*at))) {
		if (quoted && *at == '\\' && at[1] != '\0')
			at++;
		if (len + 1 >= size)
			return NULL;
		out[len++] = *at++;
	}
	out[len] = '\0';
	if (quoted && *at++ != '"')
		return NULL;
	return at;
}

/* Finds the boundary in the parameters of a Content-Type; false when there is none to rely on. */
static bool find_boundary(const char *at, char *out, size_t size)
{
	char other[DUMP_TYPE_MAX];

	while (at != NULL && (at = strchr(at, ';')) != NULL) {
		size_t len;
		bool wanted;

		at++;
		while (is_space(*at))
			at++;
		len = strcspn(at, "=;");
		wanted = len == 8 && strncasecmp(at, "boundary", len) == 0;
		at += len;
		if (*at != '=')
			continue;
		at++;
		if (wanted)
			return copy_value(at, out, size) != NULL && out[0] != '\0';
		at = copy_value(at, other, sizeof(other));
	}
	return false;
}

/* The header has ended: what may its body hold? */
static void enter_body(struct dump *dump)
{
	struct dump_run *run = &dump->run;
	char boundary[DUMP_BOUNDARY_MAX + 1];
	const char *type = run->type;

	run->open = false;
	if ((run->seen & SEEN_BLOCK) != 0)
		doubt_record(dump, DUMP_ENVELOPE);
	if ((run->seen & SEEN_RULE) != 0)
		doubt_record(dump, DUMP_TANGLED);
	while (is_space(*type))
		type++;
	if (strncasecmp(type, "multipart/", 10) != 0) {
		dump->state = run->encoded ? DUMP_FIRM : DUMP_TEXT;
		return;
	}
	if (!find_boundary(type, boundary, sizeof(boundary))) {
		doubt_record(dump, DUMP_BOUNDLESS);
		dump->state = DUMP_TEXT;
		return;
	}
	(void)snprintf(dump->closing, sizeof(dump->closing), "--%s--", boundary);
	dump->state = DUMP_PARTS;
}

/* Ends the record at the last rule; the next one starts at NEXT. */
static void end_record(struct dump *dump, uint64_t next, struct dump_record *record)
{
	record->start = dump->start;
	record->end = dump->rule_start - 1; /* the newline before the rule is Django's */
	record->next = next;
	record->doubt = dump->doubt;
	dump->start = next;
	dump->doubt = DUMP_CLEAR;
	dump->state = DUMP_START;
}

static void note_rule(struct dump *dump)
{
	dump->rule_start = dump->line_start;
	dump->rule_end = dump->offset;
}

/* An empty line in a text ends a run of fields, which may have been a header. */
static bool end_run(struct dump *dump, struct dump_record *record)
{
	struct dump_run *run = &dump->run;
	bool behind_rule = run->start == dump->rule_end;
	bool ended = false;

	if (!run->open)
		return false;
	run->open = false;
	if ((run->seen & SEEN_WHOLE) != SEEN_WHOLE) {
		/* Not Django's header, yet too much like one to be sent within another message. */
		if (behind_rule && (run->seen & SEEN_FROM) != 0 &&
		    (run->seen & (SEEN_TYPE | SEEN_SUBJECT | SEEN_ID)) != 0)
			doubt_record(dump, DUMP_TANGLED);
		return false;
	}
	if (behind_rule && (run->seen & (SEEN_ODD | SEEN_RULE)) == 0) {
		end_record(dump, run->start, record);
		ended = true;
	} else {
		doubt_record(dump, DUMP_TANGLED);
	}
	enter_body(dump);
	return ended;
}

/* A line of a body that is not multipart. */
static bool take_text(struct dump *dump, struct dump_record *record)
{
	if (is_empty(dump))
		return end_run(dump, record);
	if (is_rule(dump)) {
		dump->run.open = false;
		note_rule(dump);
		if (dump->state != DUMP_FIRM)
			return false;
		end_record(dump, dump->rule_end, record);
		return true;
	}
	if (dump->run.open && extend_run(dump))
		return false;
	open_run(dump);
	dump->run.open = extend_run(dump);
	return false;
}

static bool take_header(struct dump *dump, struct dump_record *record)
{
	if (is_empty(dump)) {
		if ((dump->run.seen & SEEN_FROM) == 0)
			doubt_record(dump, DUMP_HEADLESS);
		enter_body(dump);
		return false;
	}
	if (extend_run(dump))
		return false;
	doubt_record(dump, DUMP_HEADLESS);
	dump->run.open = false;
	dump->state = DUMP_TEXT;
	return take_text(dump, record);
}

/* A rule or an empty line between records is what an entangled record before has left. */
static bool take_start(struct dump *dump, struct dump_record *record)
{
	if (is_rule(dump) || is_empty(dump)) {
		dump->start = dump->offset;
		return false;
	}
	dump->state = DUMP_HEADER;
	open_run(dump);
	return take_header(dump, record);
}

static bool take_tail(struct dump *dump, struct dump_record *record)
{
	if (is_empty(dump))
		return false;
	if (is_rule(dump)) {
		note_rule(dump);
		end_record(dump, dump->rule_end, record);
		return true;
	}
	doubt_record(dump, DUMP_TANGLED);
	dump->state = DUMP_TEXT;
	return take_text(dump, record);
}

static bool take_line(struct dump *dump, struct dump_record *record)
{
	switch (dump->state) {
	case DUMP_START:
		return take_start(dump, record);
	case DUMP_HEADER:
		return take_header(dump, record);
	case DUMP_PARTS:
		if (is_closing(dump))
			dump->state = DUMP_TAIL;
		return false;
	case DUMP_TAIL:
		return take_tail(dump, record);
	case DUMP_TEXT:
	case DUMP_FIRM:
		break;
	}
	return take_text(dump, record);
}

static void keep(struct dump *dump, const char *at, size_t len)
{
	size_t room = sizeof(dump->line) - dump->line_len;

	memcpy(dump->line + dump->line_len, at, len < room ? len : room);
	dump->line_len += len < room ? len : room;
	dump->offset += len;
}

bool dump_next(struct dump *dump, const char **at, const char *end, struct dump_record *record)
{
	while (*at < end) {
		size_t len = (size_t)(end - *at);
		const char *newline = memchr(*at, '\n', len);
		bool whole;

		if (newline == NULL) {
			keep(dump, *at, len);
			*at = end;
			return false;
		}
		keep(dump, *at, (size_t)(newline - *at));
		dump->offset++;
		*at = newline + 1;
		whole = take_line(dump, record);
		dump->line_start = dump->offset;
		dump->line_len = 0;
		if (whole)
			return true;
	}
	return false;
}

bool dump_last(struct dump *dump, struct dump_record *record)
{
	if (dump->state != DUMP_TEXT || dump->rule_end != dump->offset)
		return false;
	end_record(dump, dump->rule_end, record);
	return true;
}

bool dump_between(const struct dump *dump)
{
	return dump->state == DUMP_START && dump->start == dump->offset;
}

const char *dump_doubt_text(enum dump_doubt doubt)
{
	switch (doubt) {
	case DUMP_CLEAR:
		break;
	case DUMP_HEADLESS:
		return "has no header with a From field at its start";
	case DUMP_TANGLED:
		return "holds a second header: either two processes wrote to this file at once and "
		       "it is more than one message, or its text quotes a whole header";
	case DUMP_BOUNDLESS:
		return "is multipart and has no boundary that can be read";
	case DUMP_ENVELOPE:
		return "starts with an X-Maildrain line, which the site must not write";
	}
	return "is in order";
}

static bool take_digits(const char **at, size_t least, size_t most)
{
	size_t len = strspn(*at, "0123456789");

	*at += len;
	return len >= least && len <= most;
}

static bool take_char(const char **at, char c)
{
	if (**at != c)
		return false;
	(*at)++;
	return true;
}

/* Reads a decimal number up to the end of a field. */
static bool read_offset(const char *at, size_t len, uint64_t *value)
{
	uint64_t sum = 0;

	if (len == 0 || len > 18) /* any offset of a file system has fewer digits */
		return false;
	for (size_t i = 0; i < len; i++) {
		if (!isdigit((unsigned char)at[i]))
			return false;
		sum = sum * 10 + (uint64_t)(at[i] - '0');
	}
	*value = sum;
	return true;
}

int64_t dump_name_time(const char *name)
{
	struct tm tm = {.tm_isdst = -1};

	return strptime(name, "%Y%m%d-%H%M%S", &tm) != NULL ? (int64_t)mktime(&tm) : 0;
}

enum dump_name dump_name_parse(const char *name, uint64_t *offset)
{
	const char *at = name;
	bool found = false;

	*offset = 0;
	if (!take_digits(&at, 8, 8) || !take_char(&at, '-') || !take_digits(&at, 6, 6) ||
	    !take_char(&at, '-') || !take_digits(&at, 1, 20) || strncmp(at, ".log", 4) != 0)
		return DUMP_NAME_OTHER;
	at += 4;
	while (take_char(&at, '-'))
		if (!take_digits(&at, 1, 9))
			return DUMP_NAME_OTHER;
	if (*at != '\0' && *at != ',')
		return DUMP_NAME_OTHER;
	while (take_char(&at, ',')) {
		size_t len = strcspn(at, ",");

		if (strncmp(at, "O=", 2) == 0) {
			if (found || !read_offset(at + 2, len - 2, offset))
				return DUMP_NAME_BAD;
			found = true;
		}
		at += len;
	}
	return DUMP_NAME_GOOD;
}
