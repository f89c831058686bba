/*
 * state: what outlives a run and is no message: totals, the hour's notifications, how relays are.
 *
 * Each record is an empty file in the spool's state/, and its name is all of it:
 *
 *	NAME *( "," KEY "=" NUMBER )
 *
 * with keys A to Z in their order, those that are 0 left out. A change is one rename from the name
 * that was read, so of two runs that change one record at the same time one finds it gone, and
 * reads it again. In a shared spool W is the process that wrote it last, as a number made of its
 * host and pid, and no key for others. Changes are not synced: a power cut may take back the last
 * of them.
 */
#ifndef MAILDRAIN_STATE_H
#define MAILDRAIN_STATE_H

#include <stdint.h>

#include "entry.h"
#include "error.h"
#include "spool.h"

#define STATE_KEYS     26
#define STATE_NAME_MAX 64

struct state {
	char name[STATE_NAME_MAX + 1];
	int64_t value[STATE_KEYS];     /* of A to Z, none negative */
	char file[ENTRY_NAME_MAX + 1]; /* as it was read; "" when there was none */
};

/* The value of KEY, which may be changed. */
int64_t *state_value(struct state *state, char key);

/*
 * Reads the record NAME, which has no comma; all is 0 where there is none. 0, or -1 with ERR.
 */
int state_load(const struct spool *spool, const char *name, struct state *state, struct error *err);

/* Reads the record NAME, has CHANGE change it, and writes it if that made a difference. 0 or -1. */
typedef void state_change(struct state *state, void *context);
int state_update(
    struct spool *spool, const char *name, state_change *change, void *context, struct error *err);

#endif
