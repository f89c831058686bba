/*
 * submit: a message from standard input into the spool, as sendmail takes it.
 */
#ifndef MAILDRAIN_SUBMIT_H
#define MAILDRAIN_SUBMIT_H

#include <stdbool.h>

#include "config.h"
#include "error.h"

/* What the command line says. */
struct submit {
	bool dot_is_text;	/* a line with a single dot does not end the message */
	bool extract;		/* the header's recipients count too */
	const char *sender;	/* "" is the null sender; NULL: who calls */
	const char *full_name;	/* for a From that is missing; NULL: that of who calls */
	char *const *recipient; /* ends with NULL */
};

/*
 * Reads a message from standard input and queues it: its file and then its name in new/ are on the
 * disk when 0 is returned. On -1 nothing is queued; ERR has what to exit with, EX_TEMPFAIL where
 * it is worth to try the same again.
 *
 * SIGHUP, SIGINT and SIGTERM take effect while the message is read, and end the process with
 * nothing left in the spool; once it is read they wait until it is queued.
 */
int submit_message(const struct submit *submit, const struct config *config, struct error *err);

#endif
