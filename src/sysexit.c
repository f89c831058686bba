#include "sysexit.h"

#include <stdio.h>
#include <string.h>
#include <sysexits.h>

#define WORDS_MAX 400 /* bytes of what was said: the rest is no news to anybody */

struct meaning {
	int status;
	enum recipient_state state;
	const char *code; /* of SMTP, and of RFC 3463 */
	const char *words;
	bool general;
	bool faulty;
};

static const struct meaning meanings[] = {
    {EX_OK, RECIPIENT_DONE, "250 2.0.0", "Ok", false, false},
    {EX_USAGE, RECIPIENT_FAILED, "550 5.0.0", "it does not know its arguments", true, false},
    {EX_DATAERR, RECIPIENT_FAILED, "550 5.0.0", "it does not take this message", false, false},
    {EX_NOINPUT, RECIPIENT_FAILED, "550 5.0.0", "it has no input", true, false},
    {EX_NOUSER, RECIPIENT_FAILED, "550 5.1.1", "no such recipient", false, false},
    {EX_NOHOST, RECIPIENT_FAILED, "550 5.1.2", "no such host", true, false},
    {EX_UNAVAILABLE, RECIPIENT_FAILED, "550 5.0.0", "not available", true, false},
    {EX_SOFTWARE, RECIPIENT_FAILED, "550 5.0.0", "it has a bug", true, false},
    {EX_NOPERM, RECIPIENT_DEFERRED, "450 4.0.0", "this user may not", true, true},
    {EX_CONFIG, RECIPIENT_DEFERRED, "450 4.0.0", "its configuration is wrong", true, true},
    {126, RECIPIENT_DEFERRED, "450 4.0.0", "it can't be executed", true, true},
    {127, RECIPIENT_DEFERRED, "450 4.0.0", "what it executes is not there", true, true},
};

static const struct meaning to_try_again = {
    0, RECIPIENT_DEFERRED, "450 4.0.0", "to be tried again", false, false};

static const struct meaning *look_up(int status)
{
	for (size_t i = 0; i < sizeof meanings / sizeof meanings[0]; i++)
		if (meanings[i].status == status)
			return &meanings[i];
	return &to_try_again;
}

/* The first line of SAID that is not blank; *LEN gets its length, 0 when there is none. */
static const char *first_line(const char *said, size_t *len)
{
	said += strspn(said, " \t\r\n");
	*len = strcspn(said, "\r\n");
	return said;
}

void sysexit_read(int status, const char *said, struct sysexit *sysexit)
{
	const struct meaning *meaning = look_up(status);
	struct reply_parser parser;
	char line[REPLY_LINE_MAX];
	size_t used;
	size_t len;
	const char *words = first_line(said, &len);

	if (len == 0) {
		words = meaning->words;
		len = strlen(words);
	}
	if (len > WORDS_MAX)
		len = WORDS_MAX;
	used = (size_t)snprintf(
	    line, sizeof line, "%s exit %d: %.*s\n", meaning->code, status, (int)len, words);
	reply_init(&parser);
	(void)reply_feed(&parser, line, used, &used);
	*sysexit = (struct sysexit){.faulty = meaning->faulty,
	    .general = meaning->general,
	    .state = meaning->state,
	    .reply = parser.reply};
}
