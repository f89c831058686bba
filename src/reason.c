#include "reason.h"

#include <stddef.h>
#include <string.h>

static const struct {
	const char *status;
	const char *text;
} reasons[] = {
    {"2.0.0", "sent, and cur/ could not take it yet; the next run moves it"},
    {"4.0.0", "deferred by the relay, with a reply that has no such code"},
    {"4.2.0", "put off by the relay, or the Maildir could not be written"},
    {"4.2.2", "the mailbox is full; a Maildir: its disk"},
    {"4.3.0", "put off by the relay, or the file changed while it was sent"},
    {"4.3.1", "failed, and failed/ could not take it; see the log"},
    {"4.3.5", "X-Maildrain-Relay names neither a route nor a relay of the configuration"},
    {"4.4.2", "the connection was lost, or the program ended, in the midst of it"},
    {"4.4.5", "the relay wants less mail at a time"},
    {"4.5.3", "more recipients than a call of the relay's program can take"},
    {"4.7.1", "held by allow_recipients, or put off by the relay's policy"},
    {"5.0.0", "refused by the relay, with a reply that has no such code"},
    {"5.1.3", "a recipient's address can't be used, or there is no recipient"},
    {"5.1.7", "the sender's address can't be used, or there is no sender"},
    {"5.3.0", "some recipients are served, and the disk could not take who; see the log"},
    {"5.3.3", "the relay sends to all whom the header names, and one of them must not get it"},
    {"5.3.4", "larger than the relay takes"},
    {"5.4.7", "given up after the last attempt, or expired"},
    {"5.5.3", "more than 10,000 recipients"},
    {"5.6.0", "no message, or its envelope lines are damaged"},
    {"5.6.3", "needs 8BITMIME, and the relay has it not"},
    {"5.6.7", "needs SMTPUTF8, and the relay has it not"},
    {"5.6.9", "needs SMTPUTF8 for its header, and the relay has it not"},
};

const char *reason_of(const char *status)
{
	for (size_t i = 0; i < sizeof reasons / sizeof reasons[0]; i++)
		if (strcmp(reasons[i].status, status) == 0)
			return reasons[i].text;
	return NULL;
}
