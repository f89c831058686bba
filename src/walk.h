/*
 * walk: every message of the spool, in the order of service, in bounded memory.
 *
 * The first names that a queue can keep are visited; when there are more, the directory is read
 * again for those behind the last of them. A message that changes its place in the order in
 * between, as each attempt makes it do, may be seen twice or not at all.
 */
#ifndef MAILDRAIN_WALK_H
#define MAILDRAIN_WALK_H

#include <stdint.h>

#include "error.h"
#include "spool.h"
#include "survey.h"
#include "view.h"

/* A set of states. */
#define WALK_STATE(state) (1u << (state))
#define WALK_ALL	  (WALK_STATE(SURVEY_STATES) - 1)
#define WALK_UNSENT	  (WALK_ALL & ~WALK_STATE(SURVEY_SENT))

/*
 * Calls VISIT with each message that is in one of STATES at NOW: those of new/, then failed/, then
 * cur/. 0, or -1 with ERR when a directory can't be read or VISIT has returned -1.
 */
typedef int walk_visit(void *context, struct view *view);
int walk_messages(const struct spool *spool, unsigned states, int64_t now, walk_visit *visit,
    void *context, struct error *err);

/* Calls VISIT with the names of these, unordered, as spool_each does; no file is opened. */
int walk_names(const struct spool *spool, unsigned states, int64_t now, spool_visit *visit,
    void *context, struct error *err);

#endif
