/*
 * find: a message by its id, the part of its name that stays the same, in whatever state it is.
 */
#ifndef MAILDRAIN_FIND_H
#define MAILDRAIN_FIND_H

#include "entry.h"
#include "error.h"
#include "spool.h"

struct found {
	enum spool_dir dir;
	char name[ENTRY_NAME_MAX + 1];
};

/*
 * Looks in new/, failed/ and cur/ for the message whose id is ID, or the only one whose id starts
 * so. A whole name will do as well. 0 with FOUND; -1 with ERR (EX_DATAERR) when there is none, or
 * when there are several: it names some of them.
 */
int find_message(const struct spool *spool, const char *id, struct found *found, struct error *err);

#endif
