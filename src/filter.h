/*
 * filter: which messages a person means. Pure.
 *
 * All that is asked must hold. What the name of a message tells is asked by itself, so that no file
 * is opened of which the name says no.
 */
#ifndef MAILDRAIN_FILTER_H
#define MAILDRAIN_FILTER_H

#include <stdbool.h>
#include <stdint.h>

#include "entry.h"
#include "envelope.h"

/* Texts are the caller's; NULL asks nothing. */
struct filter {
	bool failed; /* the failed ones; with deferred too, or with neither, those of both kinds */
	bool deferred;
	const char *status;    /* the start of the code in E: "4", "5.1" or "5.1.1" */
	const char *sender;    /* a pattern of fnmatch(3) in either case; "<>": the null sender */
	const char *recipient; /* the same, for one of those who do not have the message */
	const char *relay;     /* the relay that the block asks for */
	int64_t older_than;    /* of this age or more, in seconds; -1 asks nothing */
	int64_t newer_than;    /* below this age */
};

#define FILTER_ALL                                                                                 \
	{                                                                                          \
		.older_than = -1, .newer_than = -1                                                 \
	}

/* Whether TEXT can be the status of a filter: one to three numbers, the first of them 4 or 5. */
bool filter_status_is_valid(const char *text);

/* Whether anything is asked at all; or of the age; or of what only the file tells. */
bool filter_asks(const struct filter *filter);
bool filter_asks_age(const struct filter *filter);
bool filter_asks_envelope(const struct filter *filter);

/* Whether ENTRY's name is that of a message that is meant. FAILED: it is failed, else deferred. */
bool filter_matches_entry(const struct filter *filter, const struct entry *entry, bool failed);

/* Whether one that is from SINCE is, at NOW; both in epoch seconds. */
bool filter_matches_age(const struct filter *filter, int64_t since, int64_t now);

bool filter_matches_envelope(const struct filter *filter, const struct envelope *envelope);

#endif
