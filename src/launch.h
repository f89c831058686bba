/*
 * launch: another program, run to its end, which comes within a limit of time.
 */
#ifndef MAILDRAIN_LAUNCH_H
#define MAILDRAIN_LAUNCH_H

#include <stdbool.h>
#include <stdint.h>

#include "error.h"

struct launch_limits {
	int64_t run;   /* milliseconds until it and its children get SIGTERM */
	int64_t grace; /* and from then on until SIGKILL */
};

struct launch_end {
	bool too_long; /* it was told to end */
	int status;    /* exit status; -1: a signal has ended it */
	int signal;    /* that one; 0: none */
	int64_t took;  /* milliseconds */
};

/*
 * Runs ARGV, of which the first is a path, with no shell between: in a process group of its own,
 * with ENVP, with nothing to read and our output. 0 when it has come to its end, whatever that is;
 * -1 with ERR when it can't be started, or does not even end by SIGKILL.
 */
int launch_run(char *const argv[], char *const envp[], const struct launch_limits *limits,
    struct launch_end *end, struct error *err);

#endif
