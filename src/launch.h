/*
 * launch: another program, run to its end, which comes within a limit of time.
 */
#ifndef MAILDRAIN_LAUNCH_H
#define MAILDRAIN_LAUNCH_H

#include "child.h"
#include "error.h"

/*
 * Runs ARGV, of which the first is a path, with no shell between: in a process group of its own,
 * with ENVP, with nothing to read and our output. 0 when it has come to its end, whatever that is;
 * -1 with ERR when it can't be started, or does not even end by SIGKILL.
 */
int launch_run(char *const argv[], char *const envp[], const struct child_limits *limits,
    struct child_end *end, struct error *err);

#endif
