#include "list.h"

#include <stdio.h>
#include <string.h>
#include <sysexits.h>

#include "abbrev.h"
#include "clock.h"
#include "export.h"
#include "fit.h"
#include "plain.h"
#include "term.h"

/* Where the columns start on a terminal; the one of the ids is as wide as they are. */
#define AT_ATTEMPTS   10
#define AT_NEXT	      13
#define AT_STATUS     24
#define AT_ID	      31
#define AGE_COLUMNS   8
#define NARROW	      72 /* columns below which there is no next and no age */
#define NEXT_COLUMNS  (AT_STATUS - AT_NEXT)
#define ENVELOPE_ROOM 30 /* columns that whole ids must leave to sender and recipients */

struct list {
	const struct spool *spool;
	struct term term;
	struct abbrev ids;
	struct fit line;
	size_t id_columns; /* of the ids on a terminal, with a blank */
	bool whole_ids;
	bool narrow;
	bool begun; /* a message was shown */
	struct error *err;
};

static void put(struct list *list, const char *text)
{
	fit_put(&list->line, text, strlen(text));
}

static size_t id_len(const struct list *list, const struct entry *entry)
{
	return list->whole_ids ? entry->unique_len
			       : abbrev_len(&list->ids, entry->name, entry->unique_len);
}

/* ---- columns ---- */

/* The column where NAME starts when next and age are left out on a narrow terminal. */
static size_t column(const struct list *list, size_t at)
{
	return list->narrow && at > AT_NEXT ? at - NEXT_COLUMNS : at;
}

static void put_state(struct list *list, enum survey_state state)
{
	const enum term_colour colour = view_colour(state);

	fit_code(&list->line, term_on(&list->term, colour));
	put(list, survey_state_name(state));
	fit_code(&list->line, term_off(&list->term, colour));
}

static void put_attempts(struct list *list, unsigned attempts)
{
	char text[16];

	fit_pad(&list->line, AT_ATTEMPTS);
	(void)snprintf(text, sizeof text, "%2u", attempts);
	put(list, text);
}

static void put_next(struct list *list, const struct view *view)
{
	const int64_t wait = view->message.entry.not_before - view->now;
	char text[PLAIN_DURATION_MAX];

	if (list->narrow)
		return;
	fit_pad(&list->line, AT_NEXT);
	if (!view_is_open(view)) {
		put(list, "-");
	} else if (view_is_due(view)) {
		put(list, "now");
	} else {
		put(list, "in ");
		put(list, plain_duration(wait, text));
	}
}

static void put_status_and_id(struct list *list, const struct entry *entry)
{
	fit_pad(&list->line, column(list, AT_STATUS));
	put(list, entry->status[0] != '\0' ? entry->status : "-");
	fit_pad(&list->line, column(list, AT_ID));
	fit_put(&list->line, entry->name, id_len(list, entry));
}

static void put_age(struct list *list, const struct view *view)
{
	const int64_t birth = entry_birth(&view->message.entry);
	char text[PLAIN_DURATION_MAX] = "-";

	if (!list->term.tty)
		return;
	fit_pad(&list->line, column(list, AT_ID) + list->id_columns);
	if (list->narrow)
		return;
	if (birth != -1)
		(void)plain_duration(view->now - birth, text);
	put(list, text);
	fit_pad(&list->line, AT_ID + list->id_columns + AGE_COLUMNS);
}

/* ---- sender and recipients ---- */

static void put_recipient(
    struct list *list, const struct view *view, const struct recipient *recipient)
{
	const enum survey_state state = view_recipient(view, recipient);

	put(list, " <");
	put(list, recipient->address);
	put(list, ">");
	if (state == view->state)
		return;
	put(list, " (");
	put(list, survey_state_name(state));
	put(list, ")");
}

static void put_envelope(struct list *list, const struct view *view)
{
	const struct envelope *envelope = &view->message.envelope;

	put(list, "<");
	put(list, envelope->sender);
	put(list, "> ->");
	for (size_t i = 0; i < envelope->count && !list->line.over; i++)
		put_recipient(list, view, &envelope->recipient[i]);
}

static void put_fault(struct list *list, const struct view *view)
{
	put(list, "(");
	put(list, view->fault.text);
	put(list, ")");
}

static int show_one(void *context, struct view *view)
{
	struct list *list = context;

	fit_begin(&list->line, stdout, list->term.columns);
	put_state(list, view->state);
	put_attempts(list, view->message.entry.attempts);
	put_next(list, view);
	put_status_and_id(list, &view->message.entry);
	if (list->term.tty)
		put_age(list, view);
	else
		put(list, " ");
	if (view->loaded == MESSAGE_LOADED)
		put_envelope(list, view);
	else
		put_fault(list, view);
	fit_end(&list->line);
	return 0;
}

static void show_head(struct list *list)
{
	fit_begin(&list->line, stdout, list->term.columns);
	put(list, "state");
	fit_pad(&list->line, AT_ATTEMPTS);
	put(list, " A");
	if (!list->narrow) {
		fit_pad(&list->line, AT_NEXT);
		put(list, "next");
	}
	fit_pad(&list->line, column(list, AT_STATUS));
	put(list, "status");
	fit_pad(&list->line, column(list, AT_ID));
	if (!list->term.tty) {
		put(list, "id, sender, recipients");
		fit_end(&list->line);
		return;
	}
	put(list, "id");
	fit_pad(&list->line, column(list, AT_ID) + list->id_columns);
	if (!list->narrow) {
		put(list, "age");
		fit_pad(&list->line, AT_ID + list->id_columns + AGE_COLUMNS);
	}
	put(list, "sender, recipients");
	fit_end(&list->line);
}

/* ---- ids ---- */

static int add_id(void *context, const char *name, unsigned char type)
{
	struct list *list = context;
	struct entry entry;

	(void)type;
	if (!entry_parse(name, &entry) || abbrev_add(&list->ids, name, entry.unique_len))
		return 0;
	error_set(list->err, EX_OSERR, "out of memory for the ids");
	return -1;
}

static int meet_id(void *context, const char *name, unsigned char type)
{
	struct list *list = context;
	struct entry entry;

	(void)type;
	if (entry_parse(name, &entry))
		abbrev_meet(&list->ids, name, entry.unique_len);
	return 0;
}

/* Finds out how long the ids have to be that a terminal shows. */
static int shorten_ids(struct list *list, unsigned states, int64_t now)
{
	const size_t columns = list->term.columns;
	size_t room;

	list->narrow = columns < NARROW;
	room = column(list, AT_ID) + (list->narrow ? 0 : AGE_COLUMNS) + ENVELOPE_ROOM;
	if (walk_names(list->spool, states, now, add_id, list, list->err) == -1)
		return -1;
	abbrev_sort(&list->ids);
	list->whole_ids = list->ids.longest + 1 + room <= columns;
	if (!list->whole_ids &&
	    walk_names(list->spool, WALK_ALL, now, meet_id, list, list->err) == -1)
		return -1;
	list->id_columns = 1 + (list->whole_ids ? list->ids.longest : abbrev_most(&list->ids));
	return 0;
}

/* ---- all of them ---- */

int list_show(const struct spool *spool, unsigned states, struct error *err)
{
	struct list list = {.spool = spool, .whole_ids = true, .err = err};
	const int64_t now = clock_now();
	int result = 0;

	term_open(&list.term);
	if (list.term.tty)
		result = shorten_ids(&list, states, now);
	if (result == 0) {
		show_head(&list);
		result = walk_messages(spool, states, now, show_one, &list, err);
	}
	abbrev_free(&list.ids);
	return result;
}

static int export_one(void *context, struct view *view)
{
	struct list *list = context;

	(void)fputs(list->begun ? ",\n" : "[\n", stdout);
	list->begun = true;
	return export_message(stdout, view, list->err);
}

int list_json(const struct spool *spool, unsigned states, struct error *err)
{
	struct list list = {.spool = spool, .err = err};

	if (walk_messages(spool, states, clock_now(), export_one, &list, err) == -1)
		return -1;
	(void)fputs(list.begun ? "\n]\n" : "[]\n", stdout);
	return 0;
}
