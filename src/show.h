/*
 * show: all there is to tell of one message.
 */
#ifndef MAILDRAIN_SHOW_H
#define MAILDRAIN_SHOW_H

#include <stdbool.h>

#include "config.h"
#include "error.h"
#include "spool.h"

/*
 * Shows the message that find_message finds for ID on stdout: its state, envelope and header, and
 * with BODY the rest of the file, as it is unless stdout is a terminal. CONFIG is the one that
 * names SPOOL. 0, or -1 with ERR.
 */
int show_message(const struct spool *spool, const struct config *config, const char *id, bool body,
    struct error *err);

/* The same as a JSON object. */
int show_json(const struct spool *spool, const char *id, bool body, struct error *err);

#endif
