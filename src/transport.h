/*
 * transport: what the run knows of a way to hand mail over. SMTP is the first kind.
 *
 *	open
 *	while there is mail or mail under way:
 *		while ready and mail: submit
 *		wait
 *		for each result: record it
 *	finish, and record what it still brings
 *	close
 *
 * A transport works in one thread and keeps as many messages under way as its protocol and the
 * relay's "connections" allow. Every message submitted comes back exactly once from result, at the
 * latest after finish; what it was not able to try comes back MESSAGE_UNTRIED.
 *
 * A kind is a loadable module NAME.so in the directory of modules, exporting one struct
 * transport_kind as "transport_kind", so that a run without mail does not start its libraries.
 */
#ifndef MAILDRAIN_TRANSPORT_H
#define MAILDRAIN_TRANSPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "config.h"
#include "error.h"
#include "message.h"

struct transport;

enum transport_state {
	TRANSPORT_OPENING, /* no session is open yet, some are on their way */
	TRANSPORT_UP,	   /* it takes messages, or will again */
	TRANSPORT_DOWN,	   /* the relay can't be reached or lets no session last: try it next run */
	TRANSPORT_MISCONFIGURED /* it refuses who we are: a person must look */
};

struct transport_kind {
	/* MAILDRAIN_VERSION: an upgrade may put a new module beside a program that runs. */
	const char *made_for;

	/* Of this module and the libraries it stands on, "libcurl/8.14.1 …". */
	const char *(*version)(void);

	/* Connects to nobody yet; RELAY outlives the transport. NULL with ERR. */
	struct transport *(*open)(const struct relay_config *relay, struct error *err);

	/*
	 * Whether submit may be called; it takes over MESSAGE, loaded, until result gives it back.
	 * If not, it sees to it that there are sessions for the WAITING messages, or will be.
	 */
	bool (*ready)(struct transport *transport, size_t waiting);
	void (*submit)(struct transport *transport, struct message *message);

	/*
	 * MESSAGE, submitted and not given back yet, must not be completed: another run has it now.
	 * It comes back all the same; what it says means nothing.
	 */
	void (*withdraw)(struct transport *transport, struct message *message);

	/* Moves bytes, for TIMEOUT_MS at most; returns as soon as there is something to do. */
	void (*wait)(struct transport *transport, int timeout_ms);
	struct message *(*result)(struct transport *transport);

	/* WHY gets a sentence for a person when it is down or misconfigured. */
	enum transport_state (*state)(struct transport *transport, const char **why);

	/* Says goodbye to the peer, then forgets it all; messages under way come back first. */
	void (*finish)(struct transport *transport);
	void (*close)(struct transport *transport);

	/*
	 * A session up to AUTH and back; tells OUT what the relay offers. 0, or -1 with ERR: a line
	 * on what is wrong and, where there is something to say, lines on what to do.
	 */
	int (*probe)(const struct relay_config *relay, FILE *out, struct error *err);
};

/* Loads the kind that serves RELAY; NULL with ERR. It stays loaded. */
const struct transport_kind *transport_load(const struct relay_config *relay, struct error *err);

/* The version line of the SMTP kind, or a word on why it can't be loaded. */
const char *transport_version(void);

#endif
