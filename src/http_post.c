/*
 * An API of one's own: the message as the body, the envelope and a key of the message in header
 * lines. maildrain.conf(5) has the contract.
 */
#include "http_api.h"

#include <inttypes.h>
#include <string.h>

#include "hash.h"

/* Servers take a hundred lines, and 8 KiB of each. */
#define RECIPIENTS_MAX 50

/* Sets apart whoever is not served now, himself or by redirect_to; false when all are. */
static bool hash_served(const struct envelope *envelope, uint64_t *hash)
{
	bool apart = false;

	*hash = 0;
	for (size_t i = 0; i < envelope->count; i++) {
		const struct recipient *recipient = &envelope->recipient[i];

		if (recipient->state == RECIPIENT_TODO || recipient->redirected)
			*hash =
			    hash_bytes(*hash, recipient->address, strlen(recipient->address) + 1);
		else
			apart = true;
	}
	return apart;
}

/*
 * The same message for the same recipients always has the same key, whoever sends it and however
 * often; for others of its recipients it has another.
 */
static void put_key(struct http_request *request, const struct message *message)
{
	const struct entry *entry = &message->entry;
	const char *unique = http_request_escaped(request, entry->name, entry->unique_len);
	uint64_t hash;

	if (hash_served(&message->envelope, &hash))
		http_request_header(request, "Idempotency-Key: %s-%016" PRIx64, unique, hash);
	else
		http_request_header(request, "Idempotency-Key: %s", unique);
}

static void make(struct http_request *request, const struct relay_config *relay,
    const struct credential *credential, const struct message *message)
{
	const struct envelope *envelope = &message->envelope;

	http_request_url(request, relay->endpoint, "");
	http_request_header(request, "Content-Type: message/rfc822");
	put_key(request, message);
	http_request_header(request, "X-Envelope-From: <%s>", envelope->sender);
	for (size_t i = 0; i < envelope->count; i++)
		if (envelope->recipient[i].state == RECIPIENT_TODO)
			http_request_header(
			    request, "X-Envelope-To: <%s>", envelope->recipient[i].address);
	request->user = credential->user;
	request->password = credential->password;
	request->token = credential->token;
}

const struct http_api http_post = {
    .limits = {.recipients = RECIPIENTS_MAX},
    .make = make,
};
