/*
 * breaker: tells a misconfigured relay from bad messages. Pure.
 *
 * When the first messages of a run are all refused with the same 5xx at MAIL FROM, it is the relay
 * that does not want us, and none of them may turn into a failure. So their results are held back
 * until another outcome shows that the relay works, or until there are BREAKER_LIMIT of them.
 * Messages still under way then are no different: refused at MAIL FROM they are held too, while
 * any other result counts as what it is. What was refused without a word from the relay (too
 * large for it, say) proves nothing. Nor does a refusal of the null sender, which is the rule of
 * many relays: up to BREAKER_LIMIT of these are held beside the others, and not counted.
 */
#ifndef MAILDRAIN_BREAKER_H
#define MAILDRAIN_BREAKER_H

#include <stdbool.h>
#include <stddef.h>

#include "message.h"

#define BREAKER_LIMIT 10

struct breaker {
	bool passed;	      /* the relay has shown that it works: hold no more */
	bool tripped;	      /* it is misconfigured: hold all that it still refuses */
	int code;	      /* the reply that all of them got */
	struct message *held; /* a list in order */
	size_t count;
	size_t aside; /* those in held that have the null sender, and are not counted */
};

enum breaker_advice {
	BREAKER_RECORD,	     /* record this result */
	BREAKER_HOLD,	     /* kept; say no more about it now */
	BREAKER_RECORD_HELD, /* record those held, then this one */
	BREAKER_TRIP	     /* kept, and it is enough: the relay is misconfigured */
};

/* A zeroed breaker has seen nothing. MESSAGE is settled. */
enum breaker_advice breaker_see(struct breaker *breaker, struct message *message);

/* Takes one held message back; NULL when there is none. */
struct message *breaker_take(struct breaker *breaker);

#endif
