#include "show.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#include "clock.h"
#include "export.h"
#include "find.h"
#include "header.h"
#include "io.h"
#include "plain.h"
#include "reason.h"
#include "term.h"
#include "view.h"

#define TRIES_MAX 2 /* a message that moves while it is looked at is looked for again */
#define CHUNK	  ((size_t)16 * 1024)

struct show {
	struct view view;
	struct term term;
	char *head; /* the start of the file, block and header; NULL when it can't be read */
	size_t block_len;
	size_t header_end; /* in head; from there on it is the body */
	struct error *err;
};

/* ---- the file ---- */

/* Whether it could be read; errno tells why not. */
static bool read_start(struct show *show, size_t *len)
{
	const struct message *message = &show->view.message;
	const size_t most =
	    message->file_size < ENVELOPE_HEAD_MAX ? (size_t)message->file_size : ENVELOPE_HEAD_MAX;
	ssize_t got;

	show->head = malloc(most);
	if (show->head == NULL)
		return false;
	got = io_pread(message->fd, show->head, most, 0);
	*len = got > 0 ? (size_t)got : 0;
	return got >= 0;
}

/* What is no message has as much of a header as there are fields at its start. */
static size_t fields_len(const char *head, size_t len)
{
	struct header_line field;

	for (size_t at = 0; at < len; at = field.next) {
		field = header_field_at(head, len, at);
		if (field.len == 0)
			return field.next;
		if (header_name_len(&field) == 0)
			return at;
	}
	return len;
}

static int can_not_read(const struct show *show)
{
	char path[VIEW_PATH_MAX];

	error_set_errno(show->err, "can't read %s", view_path(&show->view, path));
	return -1;
}

/* Reads block and header of a file that is one. 1; 0: it is gone; -1: ERR. */
static int read_file(struct show *show)
{
	struct view *view = &show->view;
	size_t len;

	if (message_reopen(&view->message, show->view.spool->dir[view->dir]) == -1)
		return errno == ENOENT || errno == ESTALE ? 0 : can_not_read(show);
	if (!read_start(show, &len))
		return can_not_read(show);
	show->block_len = view->message.envelope.block_len;
	show->header_end = envelope_head_len(show->head, len);
	if (view->loaded == MESSAGE_INVALID)
		show->header_end = fields_len(show->head, len);
	else if (show->header_end == 0)
		show->header_end = len;
	if (show->block_len > show->header_end)
		show->block_len = show->header_end;
	return 1;
}

/* Takes a look at the message ID. 1; 0: it was gone again; -1: ERR. */
static int look(struct show *show, const char *id)
{
	struct view *view = &show->view;
	struct found found;

	if (find_message(view->spool, id, &found, show->err) == -1)
		return -1;
	if (!view_open(view, found.dir, found.name, clock_now()))
		return 0;
	return view_has_file(view) ? read_file(show) : 1;
}

static int show_open(
    struct show *show, const struct spool *spool, const char *id, struct error *err)
{
	int found = 0;

	*show = (struct show){.err = err};
	view_init(&show->view, spool);
	for (int i = 0; i < TRIES_MAX && found == 0; i++)
		found = look(show, id);
	if (found == 0)
		error_set(err, EX_TEMPFAIL, "the message %s moves all the time: try again", id);
	return found == 1 ? 0 : -1;
}

static void show_close(struct show *show)
{
	view_free(&show->view);
	free(show->head);
}

/* ---- in words ---- */

static void label(const char *name)
{
	(void)printf("%-11s ", name);
}

static void line(const char *name, const char *text)
{
	label(name);
	plain_text(stdout, text);
	(void)printf("\n");
}

static void line_time(const char *name, int64_t when, int64_t now)
{
	char time[PLAIN_TIME_MAX], wait[PLAIN_DURATION_MAX];

	label(name);
	(void)printf("%s, ", plain_time(when, time));
	if (when <= now)
		(void)printf("%s ago\n", plain_duration(now - when, wait));
	else
		(void)printf("in %s\n", plain_duration(when - now, wait));
}

static void show_state(const struct show *show)
{
	const struct view *view = &show->view;
	const struct entry *entry = &view->message.entry;
	const enum term_colour colour = view_colour(view->state);
	char path[VIEW_PATH_MAX];

	label("id");
	plain_text_n(stdout, entry->name, entry->unique_len);
	(void)printf("\n");
	label("state");
	(void)printf("%s%s%s\n", term_on(&show->term, colour), survey_state_name(view->state),
	    term_off(&show->term, colour));
	line("file", view_path(view, path));
	if (view->loaded != MESSAGE_LOADED)
		line("fault", view->fault.text);
}

static void show_attempts(const struct view *view, const struct retry *retry)
{
	const struct entry *entry = &view->message.entry;
	const char *reason = reason_of(entry->status);

	label("attempts");
	(void)printf("%u", entry->attempts);
	if (view->state != SURVEY_SENT && view->state != SURVEY_FAILED)
		(void)printf(" of %zu", retry->count + 1);
	(void)printf("\n");
	if (entry->status[0] == '\0')
		return;
	label("status");
	(void)printf(
	    "%s%s%s\n", entry->status, reason != NULL ? ": " : "", reason != NULL ? reason : "");
}

static void show_claim(const struct view *view)
{
	const struct entry *entry = &view->message.entry;
	int64_t pid;
	const size_t host_len = view_claim(view, &pid);

	if (host_len == 0)
		return;
	label("claim");
	(void)printf("process %" PRId64 " on ", pid);
	plain_text_n(stdout, entry->claim, host_len);
	(void)printf("\n");
	if (entry->not_before > 0)
		line_time("claim ends", entry->not_before, view->now);
}

/* When it was made, what has happened, and what will. */
static void show_history(const struct view *view, const struct retry *retry)
{
	const struct entry *entry = &view->message.entry;
	const int64_t birth = entry_birth(entry);

	if (birth != -1)
		line_time("made", birth, view->now);
	show_attempts(view, retry);
	show_claim(view);
	if (view_is_due(view))
		line("next", "now: the next run tries it");
	else if (view_is_open(view))
		line_time("next", entry->not_before, view->now);
	if (entry->expires > 0)
		line_time("expires", entry->expires, view->now);
	if (entry->warned > 0)
		line_time("warned", entry->warned, view->now);
	if (entry->notify > 0)
		line_time("untold", entry->notify, view->now);
	if (entry->priority != ENTRY_PRIORITY_DEFAULT) {
		label("priority");
		(void)printf("%u\n", entry->priority);
	}
}

static void show_recipient(const struct view *view, const struct recipient *recipient)
{
	label("recipient");
	(void)printf("<");
	plain_text(stdout, recipient->address);
	(void)printf("> %s", survey_state_name(view_recipient(view, recipient)));
	if (recipient->reply[0] != '\0') {
		(void)printf(": ");
		plain_text(stdout, recipient->reply);
	}
	(void)printf("\n");
}

static void show_envelope(const struct view *view)
{
	const struct envelope *envelope = &view->message.envelope;

	label("sender");
	(void)printf("<");
	plain_text(stdout, envelope->sender);
	(void)printf(">\n");
	for (size_t i = 0; i < envelope->count; i++)
		show_recipient(view, &envelope->recipient[i]);
}

static void show_sizes(const struct show *show)
{
	const uint64_t size = show->view.message.file_size;

	label("size");
	(void)printf("%" PRIu64 " bytes: ", size);
	if (show->block_len > 0)
		(void)printf("envelope %zu, ", show->block_len);
	(void)printf("header %zu, body %" PRIu64 "\n", show->header_end - show->block_len,
	    size - show->header_end);
}

/* ---- header and body ---- */

/* The length of the header without the empty line that ends it. */
static size_t header_len(const struct show *show)
{
	const char *header = show->head + show->block_len;
	size_t len = show->header_end - show->block_len;
	struct header_line field;

	for (size_t at = 0; at < len; at = field.next) {
		field = header_field_at(header, len, at);
		if (field.len == 0)
			return at;
	}
	return len;
}

static void show_header(const struct show *show)
{
	const size_t len = header_len(show);

	if (len == 0)
		return;
	(void)printf("\n");
	(void)plain_lines(stdout, show->head + show->block_len, len, true);
	if (show->head[show->block_len + len - 1] != '\n')
		(void)printf("\n");
}

/* Writes TEXT[0..LEN) of the body; how much is used, or -1 with ERR. */
typedef ssize_t put_body(struct show *show, const char *text, size_t len, bool last);

static ssize_t put_raw(struct show *show, const char *text, size_t len, bool last)
{
	(void)show;
	(void)last;
	(void)fwrite(text, 1, len, stdout);
	return (ssize_t)len;
}

static ssize_t put_lines(struct show *show, const char *text, size_t len, bool last)
{
	(void)show;
	return (ssize_t)plain_lines(stdout, text, len, last);
}

static ssize_t put_json(struct show *show, const char *text, size_t len, bool last)
{
	size_t used;

	if (export_body(stdout, text, len, last, &used, show->err) == -1)
		return -1;
	return (ssize_t)used;
}

static int each_piece(struct show *show, put_body *put)
{
	const struct message *message = &show->view.message;
	char chunk[CHUNK];
	uint64_t at = show->header_end;
	size_t kept = 0;

	while (at < message->file_size && !ferror(stdout)) {
		const uint64_t left = message->file_size - at;
		const size_t room = sizeof chunk - kept;
		const ssize_t got =
		    io_pread(message->fd, chunk + kept, left < room ? (size_t)left : room, at);
		ssize_t used;

		if (got <= 0) {
			errno = got == 0 ? EIO : errno; /* it was longer when it was opened */
			return can_not_read(show);
		}
		at += (uint64_t)got;
		kept += (size_t)got;
		used = put(show, chunk, kept, at == message->file_size);
		if (used == -1)
			return -1;
		kept -= (size_t)used;
		memmove(chunk, chunk + used, kept);
	}
	return 0;
}

static int show_body(struct show *show)
{
	(void)printf("\n");
	return each_piece(show, show->term.tty ? put_lines : put_raw);
}

/* ---- both forms ---- */

static int show_all(struct show *show, const struct retry *retry, bool body)
{
	show_state(show);
	show_history(&show->view, retry);
	if (show->view.loaded == MESSAGE_LOADED)
		show_envelope(&show->view);
	if (show->head == NULL)
		return 0;
	show_sizes(show);
	show_header(show);
	return body ? show_body(show) : 0;
}

int show_message(const struct spool *spool, const struct config *config, const char *id, bool body,
    struct error *err)
{
	struct show show;
	int result = show_open(&show, spool, id, err);

	term_open(&show.term);
	if (result == 0)
		result = show_all(&show, &config->retry, body);
	show_close(&show);
	return result;
}

static int export_all(struct show *show, bool body)
{
	const struct export_file file = {
	    .header = show->head + show->block_len,
	    .header_len = header_len(show),
	    .envelope_size = show->block_len,
	    .header_size = show->header_end - show->block_len,
	    .body_size = show->view.message.file_size - show->header_end,
	    .body_follows = body,
	};

	if (export_detail(stdout, &show->view, &file, show->err) == -1)
		return -1;
	if (!body)
		return 0;
	export_body_begin(stdout);
	if (each_piece(show, put_json) == -1)
		return -1;
	export_body_end(stdout);
	return 0;
}

int show_json(const struct spool *spool, const char *id, bool body, struct error *err)
{
	struct show show;
	int result = show_open(&show, spool, id, err);

	if (result == 0 && show.head == NULL)
		result = export_detail(stdout, &show.view, NULL, err);
	else if (result == 0)
		result = export_all(&show, body);
	show_close(&show);
	return result;
}
