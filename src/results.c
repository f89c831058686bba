#include "results.h"

#include <stddef.h>

void results_add(struct results *results, struct message *message)
{
	message->next = NULL;
	if (results->first == NULL)
		results->first = message;
	else
		results->last->next = message;
	results->last = message;
}

struct message *results_take(struct results *results)
{
	struct message *message = results->first;

	if (message != NULL) {
		results->first = message->next;
		message->next = NULL;
	}
	return message;
}
