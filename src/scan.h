/*
 * scan: what is due in new/. Reads the names, ends claims that are over and fails what has expired.
 */
#ifndef MAILDRAIN_SCAN_H
#define MAILDRAIN_SCAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "claims.h"
#include "queue.h"
#include "record.h"
#include "trouble.h"

struct scan {
	struct record *record;	 /* with the config and the spool; the caller's */
	struct trouble *trouble; /* the caller's */
	struct claims *claims;	 /* the caller's */
	struct queue queue;	 /* the names that are due */
	/* Whether ENTRY, due, need not be in the queue this time; NULL: all are to be. */
	bool (*is_known)(void *context, const struct entry *entry);
	void *context;
	bool left_out; /* there were such */
	bool again;    /* this is not the first time in this run */
	int64_t now;   /* of the present scan, epoch seconds */
};

/* What can be said against NAME without a look at its file (TYPE is dirent's); NULL: nothing. */
const char *scan_foreign(const char *name, unsigned char type);

/* Reads new/ afresh into the queue. */
void scan_read(struct scan *scan);

/* Leaves the queue with a message in front, or empty: what is none is reported. */
void scan_skip_foreign(struct scan *scan);

/*
 * Whether ENTRY's file, which has several hard links, is a message whose result a power cut has
 * left without the end of its name in new/; that name is then gone.
 */
bool scan_is_settled(struct scan *scan, const struct entry *entry);

/* Whether it is time for ENTRY at NOW, with the attempts of RETRY. */
bool scan_is_due(const struct retry *retry, const struct entry *entry, int64_t now);

/* Whether ENTRY's message may no more be sent. */
bool scan_has_expired(const struct entry *entry);

/* Whether ENTRY has an attempt left before it is given up. */
bool scan_has_attempts(const struct scan *scan, const struct entry *entry);

/* ENTRY's message can't be sent: to failed/ with STATUS; TEXT says why. */
void scan_give_up(
    struct scan *scan, const struct entry *entry, const char *status, const char *text);

#endif
