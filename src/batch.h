/*
 * batch: which recipients of a message are served together, and by which relay.
 *
 * One transaction serves those of one route, as many as the relay takes at a time. The others stand
 * as RECIPIENT_LATER until it is their turn.
 */
#ifndef MAILDRAIN_BATCH_H
#define MAILDRAIN_BATCH_H

#include <stdbool.h>
#include <stddef.h>

#include "config.h"
#include "lane.h"
#include "message.h"

enum batch_next {
	BATCH_SEND,	 /* those in RECIPIENT_TODO, by RELAY */
	BATCH_TOO_LARGE, /* those in RECIPIENT_TODO can't be served: it is too large for each relay
			  */
	BATCH_NOBODY	 /* nobody can be served now */
};

struct batch {
	size_t relay;  /* as it is counted in the config */
	bool stranded; /* there is somebody whose relays are all of no use */
};

/*
 * The next batch of MESSAGE, which is loaded or rewound. LANE[] stand as the relays of CONFIG; HINT
 * is the one that it was found to be for before, or SIZE_MAX. Whom the config keeps from being
 * served is marked as held, and why is in the message.
 */
enum batch_next batch_find(const struct config *config, struct lane *lane, struct message *message,
    size_t hint, struct batch *batch);

/* Whether anybody is left to be served after the present batch. */
bool batch_has_more(const struct message *message);

#endif
