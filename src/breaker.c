#include "breaker.h"

enum breaker_advice breaker_see(struct breaker *breaker, struct message *message)
{
	const int code = message->refused_at_mail;

	if (breaker->passed)
		return BREAKER_RECORD;
	if (code == 0 || (breaker->count > 0 && code != breaker->code)) {
		breaker->passed = true;
		return BREAKER_RECORD_HELD;
	}
	breaker->code = code;
	breaker->held[breaker->count++] = message;
	return breaker->count == BREAKER_LIMIT ? BREAKER_TRIP : BREAKER_HOLD;
}

struct message *breaker_take(struct breaker *breaker)
{
	struct message *message;

	if (breaker->count == 0)
		return NULL;
	message = breaker->held[0];
	breaker->count--;
	for (size_t i = 0; i < breaker->count; i++)
		breaker->held[i] = breaker->held[i + 1];
	return message;
}
