/*
 * record: turns the result of a message into its next state in the spool, and a line in the log.
 */
#ifndef MAILDRAIN_RECORD_H
#define MAILDRAIN_RECORD_H

#include <stdbool.h>
#include <stddef.h>

#include "config.h"
#include "log.h"
#include "message.h"
#include "spool.h"

/*
 * The status of who was not served, because the spool could not take who was: the file of such a
 * message still asks for all of them.
 */
#define RECORD_UNRECORDED "5.3.0"

struct record {
	const struct config *config;
	struct spool *spool;
	struct log *log;
	size_t sent; /* messages, in this run */
	size_t deferred;
	size_t failed;
	size_t to_tell; /* of the failed and deferred ones, those that somebody is to be told of */
	bool unwritten; /* a partial result could not be written into its file */
	size_t unmoved; /* of the sent ones, those that wait in new/ for their move to cur/ */
};

/*
 * Sets room aside for the partial result that MESSAGE, loaded, may have: once some of its
 * recipients are served, that must not fail for lack of it. 0, or -1 with ERR. record_unreserve
 * gives it back.
 */
int record_reserve(struct record *record, struct message *message, struct error *err);
void record_unreserve(struct record *record, struct message *message);

/*
 * Some recipients of MESSAGE have their results, by RELAY, a name for the log (NULL: none): they
 * are logged, and written into the file where its name won't say as much. False when it is gone
 * from new/; should the file not take them nobody else is served, so as not to serve anybody twice.
 */
bool record_batch(struct record *record, struct message *message, const char *relay);

/*
 * Nobody more is served in this attempt at MESSAGE: moves it to the state that follows from those
 * of its recipients. One that was not tried at all goes back to waiting, uncharged; if it is held
 * it need not be claimed. 0, or -1 with ERR when the spool could not take it; it is then where it
 * was.
 */
int record_settled(struct record *record, struct message *message, struct error *err);

/*
 * A message of an earlier run that is sent and was not moved to cur/: moves it. 0, also when that
 * does still not work; or -1 with ERR.
 */
int record_moved(struct record *record, const struct entry *entry, struct error *err);

/* A message that was in hand is gone from new/: says so. */
void record_vanished(struct record *record, const struct entry *entry);

/* A message that can't be sent as a whole: to failed/ with STATUS; TEXT says why. */
enum spool_moved record_unsendable(struct record *record, const struct entry *entry,
    const char *status, const char *text, struct error *err);

/*
 * MESSAGE, claimed, was put back by a person or begins anew after its last attempt: its status
 * goes, and its file says, where message->anew, that those who had failed are to be served again.
 */
int record_restart(struct record *record, struct message *message, struct error *err);

#endif
