/*
 * child: another program under way, which nobody waits for in here.
 *
 *	child_start
 *	while not child_ended:
 *		child_prepare, poll(2) with whatever else there is, child_work
 *	child_text
 *	child_close
 *
 * There is no shell between. The program has a process group of its own, nothing open but its
 * standard input, output and error, and signals as a program expects to find them. It is always
 * waited for, so none is left behind as a zombie.
 *
 * Its input is a descriptor that holds all of it before the program starts, not a pipe that is fed:
 * should we die, a pipe would end, and a program that sends mail would take what it has got for the
 * whole message.
 */
#ifndef MAILDRAIN_CHILD_H
#define MAILDRAIN_CHILD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "error.h"
#include "waits.h"

struct child;

enum child_stream { CHILD_OUT, CHILD_ERR };

#define CHILD_STREAMS 2

struct child_limits {
	int64_t run_ms;	  /* until its process group gets SIGTERM */
	int64_t grace_ms; /* from then on until SIGKILL */
};

struct child_plan {
	char *const *argv; /* ends with NULL; the first is a path */
	char *const *envp; /* the whole of its environment: see child_environment */
	int input;	   /* a descriptor, which stays the caller's; -1: it has nothing to read */

	/*
	 * How many bytes of each stream are kept; what comes behind them is read and dropped. With
	 * SHARED it writes to our own output and error instead, and nothing is kept.
	 */
	size_t keep[CHILD_STREAMS];
	bool shared;

	struct child_limits limits;
};

struct child_end {
	bool too_long; /* its time was over, and it was told to end */
	int status;    /* exit status; -1: a signal has ended it, or nothing does */
	int signal;    /* that one; 0: none */
	int64_t took;  /* milliseconds */
};

/*
 * What PLAN points to is needed in here only, but for input, which must stay open to the end. NULL
 * with ERR: EX_UNAVAILABLE when this program can't be started, EX_OSERR when none can.
 */
struct child *child_start(const struct child_plan *plan, struct error *err);

/* Adds what it waits for. */
void child_prepare(struct child *child, struct waits *waits);

/* After the poll: takes what it says, and ends it when it is time. */
void child_work(struct child *child, const struct waits *waits);

/* Has it end now as if its time were over, but without END.too_long. */
void child_stop(struct child *child);

/*
 * Whether it has ended: END says how. What it has left running in the background goes on, unless it
 * was told to end. One that not even SIGKILL ends counts as ended, without status or signal.
 */
bool child_ended(const struct child *child, struct child_end *end);

/* What is kept of STREAM so far, ended by a NUL that LEN does not count. It is the child's. */
const char *child_text(const struct child *child, enum child_stream stream, size_t *len);

/* Whether STREAM had more than was to be kept. */
bool child_text_cut(const struct child *child, enum child_stream stream);

/* Kills it if it still runs. What was kept of its output is cleared in memory. NULL is no child. */
void child_close(struct child *child);

/*
 * An environment in which secrets have no place: PATH, LANG, HOME and USER as they are here, and
 * the words of MORE, "NAME=value", which ends with NULL or is NULL. To be freed, the array alone;
 * the words are not copied. NULL without memory.
 */
char **child_environment(char *const more[]);

#endif
