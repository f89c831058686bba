/*
 * lane: one relay in use in this run: its transport, what is under way there, what waits for it.
 *
 * A lane opens with the first message for its relay, and is out for the rest of the run when the
 * relay turns out to be of no use.
 */
#ifndef MAILDRAIN_LANE_H
#define MAILDRAIN_LANE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "breaker.h"
#include "config.h"
#include "credential.h"
#include "error.h"
#include "message.h"
#include "pace.h"
#include "route.h"
#include "spool.h"
#include "transport.h"
#include "waits.h"

enum lane_state {
	LANE_CLOSED, /* no mail for it yet */
	LANE_ASKING, /* for what the relay wants to be shown */
	LANE_OPEN,
	LANE_OUT
};

/* Names in the queue of a scan, by their places there, first in, first out. */
struct lane_names {
	uint32_t *place;
	size_t first;
	size_t end;
	size_t room;
};

struct lane {
	const struct relay_config *relay;
	enum lane_state state;
	struct credential credential;
	const struct transport_kind *kind;
	struct transport *transport;
	struct breaker breaker;
	struct pace pace;
	enum pace_hold paced;	  /* why it may not be given more now */
	int64_t pace_ms;	  /* and for how long, at least */
	bool over;		  /* that is too long for this run */
	bool over_told;		  /* and somebody has been told */
	size_t in_flight;	  /* messages that the transport has */
	struct lane_names parked; /* not claimed, and found to be for this relay */
	char
	    cut[ENTRY_NAME_MAX + 1]; /* behind this name the queue has left out its names; "": no */
	struct message *waiting;     /* claimed, with other recipients served already; in order */
	size_t waiting_count;
	bool resting;	     /* it was down lately: others go first */
	int64_t rests_until; /* epoch seconds */
	bool wanted;	     /* mail may find its way to it as things are */
	int64_t balance;     /* of its turns among equals */
};

/* CLOSED, for RELAY. Both it and SPOOL outlive it. */
void lane_init(struct lane *lane, const struct relay_config *relay, struct spool *spool);

/*
 * Whether it has room for a message. If not, it sees to what has to be open for COUNT of them. -1
 * with ERR: it can't be used, and is out.
 */
int lane_ready(struct lane *lane, size_t count, struct error *err);

/*
 * Takes the slots for the present batch of MESSAGE, once lane_ready. As above, 0 when it has to
 * wait for them.
 */
int lane_admit(struct lane *lane, struct message *message, struct error *err);

/* It was not served after all: gives its slots back. */
void lane_readmit(struct lane *lane, const struct message *message);

/* In a run of hours a relay has rested enough, and its limits allow more again. */
void lane_look_again(struct lane *lane);

/* Whether it may be given mail before this run ends. */
bool lane_is_active(const struct lane *lane);

/* How many recipients may be served together. */
size_t lane_recipients_max(const struct lane *lane);

void lane_submit(struct lane *lane, struct message *message);

/* Round the poll(2), see transport.h. */
void lane_prepare(struct lane *lane, struct waits *waits);
void lane_work(struct lane *lane, const struct waits *waits);

/* The next message that has come back; NULL: none. */
struct message *lane_result(struct lane *lane);

/* How the relay is; WHY gets words for a person when it is of no use. */
enum transport_state lane_health(struct lane *lane, const char **why);

/*
 * The relay refuses who we are, and nothing is under way. True when something else is being got to
 * be shown to it, and the lane goes on.
 */
bool lane_renew(struct lane *lane);

/*
 * Says goodbye to the relay; lane_result gives what was under way. Then lane_close ends it, OUT or
 * as if nothing had been. 0, or -1 with ERR when unused slots are lost.
 */
void lane_finish(struct lane *lane);
int lane_close(struct lane *lane, enum lane_state state, struct error *err);

/* Gives its memory back. */
void lane_free(struct lane *lane);

/* Notes that the name at PLACE waits. False without memory: then it does not. */
bool lane_park(struct lane *lane, size_t place);

/* The place of the next one that waits; false: none does. */
bool lane_unpark(struct lane *lane, size_t *place);
size_t lane_parked(const struct lane *lane);
void lane_forget_parked(struct lane *lane);

/* The place of the one that is number I of those that wait. */
size_t lane_parked_at(const struct lane *lane, size_t i);

/* Keeps MESSAGE, claimed, until there is room; takes the first one back, NULL: there is none. */
void lane_hold(struct lane *lane, struct message *message);
struct message *lane_take_held(struct lane *lane);

/* Takes MESSAGE, which is held, out of their list. */
void lane_unhold(struct lane *lane, struct message *message);

enum lane_found {
	LANE_FOUND,
	LANE_NONE,     /* all that could take it are out */
	LANE_TOO_SMALL /* none would ever take a message so large */
};

/*
 * Of LANE[], which stand as the relays in the config, the one that a message of SIZE octets is to
 * go by under RANKS: of its first rank with one of use, by weighted turns, or HINT if that is one
 * of them. Those that rest are used where nothing else is left. *FOUND gets its number.
 */
enum lane_found lane_choose(
    struct lane *lane, const struct route_ranks *ranks, uint64_t size, size_t hint, size_t *found);

/* Marks those as wanted that lane_choose would choose from under RANKS. */
void lane_want(struct lane *lane, const struct route_ranks *ranks);

#endif
