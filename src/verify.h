/*
 * verify: would a run work? Config, spool, and a real session with each relay.
 */
#ifndef MAILDRAIN_VERIFY_H
#define MAILDRAIN_VERIFY_H

#include "config.h"

/*
 * Tells on stdout what it finds, and what to do about what is wrong. Returns the exit status of the
 * first thing that is.
 */
int verify_all(const struct config *config);

#endif
