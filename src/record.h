/*
 * record: turns the result of a message into its next state in the spool, and a line in the log.
 */
#ifndef MAILDRAIN_RECORD_H
#define MAILDRAIN_RECORD_H

#include <stddef.h>

#include "config.h"
#include "log.h"
#include "message.h"
#include "spool.h"

struct record {
	const struct config *config;
	struct spool *spool;
	struct log *log;
	size_t sent; /* messages, in this run */
	size_t deferred;
	size_t failed;
};

/*
 * A settled message: partial results are written into the file, then it is moved. RELAY is the
 * relay's name for the log. 0, or -1 with ERR when the spool could not take it; the message is then
 * where it was.
 */
int record_settled(
    struct record *record, struct message *message, const char *relay, struct error *err);

/* An untried message goes back to waiting, uncharged. */
int record_untried(struct record *record, struct message *message, struct error *err);

/* A message that can't be sent as a whole: to failed/ with STATUS; TEXT says why. */
enum spool_moved record_unsendable(struct record *record, const struct entry *entry,
    const char *status, const char *text, struct error *err);

/*
 * MESSAGE, claimed, was put back by a person or begins anew after its last attempt: its failed
 * recipients are to be served again, its status goes.
 */
int record_restart(struct record *record, struct message *message, struct error *err);

#endif
