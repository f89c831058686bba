/*
 * tokenfile: a token kept for the runs to come, so that its issuer is not asked each minute.
 *
 * It is the file token-NAME, NAME being the relay's, in the folder that systemd makes for the unit
 * (RuntimeDirectory=), or else in /run/maildrain. Both are in memory and empty after a boot. The
 * folder must be ours, with nobody else writing there, and the file is ours alone to read. Where
 * there is no such folder nothing is kept, which costs time and no mail.
 *
 * A KEY says what the token was got for: with another one it is not found.
 */
#ifndef MAILDRAIN_TOKENFILE_H
#define MAILDRAIN_TOKENFILE_H

#include <stdbool.h>
#include <stdint.h>

#include "token.h"

/* Whether a token is kept for relay NAME that expires after NOW; TOKEN gets it. */
bool tokenfile_load(const char *name, uint64_t key, int64_t now, struct token *token);

/* Keeps TOKEN in place of what there was; whether that was possible. */
bool tokenfile_save(const char *name, uint64_t key, const struct token *token);

/* What is kept for relay NAME is not to be used again. */
void tokenfile_drop(const char *name);

#endif
