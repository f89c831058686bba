/*
 * privilege: maildrain never works as root by choice.
 */
#ifndef MAILDRAIN_PRIVILEGE_H
#define MAILDRAIN_PRIVILEGE_H

#include <stdbool.h>

#include "error.h"
#include "spool.h"

/*
 * For root only, others stay as they are: becomes, for good, the user that PATH belongs to, so that
 * a run by hand leaves files as one by the timer does. HOME, USER and LOGNAME follow. A spool of
 * root's stays with root. 0 or -1 with ERR.
 */
int privilege_drop(const char *path, struct error *err);

/*
 * Adds to ERR, when it is about permissions and PATH belongs to somebody else, as whom to call
 * COMMAND.
 */
void privilege_advise(const char *path, const char *command, struct error *err);

/* Whom a new spool should belong to: the user maildrain, when root makes it and there is one. */
bool privilege_owner(struct spool_owner *owner);

#endif
