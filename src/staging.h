/*
 * staging: mail of a site under development must not reach real people. Pure.
 *
 * allow_recipients lets out what is for listed addresses and holds the rest; redirect_to sends to
 * one address what would go out. Where both are given, what is not allowed is held, and the others'
 * mail goes there.
 */
#ifndef MAILDRAIN_STAGING_H
#define MAILDRAIN_STAGING_H

#include <stddef.h>

#include "config.h"
#include "envelope.h"
#include "message.h"

#define STAGING_HELD_STATUS "4.7.1"

/*
 * Passes over each recipient still to be served that CONFIG does not let out: it becomes
 * RECIPIENT_LATER, held. Returns how many are held now.
 */
size_t staging_hold(struct envelope *envelope, const struct config *config);

/*
 * What is to be served goes to ADDRESS instead, with those for whom it was in X-Original-To fields
 * in front of its header. MESSAGE is loaded and not read yet. 0, or -1 without memory, with nothing
 * changed.
 */
int staging_redirect(struct message *message, const char *address);

/* After its result, whatever that is, and before it is recorded: it is that of each of those. */
void staging_restore(struct message *message);

/*
 * Those fields, one for each recipient still to be served, each line with its LF; and when not all
 * have room in TEXT of SIZE bytes, STAGING_REST or more, an X-Original-To-More field that counts
 * the others. An address that is no ASCII is written as in a mailto: URL, RFC 6068 section 2.
 * Returns the length.
 */
#define STAGING_REST 64
size_t staging_fields(const struct envelope *envelope, char *text, size_t size);

#endif
