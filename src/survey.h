/*
 * survey: what is in the spool, counted by state. It goes by the names and looks into no file.
 */
#ifndef MAILDRAIN_SURVEY_H
#define MAILDRAIN_SURVEY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "entry.h"
#include "error.h"
#include "spool.h"

enum survey_state {
	SURVEY_WAITING,
	SURVEY_IN_FLIGHT,
	SURVEY_DEFERRED,
	SURVEY_FAILED,
	SURVEY_SENT,
	SURVEY_STATES
};

/* What deferred mail met with: the subjects 0 to 7 of RFC 3463, and all else. */
#define SURVEY_SUBJECTS 9
#define SURVEY_OTHER	8

struct survey_tally {
	size_t count;
	int64_t oldest; /* epoch seconds; INT64_MAX: of none is it known */
};

struct survey {
	int64_t now; /* epoch seconds */
	struct survey_tally state[SURVEY_STATES];
	struct survey_tally due; /* of those waiting and deferred, whose time has come */
	int64_t due_since;	 /* of these, when the first became due; INT64_MAX: not known */
	int64_t next;		 /* the earliest T in the future; INT64_MAX: there is none */
	size_t deferred[SURVEY_SUBJECTS]; /* those deferred, by the subject of their status */
};

/* The state of ENTRY, which stands in DIR, at NOW. */
enum survey_state survey_state_of(const struct entry *entry, enum spool_dir dir, int64_t now);

/* For people: "in flight". */
const char *survey_state_name(enum survey_state state);

/* For programs: "in_flight". */
const char *survey_state_key(enum survey_state state);

/* The state that WORD names, "in flight", "in-flight" or "in_flight"; false: none. */
bool survey_state_parse(const char *word, enum survey_state *state);

/* "4.0" to "4.7", and "other" for SURVEY_OTHER. */
const char *survey_subject(int subject);

/* How long the message that waits longest for its attempt has been due; 0 when none is. */
int64_t survey_due_age(const struct survey *survey);

/* Counts everything in new/, failed/ and cur/ as of now. 0, or -1 with ERR. */
int survey_take(const struct spool *spool, struct survey *survey, struct error *err);

#endif
