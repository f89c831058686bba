/*
 * trouble: what goes wrong in a run and is no message's result. It is said once, and remembered.
 *
 * One file's trouble is that file's: it is left alone for the rest of the run. The spool's trouble
 * ends the run, as far as claiming goes.
 */
#ifndef MAILDRAIN_TROUBLE_H
#define MAILDRAIN_TROUBLE_H

#include <stdbool.h>
#include <stddef.h>

#include "error.h"
#include "log.h"
#include "skip.h"
#include "spool.h"

struct trouble {
	struct log *log;
	struct skip skip; /* files that are left alone */
	size_t reports;	  /* about them */
	int status;	  /* the exit status that it asks for, 0 for none */
	bool stop;	  /* claim no more */
	struct error err; /* for calls that fail, on their way to one of these functions */
};

void trouble_init(struct trouble *trouble, struct log *log);
void trouble_free(struct trouble *trouble);

/* NAME is nothing to send, because WHY: reported at its first time in this run. */
void trouble_file(struct trouble *trouble, const char *name, const char *why);

/* The same for a file that could not be read, which asks for an exit status too. */
void trouble_fault(struct trouble *trouble, const char *name, const char *why);

/* A change of state that NAME did not take, with err set when MOVED is SPOOL_ERROR. */
void trouble_move(struct trouble *trouble, const char *name, enum spool_moved moved);

/* What err says is said, and asked for as the exit status; the run may go on. */
void trouble_note(struct trouble *trouble);

/* The same, and the run may claim no more: the spool can't be read or written. */
void trouble_stop(struct trouble *trouble);

/* Says how many reports were left out, at the end. */
void trouble_summary(const struct trouble *trouble);

#endif
