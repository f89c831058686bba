/*
 * run: one drain of the spool: import, scan, claim, feed the relay, record.
 */
#ifndef MAILDRAIN_RUN_H
#define MAILDRAIN_RUN_H

#include <stdbool.h>

#include "config.h"
#include "log.h"

/*
 * Sends what is due. Returns the exit status: 0; EX_TEMPFAIL when no relay could be reached and
 * mail waits; EX_IOERR when the spool can't be read or written. All is said in the log.
 */
int run_spool(const struct config *config, struct log *log);

#endif
