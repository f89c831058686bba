/*
 * delivery: one message in the hands of a run: from its file to a claim, to its relay, and from the
 * results to the next state.
 *
 *	delivery_get, delivery_look_into
 *	batch_find, and once there is room: delivery_start
 *	delivery_take_results
 *
 * Whatever becomes of a message, in the end it is put back among those that are unused.
 */
#ifndef MAILDRAIN_DELIVERY_H
#define MAILDRAIN_DELIVERY_H

#include <stdbool.h>
#include <stddef.h>

#include "account.h"
#include "claims.h"
#include "config.h"
#include "lane.h"
#include "log.h"
#include "message.h"
#include "record.h"
#include "scan.h"
#include "spool.h"
#include "trouble.h"

struct delivery {
	const struct config *config;
	struct spool *spool;
	struct log *log;
	struct record *record;
	struct account *account;
	struct trouble *trouble;
	struct claims *claims;
	struct scan *scan;
	struct lane *lane;	/* one for each relay of the config, in its order */
	struct message *unused; /* a list */
	size_t untried;		/* messages that came back untried */
	bool lane_lost;		/* one is out, or over its limits: what was to go there has to find
				   its way again */
	bool stranded;		/* there is mail due whose relays are all of no use */
	bool stopped;		/* somebody wants the run to end: claim no more */
};

bool delivery_may_claim(const struct delivery *delivery);

/* A message for use; NULL without memory, which ends the run. */
struct message *delivery_get(struct delivery *delivery);

/* MESSAGE is of no more use. */
void delivery_put(struct delivery *delivery, struct message *message);

/* Reads NAME, and knows then who is to be served; false when it is not to be sent, and all is said.
 */
bool delivery_look_into(struct delivery *delivery, struct message *message, const char *name);

/* As lane_ready and lane_admit; what goes wrong is the lane's end, and is said. */
bool delivery_ready(struct delivery *delivery, struct lane *lane, size_t count);
bool delivery_admit(struct delivery *delivery, struct lane *lane, struct message *message);

/*
 * Claims MESSAGE, read, and starts with those in RECIPIENT_TODO: by its lane, which is ready and
 * has admitted it, or with their failure when it is TOO_LARGE for each.
 */
void delivery_start(struct delivery *delivery, struct message *message, bool too_large);

/*
 * Finds a way for those of MESSAGE, claimed, who are not served yet. False when there is none in
 * this attempt.
 */
bool delivery_send_on(struct delivery *delivery, struct message *message);

/* Nobody more of MESSAGE is served in this attempt: to its next state. */
void delivery_settle(struct delivery *delivery, struct message *message);

/* Those that wait for LANE with other recipients served go on, or to their end. */
void delivery_serve_waiting(struct delivery *delivery, struct lane *lane);

/* Records what LANE has brought. */
void delivery_take_results(struct delivery *delivery, struct lane *lane);

/* Messages whose results were held back: failures if the relay works, untried if it does not. */
void delivery_release_held(struct delivery *delivery, struct lane *lane, bool relay_works);

/* Keeps the claims of what is in hand. What others have taken over is not completed here. */
void delivery_renew(struct delivery *delivery);

/* Syncs what is recorded, when it is time. What is in the log is then on the disk. */
void delivery_sync(struct delivery *delivery);

#endif
