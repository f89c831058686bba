/*
 * results: the messages that a transport is through with, first in, first out.
 */
#ifndef MAILDRAIN_RESULTS_H
#define MAILDRAIN_RESULTS_H

#include "message.h"

/* A zeroed one is empty. */
struct results {
	struct message *first;
	struct message *last;
};

void results_add(struct results *results, struct message *message);

/* NULL: there is none. */
struct message *results_take(struct results *results);

#endif
