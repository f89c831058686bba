#include "breaker.h"

/* Whether the relay has said a word about MESSAGE. */
static bool was_answered(const struct message *message)
{
	const struct envelope *envelope = &message->envelope;

	for (size_t i = 0; i < envelope->count; i++)
		if (envelope->recipient[i].asked)
			return true;
	return message->refused_at_mail != 0;
}

static bool has_null_sender(const struct message *message)
{
	return message->envelope.sender[0] == '\0';
}

/* What counts MESSAGE while it is held. */
static size_t *counter(struct breaker *breaker, const struct message *message)
{
	return has_null_sender(message) ? &breaker->aside : &breaker->count;
}

static void hold(struct breaker *breaker, struct message *message)
{
	struct message **end = &breaker->held;

	while (*end != NULL)
		end = &(*end)->next;
	message->next = NULL;
	*end = message;
	++*counter(breaker, message);
}

enum breaker_advice breaker_see(struct breaker *breaker, struct message *message)
{
	const int code = message->refused_at_mail;
	const bool refused = code / 100 == 5;

	if (breaker->passed || !was_answered(message) || (breaker->tripped && !refused))
		return BREAKER_RECORD;
	if (breaker->tripped) {
		hold(breaker, message);
		return BREAKER_HOLD;
	}
	if (refused && has_null_sender(message)) {
		if (breaker->aside == BREAKER_LIMIT)
			return BREAKER_RECORD;
		hold(breaker, message);
		return BREAKER_HOLD;
	}
	if (!refused || (breaker->count > 0 && code != breaker->code)) {
		breaker->passed = true;
		return BREAKER_RECORD_HELD;
	}
	hold(breaker, message);
	breaker->code = code;
	breaker->tripped = breaker->count == BREAKER_LIMIT;
	return breaker->tripped ? BREAKER_TRIP : BREAKER_HOLD;
}

struct message *breaker_take(struct breaker *breaker)
{
	struct message *message = breaker->held;

	if (message == NULL)
		return NULL;
	breaker->held = message->next;
	message->next = NULL;
	--*counter(breaker, message);
	return message;
}
