/*
 * import: takes over what Django's stock file-based backend has written to the spool's root.
 *
 * Each whole record becomes a message in new/, byte for byte what Django made; what dump.h doubts
 * goes to failed/ as a message of its own with E=5.6.0 and is told. How far a dump is read is
 * recorded in its name after each record, so a crash between the two repeats that one record.
 *
 * A record that only the end of the file ends counts when nobody has written for
 * IMPORT_SETTLE_SECONDS. Django writes message and rule within microseconds, but the kernel shows a
 * long write piece by piece and dates it when it starts; a few seconds cost less than the minute
 * between two runs.
 *
 * A dump that has not grown for SPOOL_STALE_SECONDS is removed when all of it is imported, and goes
 * to failed/ when it ends in something that is no whole record. A writer that holds its connection
 * open and idle for longer than that writes to a file that is gone.
 */
#ifndef MAILDRAIN_IMPORT_H
#define MAILDRAIN_IMPORT_H

#include <stddef.h>
#include <stdint.h>

#include "claims.h"
#include "error.h"
#include "spool.h"

#define IMPORT_SETTLE_SECONDS 5
#define IMPORT_RECORDS_MAX    10000 /* of one run: what was imported before must get its turn too */

/* Called for what a person must look at: the dump's name, and a sentence without a full stop. */
typedef void import_note(void *context, const char *dump, const char *text);

struct import_counts {
	size_t imported; /* messages put into new/ */
	size_t failed;	 /* records and dumps put into failed/ */
};

/*
 * Imports what is whole now. Each dump is claimed, through CLAIMS, before the first of its messages
 * is taken, so that two runs on one spool never take the same. Without dumps this is one readdir of
 * the root. Dumps that are no plain files of one name, or that can't be read or renamed, are told
 * and left alone. Returns 0; or -1 with ERR when the spool fails: what COUNTS says is done all the
 * same, and a run may go on to send it.
 */
int import_dumps(struct spool *spool, const struct claims *claims, import_note *note, void *context,
    struct import_counts *counts, struct error *err);

#endif
