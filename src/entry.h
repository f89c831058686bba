/*
 * entry: the name of a spool file, which is the queue record. Pure.
 *
 *	NAME := UNIQUE *( "," KEY "=" VALUE ) [ ":2," FLAGS ]
 *
 * A struct entry is a parsed view of a name: it points into the caller's string and owns nothing.
 * A change of state is: parse, change fields, entry_format, one rename(2).
 *
 * Fields that are unknown or whose value does not parse mean nothing and are kept. Of several
 * values of one key that parse none means anything; they are kept until entry_format has a value
 * to write for that key, which takes their place. (Kept beside it they would make it mean nothing
 * too, and a message would be claimed and never counted.)
 */
#ifndef MAILDRAIN_ENTRY_H
#define MAILDRAIN_ENTRY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ENTRY_NAME_MAX	       255 /* bytes, without the final NUL: NAME_MAX of Linux file systems */
#define ENTRY_PRIORITY_DEFAULT 5
#define ENTRY_ATTEMPTS_MAX     999999 /* a larger A= does not parse */

struct entry {
	const char *name;  /* the whole name, NUL-terminated; the caller's */
	size_t unique_len; /* UNIQUE is name[0..unique_len) */
	unsigned attempts; /* A; 0 when absent */
	int64_t warned;	   /* D, epoch seconds: a warning of its delay was decided; 0 when absent */
	int64_t notify;	   /* N, epoch seconds: of what happened then somebody is still to be told;
			      0 when absent */
	unsigned priority; /* P, 0 (first) to 9 (last); ENTRY_PRIORITY_DEFAULT when absent */
	int64_t offset;	   /* O, of a dump: bytes that are imported; 0 when absent */
	int64_t not_before; /* T, epoch seconds; 0 when absent */
	int64_t expires;    /* X, epoch seconds; 0 when absent: never */
	const char *claim;  /* C, HOST-PID; not NUL-terminated; NULL when absent */
	size_t claim_len;
	char status[12];   /* E, an RFC 3463 code; "" when absent */
	const char *flags; /* what follows ":2,", up to the final NUL; NULL when absent */
};

/*
 * Parses NAME, which must outlive ENTRY. False, with ENTRY unusable, when it is no name of ours:
 * empty UNIQUE, a leading dot, "/" or a control character, or longer than ENTRY_NAME_MAX.
 * Text behind a ":" that does not start with "2," is kept with the flags' NULL (a foreign info
 * part, dropped by entry_format only when flags are set).
 */
bool entry_parse(const char *name, struct entry *entry);

/*
 * Writes the name that ENTRY's fields now make: UNIQUE, then all fields in alphabetical order of
 * their keys (unknown ones of entry->name among them, in their own order when keys are equal),
 * then the info part. Fields with their "absent" value are left out; P is also left out when it
 * is the default. BUF may not overlap entry->name. Returns the length, or -1 when the name would
 * be longer than ENTRY_NAME_MAX or does not fit in SIZE.
 */
int entry_format(const struct entry *entry, char *buf, size_t size);

/*
 * The order of service: priority, then fresh (no attempt yet) before retried, then UNIQUE.
 * As strcmp: negative when A goes first.
 */
int entry_compare(const struct entry *a, const struct entry *b);

/* The epoch seconds that UNIQUE starts with when maildrain or its backend made it; -1 otherwise. */
int64_t entry_birth(const struct entry *entry);

/* Whether the claim of ENTRY names HOST; *PID gets its process. False without a claim. */
bool entry_claimed_by_host(const struct entry *entry, const char *host, long *pid);

/* Whether TEXT can be the value of E: RFC 3463 section 2, class "." subject "." detail. */
bool entry_is_status(const char *text, size_t len);

/* Whether E is set and its class is '2', '4' or '5', as CLASS asks. */
bool entry_has_class(const struct entry *entry, char class);

#endif
