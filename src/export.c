#include "export.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#include "header.h"
#include "reason.h"
#include "utf8.h"

#define MENDED_MAX   3	  /* bytes that one byte can become: U+FFFD */
#define ESCAPED_MAX  6	  /* characters that one byte can become: "\u0000" */
#define PIECE_MAX    1024 /* bytes of a body that are written at a time */
#define WHOLE_FORMAT (JSON_ENSURE_ASCII | JSON_INDENT(2))

/*
 * Functions that make a value give NULL without memory; put() takes that as a failure, and frees a
 * value that can't be put.
 */

static int no_memory(struct error *err)
{
	error_set(err, EX_OSERR, "out of memory for the output");
	return -1;
}

/* Puts VALUE, whose reference it takes, into OBJECT. 0, or -1. */
static int put(json_t *object, const char *key, json_t *value)
{
	return json_object_set_new(object, key, value);
}

/* OBJECT, or NULL in its place when something of it is missing. */
static json_t *whole(json_t *object, int missing)
{
	if (missing == 0)
		return object;
	json_decref(object);
	return NULL;
}

static int dump(FILE *out, json_t *value, size_t format, struct error *err)
{
	const int done = value != NULL ? json_dumpf(value, out, format) : -1;

	json_decref(value);
	/* What can't be written is noticed when stdout is flushed at last. */
	return done == 0 || ferror(out) ? 0 : no_memory(err);
}

/* ---- text ---- */

/*
 * Copies from TEXT[0..LEN), what is no UTF-8 replaced, until OUT[0..ROOM) is full; *MADE gets how
 * many bytes that gave. Returns how many it has used: what may be a part of a character is left
 * unless it is the LAST.
 */
static size_t mend(const char *text, size_t len, bool last, char *out, size_t room, size_t *made)
{
	static const char unknown[] = "\xef\xbf\xbd";
	size_t used = 0;

	*made = 0;
	while (used < len && room - *made >= UTF8_MAX) {
		const size_t n = utf8_len(text + used, len - used);

		if (n == 0 && !last && len - used < UTF8_MAX)
			break;
		memcpy(out + *made, n > 0 ? text + used : unknown, n > 0 ? n : MENDED_MAX);
		*made += n > 0 ? n : MENDED_MAX;
		used += n > 0 ? n : 1;
	}
	return used;
}

static json_t *string_n(const char *text, size_t len)
{
	const size_t room = MENDED_MAX * len + UTF8_MAX;
	char *mended = malloc(room);
	json_t *string = NULL;
	size_t made;

	if (mended != NULL) {
		(void)mend(text, len, true, mended, room, &made);
		string = json_stringn(mended, made);
	}
	free(mended);
	return string;
}

static json_t *string(const char *text)
{
	return string_n(text, strlen(text));
}

/* TEXT that may be missing. */
static json_t *string_or_null(const char *text, bool known)
{
	return known ? string(text) : json_null();
}

static json_t *number_or_null(int64_t number, bool known)
{
	return known ? json_integer(number) : json_null();
}

/* ---- the spool ---- */

static json_t *tally(const struct survey_tally *tally)
{
	const bool known = tally->count > 0 && tally->oldest != INT64_MAX;
	json_t *object = json_object();
	int missing = put(object, "count", json_integer((json_int_t)tally->count));

	missing |= put(object, "oldest", number_or_null(tally->oldest, known));
	return whole(object, missing);
}

static json_t *states(const struct survey *survey)
{
	json_t *object = json_object();
	int missing = 0;

	for (int state = 0; state < SURVEY_STATES; state++)
		missing |= put(object, survey_state_key((enum survey_state)state),
		    tally(&survey->state[state]));
	return whole(object, missing);
}

static json_t *deferred(const struct survey *survey)
{
	json_t *object = json_object();
	int missing = 0;

	for (int i = 0; i < SURVEY_SUBJECTS; i++)
		missing |=
		    put(object, survey_subject(i), json_integer((json_int_t)survey->deferred[i]));
	return whole(object, missing);
}

static json_t *totals(const struct history_totals *totals)
{
	json_t *object = json_object();
	int missing = put(object, "sent", json_integer(totals->sent));

	missing |= put(object, "deferred", json_integer(totals->deferred));
	missing |= put(object, "failed", json_integer(totals->failed));
	return whole(object, missing);
}

static json_t *last_run(const struct history_run *run)
{
	json_t *object;
	int missing;

	if (run->ended == 0)
		return json_null();
	object = json_object();
	missing = put(object, "ended", json_integer(run->ended));
	missing |= put(object, "milliseconds", json_integer(run->took));
	return whole(object, missing);
}

static json_t *rate(const struct relay_limit *limit)
{
	json_t *object;
	int missing;

	if (limit->count == 0)
		return json_null();
	object = json_object();
	missing = put(object, "recipients", json_integer(limit->count));
	missing |= put(object, "seconds", json_integer(limit->seconds));
	return whole(object, missing);
}

static json_t *relay(const struct history_relay *relay)
{
	const bool quota = relay->quota.count > 0;
	json_t *object = json_object();
	int missing = put(object, "name", string(relay->name));

	missing |= put(object, "up", relay->tried ? json_boolean(relay->up) : json_null());
	missing |= put(object, "since", number_or_null(relay->since, relay->tried));
	missing |= put(object, "accepted", number_or_null(relay->accepted, relay->accepted > 0));
	missing |= put(object, "retry", number_or_null(relay->retry_at, relay->retry_at > 0));
	missing |= put(object, "rate", rate(&relay->rate));
	missing |= put(object, "quota", number_or_null(relay->quota.count, quota));
	missing |= put(object, "used", number_or_null(relay->used, quota));
	return whole(object, missing);
}

static json_t *relays(const struct history *history)
{
	json_t *array = json_array();
	int missing = 0;

	for (size_t i = 0; i < history->relay_count; i++)
		missing |= json_array_append_new(array, relay(&history->relay[i]));
	return whole(array, missing);
}

int export_survey(FILE *out, const struct survey *survey, const struct history *history,
    const char *path, struct error *err)
{
	json_t *object = json_object();
	int missing = put(object, "spool", string(path));

	missing |= put(object, "time", json_integer(survey->now));
	missing |= put(object, "states", states(survey));
	missing |= put(object, "deferred_by_status", deferred(survey));
	missing |= put(object, "due", tally(&survey->due));
	missing |= put(
	    object, "due_since", number_or_null(survey->due_since, survey->due_since != INT64_MAX));
	missing |= put(object, "next", number_or_null(survey->next, survey->next != INT64_MAX));
	missing |= put(object, "totals", totals(&history->totals));
	missing |= put(object, "last_run", last_run(&history->run));
	missing |= put(object, "relays", relays(history));
	if (dump(out, whole(object, missing), WHOLE_FORMAT, err) == -1)
		return -1;
	(void)fputc('\n', out);
	return 0;
}

/* ---- a message ---- */

static json_t *claim(const struct view *view)
{
	const struct entry *entry = &view->message.entry;
	json_t *object;
	int64_t pid;
	const size_t host_len = view_claim(view, &pid);
	int missing;

	if (host_len == 0)
		return json_null();
	object = json_object();
	missing = put(object, "host", string_n(entry->claim, host_len));
	missing |= put(object, "pid", json_integer(pid));
	missing |= put(object, "until", number_or_null(entry->not_before, entry->not_before > 0));
	return whole(object, missing);
}

static json_t *recipient(const struct view *view, const struct recipient *one)
{
	json_t *object = json_object();
	int missing = put(object, "address", string(one->address));

	missing |= put(object, "state", json_string(survey_state_key(view_recipient(view, one))));
	missing |= put(object, "reply", string_or_null(one->reply, one->reply[0] != '\0'));
	return whole(object, missing);
}

static json_t *recipients(const struct view *view)
{
	const struct envelope *envelope = &view->message.envelope;
	json_t *array = json_array();
	int missing = 0;

	for (size_t i = 0; view->loaded == MESSAGE_LOADED && i < envelope->count; i++)
		missing |= json_array_append_new(array, recipient(view, &envelope->recipient[i]));
	return whole(array, missing);
}

/* What the name tells. */
static int put_entry(json_t *object, const struct view *view)
{
	const struct entry *entry = &view->message.entry;
	const int64_t birth = entry_birth(entry);
	char path[VIEW_PATH_MAX];
	int missing = put(object, "id", string_n(entry->name, entry->unique_len));

	missing |= put(object, "state", json_string(survey_state_key(view->state)));
	missing |= put(object, "file", string(view_path(view, path)));
	missing |= put(object, "made", number_or_null(birth, birth != -1));
	missing |= put(object, "attempts", json_integer(entry->attempts));
	missing |= put(object, "status", string_or_null(entry->status, entry->status[0] != '\0'));
	missing |= put(object, "priority", json_integer(entry->priority));
	missing |= put(object, "due", json_boolean(view_is_due(view)));
	missing |= put(object, "next",
	    number_or_null(entry->not_before, view_is_open(view) && entry->not_before > 0));
	missing |= put(object, "expires", number_or_null(entry->expires, entry->expires > 0));
	missing |= put(object, "claim", claim(view));
	missing |= put(object, "warned", number_or_null(entry->warned, entry->warned > 0));
	missing |= put(object, "untold", number_or_null(entry->notify, entry->notify > 0));
	return missing;
}

static json_t *message(const struct view *view)
{
	const bool loaded = view->loaded == MESSAGE_LOADED;
	const int64_t size = (int64_t)view->message.file_size;
	json_t *object = json_object();
	int missing = put_entry(object, view);

	missing |= put(object, "size", number_or_null(size, view_has_file(view)));
	missing |= put(object, "sender", string_or_null(view->message.envelope.sender, loaded));
	missing |= put(object, "recipients", recipients(view));
	missing |= put(object, "fault", string_or_null(view->fault.text, !loaded));
	return whole(object, missing);
}

int export_message(FILE *out, const struct view *view, struct error *err)
{
	return dump(out, message(view), JSON_ENSURE_ASCII, err);
}

/* ---- its file ---- */

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

/* A field's value, unfolded (RFC 5322 section 2.2.3) and without the blanks around it. */
static json_t *value_of(const struct header_line *field)
{
	struct header_line value = header_value(field);
	char *text = malloc(value.len + 1);
	json_t *string = NULL;
	size_t len = 0;

	if (text != NULL) {
		for (size_t i = 0; i < value.len; i++)
			if (value.text[i] != '\r' && value.text[i] != '\n' &&
			    (len > 0 || !is_blank(value.text[i])))
				text[len++] = value.text[i];
		while (len > 0 && is_blank(text[len - 1]))
			len--;
		string = string_n(text, len);
	}
	free(text);
	return string;
}

static json_t *field(const struct header_line *line)
{
	const size_t name_len = header_name_len(line);
	json_t *object = json_object();
	int missing = put(object, "name", string_n(line->text, name_len));

	missing |= put(object, "value", value_of(line));
	return whole(object, missing);
}

static json_t *fields(const struct export_file *file)
{
	json_t *array = json_array();
	struct header_line line;
	int missing = 0;

	for (size_t at = 0; at < file->header_len; at = line.next) {
		line = header_field_at(file->header, file->header_len, at);
		if (header_name_len(&line) > 0)
			missing |= json_array_append_new(array, field(&line));
	}
	return whole(array, missing);
}

static int put_file(json_t *object, const struct export_file *file)
{
	int missing = put(object, "header", file != NULL ? fields(file) : json_null());

	missing |= put(object, "envelope_size",
	    file != NULL ? json_integer((json_int_t)file->envelope_size) : json_null());
	missing |= put(object, "header_size",
	    file != NULL ? json_integer((json_int_t)file->header_size) : json_null());
	missing |= put(object, "body_size",
	    file != NULL ? json_integer((json_int_t)file->body_size) : json_null());
	return missing;
}

int export_detail(
    FILE *out, const struct view *view, const struct export_file *file, struct error *err)
{
	const bool open = file != NULL && file->body_follows;
	const char *meaning = reason_of(view->message.entry.status);
	json_t *object = message(view);
	int missing = put(object, "meaning", string_or_null(meaning, meaning != NULL));

	missing |= put_file(object, file);
	if (open)
		(void)fputc('{', out);
	if (dump(out, whole(object, missing), WHOLE_FORMAT | (open ? JSON_EMBED : 0), err) == -1)
		return -1;
	if (!open)
		(void)fputc('\n', out);
	return 0;
}

void export_body_begin(FILE *out)
{
	(void)fputs(",\n  \"body\": \"", out);
}

/* Writes TEXT[0..LEN), which is UTF-8, as the inner part of a string. */
static int put_piece(FILE *out, const char *text, size_t len, struct error *err)
{
	char escaped[ESCAPED_MAX * PIECE_MAX + 2];
	json_t *string = json_stringn(text, len);
	size_t size = 0;

	if (string != NULL)
		size = json_dumpb(
		    string, escaped, sizeof escaped, JSON_ENSURE_ASCII | JSON_ENCODE_ANY);
	json_decref(string);
	if (size < 2 || size > sizeof escaped)
		return no_memory(err);
	(void)fwrite(escaped + 1, 1, size - 2, out);
	return 0;
}

int export_body(FILE *out, const char *text, size_t len, bool last, size_t *used, struct error *err)
{
	char mended[PIECE_MAX];
	size_t made, taken;

	*used = 0;
	do {
		taken = mend(text + *used, len - *used, last, mended, sizeof mended, &made);
		if (made > 0 && put_piece(out, mended, made, err) == -1)
			return -1;
		*used += taken;
	} while (taken > 0);
	return 0;
}

void export_body_end(FILE *out)
{
	(void)fputs("\"\n}\n", out);
}
