/*
 * transport: what the run knows of a way to hand mail over. SMTP is the first kind.
 *
 *	open
 *	while there is mail or mail under way:
 *		while ready and mail: submit
 *		prepare, one poll(2) for all transports, work
 *		for each result: record it
 *	finish, and record what it still brings
 *	close
 *
 * All transports of a run work in one thread, so none of them ever blocks but in finish and probe.
 * Each keeps as many messages under way as its protocol and the relay's "connections" allow. Every
 * message submitted comes back exactly once from result, at the latest after finish; what it was
 * not able to try comes back MESSAGE_UNTRIED.
 *
 * A relay that asks for less mail, in answer to a message or with none under way, is heard by
 * slow_down of the next message that comes back, tried or not. To be told that there may be fewer
 * connections is no such wish: the transport goes on with those that it gets.
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
#include "waits.h"

struct credential;
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

	/*
	 * Connects to nobody yet. RELAY and CREDENTIAL outlive the transport; what CREDENTIAL holds
	 * may be renewed. NULL with ERR.
	 */
	struct transport *(*open)(const struct relay_config *relay,
	    const struct credential *credential, struct error *err);

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

	/* Moves what can be moved, and says in WAITS what it waits for: nothing if there is a
	 * result. */
	void (*prepare)(struct transport *transport, struct waits *waits);

	/* Goes on with what has come, after the wait. */
	void (*work)(struct transport *transport, const struct waits *waits);

	/* The next message that is through; NULL: none. */
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
	int (*probe)(const struct relay_config *relay, const struct credential *credential,
	    FILE *out, struct error *err);
};

/* Kinds that need no library are no modules. */
extern const struct transport_kind transport_command, transport_maildir;

/* Loads the kind that serves RELAY; NULL with ERR. It stays loaded. */
const struct transport_kind *transport_load(const struct relay_config *relay, struct error *err);

/* The version line of the SMTP kind, or a word on why it can't be loaded. */
const char *transport_version(void);

#endif
