#include "smtp_offer.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "address.h"
#include "reply.h"

/* Whether TEXT starts with the keyword WORD and ends behind it or goes on with a space. */
static bool is_keyword(const char *text, size_t len, const char *word)
{
	const size_t n = strlen(word);

	return len >= n && strncasecmp(text, word, n) == 0 && (len == n || text[n] == ' ');
}

void smtp_offer_line(struct smtp_offer *offer, const char *line, size_t len)
{
	char number[24] = "";

	while (len > 0 && (line[len - 1] == '\n' || line[len - 1] == '\r' || line[len - 1] == ' '))
		len--;
	if (len < 4 || strncmp(line, "250", 3) != 0)
		return;
	line += 4;
	len -= 4;
	if (is_keyword(line, len, "PIPELINING"))
		offer->pipelining = true;
	else if (is_keyword(line, len, "CHUNKING"))
		offer->chunking = true;
	else if (is_keyword(line, len, "8BITMIME"))
		offer->eightbit = true;
	else if (is_keyword(line, len, "SMTPUTF8"))
		offer->smtputf8 = true;
	else if (is_keyword(line, len, "SIZE")) {
		offer->size = true;
		if (len > 5 && len - 5 < sizeof number)
			memcpy(number, line + 5, len - 5);
		offer->size_max = strtoull(number, NULL, 10);
	}
}

void smtp_offer_refuse(const struct smtp_offer *offer, struct message *message, bool *utf8)
{
	struct envelope *envelope = &message->envelope;
	const bool sender_ascii = address_is_ascii(envelope->sender, strlen(envelope->sender));

	*utf8 = message->header_8bit || !sender_ascii;
	for (size_t i = 0; i < envelope->count; i++) {
		struct recipient *recipient = &envelope->recipient[i];

		if (recipient->state != RECIPIENT_TODO ||
		    address_is_ascii(recipient->address, strlen(recipient->address)))
			continue;
		if (offer->smtputf8)
			*utf8 = true;
		else
			envelope_result(envelope, recipient, RECIPIENT_FAILED, "5.6.7",
			    "the address is not ASCII and the relay has no SMTPUTF8");
	}
	if (!sender_ascii && !offer->smtputf8)
		message_settle(message, RECIPIENT_FAILED, "5.6.7",
		    "the sender's address is not ASCII and the relay has no SMTPUTF8");
	if (message->header_8bit && !offer->smtputf8)
		message_settle(message, RECIPIENT_FAILED, "5.6.9",
		    "the header is not ASCII and the relay has no SMTPUTF8");
	if (message->size.has_8bit && !offer->eightbit)
		message_settle(message, RECIPIENT_FAILED, "5.6.3",
		    "the message is not ASCII and the relay has no 8BITMIME");
	if (offer->size_max > 0 && message->size.wire > offer->size_max) {
		char text[REPLY_TEXT_MAX];

		(void)snprintf(text, sizeof text,
		    "the message has %" PRIu64 " bytes and the relay takes %" PRIu64,
		    message->size.wire, offer->size_max);
		message_settle(message, RECIPIENT_FAILED, "5.3.4", text);
	}
}
