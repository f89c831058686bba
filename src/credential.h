/*
 * credential: what a relay is to be shown so that it takes our mail: a password, or a token of
 * OAuth 2. It stands in the config, or a program prints it, which takes its time.
 *
 *	credential_begin
 *	while credential_state is CREDENTIAL_WORKING:
 *		credential_prepare, poll(2) with whatever else there is, credential_work
 *	use it; where the relay refuses it, credential_renew, and if that is true once more from
 *"while" credential_free
 *
 * A token that says when it expires is kept for the runs to come, see tokenfile.h, and used until a
 * minute before. Nothing of it is written anywhere else, and what stands in memory is cleared.
 */
#ifndef MAILDRAIN_CREDENTIAL_H
#define MAILDRAIN_CREDENTIAL_H

#include <stdbool.h>
#include <stdint.h>

#include "config.h"
#include "error.h"
#include "token.h"
#include "waits.h"

#define CREDENTIAL_WHY_MAX 512

enum credential_state {
	CREDENTIAL_WORKING, /* a program is at work */
	CREDENTIAL_READY,
	CREDENTIAL_FAILED /* its program gives none: for this run the relay is down */
};

struct credential {
	/* NULL for what there is not. While it is renewed they are what they were. */
	const char *user;
	const char *password;
	const char *token;	   /* of OAuth 2 */
	const char *session_token; /* of AWS */
	int64_t expires;	   /* the token does; epoch seconds, 0: not known */

	/* credential.c's own */
	const struct relay_config *relay;
	enum credential_state state;
	struct child *child;
	char *printed;	      /* the password, where a program has printed it */
	struct token fetched; /* the token */
	bool kept;	      /* by a run before this one */
	unsigned renewed;     /* how often */
	int64_t asked_ms;     /* monotonic, when the program was started last */
	int64_t asked;	      /* the same in epoch seconds */
	char why[CREDENTIAL_WHY_MAX];
};

/* Starts getting what RELAY wants. RELAY outlives CREDENTIAL, which need not be initialized. */
void credential_begin(struct credential *credential, const struct relay_config *relay);

/* Adds what it waits for. */
void credential_prepare(struct credential *credential, struct waits *waits);

/* Goes on after the wait. */
void credential_work(struct credential *credential, const struct waits *waits);

enum credential_state credential_state(const struct credential *credential);

/*
 * The relay has refused it. True when another is being got: the token was not asked for just now,
 * so it may have expired or been revoked. False when a person must look.
 */
bool credential_renew(struct credential *credential);

/* Begins and waits to the end, for who has nothing else to do. 0, or -1 with ERR (EX_TEMPFAIL): a
 * line on what is wrong, and lines on what to do. CREDENTIAL is to be freed in any case. */
int credential_get(
    struct credential *credential, const struct relay_config *relay, struct error *err);

/* What is wrong once it has failed, for a person; and what to do, a line or two. */
const char *credential_why(const struct credential *credential);
const char *credential_advice(const struct credential *credential);

/* Ends the program if it still runs, clears and frees what it has. */
void credential_free(struct credential *credential);

#endif
