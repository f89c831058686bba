/*
 * verify: would a run work? Config, spool, and a real session with each relay.
 */
#ifndef MAILDRAIN_VERIFY_H
#define MAILDRAIN_VERIFY_H

#include "config.h"

/* Tells on stdout what it finds. Returns the exit status of the first thing that is wrong. */
int verify_all(const struct config *config);

#endif
