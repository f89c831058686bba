/*
 * alert: a failed unit in one sentence, for the person who is called. Pure.
 */
#ifndef MAILDRAIN_ALERT_H
#define MAILDRAIN_ALERT_H

#include <stddef.h>

#include "history.h"
#include "survey.h"

#define ALERT_TEXT_MAX 1024 /* bytes, with the final NUL */

struct alert {
	const char *unit; /* "maildrain.service" */
	const char *host;
	const char *result; /* systemd's word for how it ended, "exit-code" or "timeout"; or NULL */
	const char *status; /* its exit status, or the name of a signal; NULL: not known */
	const struct survey *survey;   /* NULL: the spool could not be read */
	const struct history *history; /* the same */
	const char *fault;	       /* why, then */
};

/* Writes the sentence to TEXT; what does not fit is cut. */
void alert_sentence(const struct alert *alert, char text[ALERT_TEXT_MAX]);

#endif
