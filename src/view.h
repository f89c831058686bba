/*
 * view: a message as a person or a program looks at it, whatever its state, and as it stands.
 */
#ifndef MAILDRAIN_VIEW_H
#define MAILDRAIN_VIEW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "message.h"
#include "spool.h"
#include "survey.h"
#include "term.h"

struct view {
	const struct spool *spool; /* the caller's */
	enum spool_dir dir;
	enum survey_state state;
	int64_t now;		     /* epoch seconds, as the caller has it */
	enum message_loaded loaded;  /* what its file turned out to be, but MESSAGE_GONE */
	struct envelope_fault fault; /* why there is no envelope, unless MESSAGE_LOADED */
	struct message message;	     /* its name and, MESSAGE_LOADED, its envelope */
};

/* A view before its first use; it may be used for one message after the other. */
void view_init(struct view *view, const struct spool *spool);
void view_free(struct view *view);

/* Takes a look at NAME in DIR at NOW; false when it is gone, or no name of ours. */
bool view_open(struct view *view, enum spool_dir dir, const char *name, int64_t now);

/* Whether the file is a regular one that could be opened, so that its size is known. */
bool view_has_file(const struct view *view);

/* Whether it waits for an attempt, and whether its time has come. */
bool view_is_open(const struct view *view);
bool view_is_due(const struct view *view);

/* What has become of RECIPIENT: itself, or with the message as a whole. */
enum survey_state view_recipient(const struct view *view, const struct recipient *recipient);

/* Who holds the claim: the length of the host in entry.claim, and the process; 0 without one. */
size_t view_claim(const struct view *view, int64_t *pid);

/* The file's path, in BUF, which is returned. */
#define VIEW_PATH_MAX 4608
const char *view_path(const struct view *view, char buf[VIEW_PATH_MAX]);

enum term_colour view_colour(enum survey_state state);

#endif
