#include "view.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void view_init(struct view *view, const struct spool *spool)
{
	*view = (struct view){.spool = spool};
	message_init(&view->message);
}

void view_free(struct view *view)
{
	message_free(&view->message);
}

bool view_open(struct view *view, enum spool_dir dir, const char *name, int64_t now)
{
	struct message *message = &view->message;
	struct entry entry;

	if (!entry_parse(name, &entry))
		return false;
	view->dir = dir;
	view->now = now;
	view->state = survey_state_of(&entry, dir, now);
	view->loaded = message_open(message, view->spool->dir[dir], name, &view->fault);
	return view->loaded != MESSAGE_GONE;
}

bool view_has_file(const struct view *view)
{
	return view->loaded == MESSAGE_LOADED || view->loaded == MESSAGE_INVALID;
}

bool view_is_open(const struct view *view)
{
	return view->state == SURVEY_WAITING || view->state == SURVEY_DEFERRED;
}

bool view_is_due(const struct view *view)
{
	return view_is_open(view) && view->message.entry.not_before <= view->now;
}

enum survey_state view_recipient(const struct view *view, const struct recipient *recipient)
{
	if (recipient->state == RECIPIENT_DONE)
		return SURVEY_SENT;
	if (recipient->state == RECIPIENT_FAILED)
		return SURVEY_FAILED;
	return view->state;
}

size_t view_claim(const struct view *view, int64_t *pid)
{
	const struct entry *entry = &view->message.entry;
	const char *dash;

	if (entry->claim == NULL)
		return 0;
	/* The number ends where the field does, at a comma, a colon or the end of the name. */
	dash = memrchr(entry->claim, '-', entry->claim_len);
	*pid = strtoll(dash + 1, NULL, 10);
	return (size_t)(dash - entry->claim);
}

const char *view_path(const struct view *view, char buf[VIEW_PATH_MAX])
{
	(void)snprintf(buf, VIEW_PATH_MAX, "%s/%s/%s", view->spool->path, spool_dir_name(view->dir),
	    view->message.name);
	return buf;
}

enum term_colour view_colour(enum survey_state state)
{
	static const enum term_colour colours[SURVEY_STATES] = {
	    [SURVEY_WAITING] = TERM_PLAIN,
	    [SURVEY_IN_FLIGHT] = TERM_CYAN,
	    [SURVEY_DEFERRED] = TERM_YELLOW,
	    [SURVEY_FAILED] = TERM_RED,
	    [SURVEY_SENT] = TERM_GREEN,
	};

	return colours[state];
}
