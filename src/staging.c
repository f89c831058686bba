#include "staging.h"

#include <stdio.h>
#include <string.h>

#include "address.h"
#include "route.h"

#define FIELDS_MAX 8192 /* bytes; hundreds of recipients, and less than any relay's limit */
#define FIELD	   "X-Original-To"

/* ---- allow_recipients ---- */

size_t staging_hold(struct envelope *envelope, const struct config *config)
{
	size_t held = 0;

	for (size_t i = 0; i < envelope->count; i++) {
		struct recipient *recipient = &envelope->recipient[i];

		if (recipient->state == RECIPIENT_TODO &&
		    !route_allows(config, recipient->address)) {
			recipient->state = RECIPIENT_LATER;
			recipient->held = true;
		}
		held += recipient->held;
	}
	return held;
}

/* ---- redirect_to ---- */

/*
 * Writes ADDRESS so that it ends no line, whatever it is, and needs no SMTPUTF8 of the relay. One
 * that is too long, and so was refused before, is cut.
 */
static void write_address(const char *address, char text[ADDRESS_MAX * 3 + 1])
{
	const bool ascii = address_is_ascii(address, strlen(address));
	char *to = text;

	for (size_t i = 0; i < ADDRESS_MAX && address[i] != '\0'; i++) {
		const unsigned char c = (unsigned char)address[i];

		if (c > ' ' && c < 127 && (c != '%' || ascii))
			*to++ = address[i];
		else
			to += snprintf(to, 4, "%%%02X", c);
	}
	*to = '\0';
}

size_t staging_fields(const struct envelope *envelope, char *text, size_t size)
{
	char address[ADDRESS_MAX * 3 + 1];
	size_t len = 0;
	size_t more = 0;

	for (size_t i = 0; i < envelope->count; i++) {
		const struct recipient *recipient = &envelope->recipient[i];
		size_t need;

		if (recipient->state != RECIPIENT_TODO)
			continue;
		write_address(recipient->address, address);
		need = strlen(FIELD) + strlen(address) + 3;
		if (size - len < need + STAGING_REST)
			more++;
		else
			len += (size_t)snprintf(text + len, need + 1, FIELD ": %s\n", address);
	}
	if (more > 0)
		len += (size_t)snprintf(text + len, size - len, FIELD "-More: %zu\n", more);
	return len;
}

int staging_redirect(struct message *message, const char *address)
{
	char text[FIELDS_MAX];
	const size_t len = staging_fields(&message->envelope, text, sizeof text);

	if (!envelope_redirect(&message->envelope, address))
		return -1;
	if (message_prefix(message, text, len) == 0)
		return 0;
	envelope_restore(&message->envelope);
	message->envelope.redirected = NULL;
	return -1;
}

void staging_restore(struct message *message)
{
	envelope_restore(&message->envelope);
}
