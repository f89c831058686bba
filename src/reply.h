/*
 * reply: SMTP replies, RFC 5321 section 4.2, and enhanced status codes, RFC 2034. Pure.
 */
#ifndef MAILDRAIN_REPLY_H
#define MAILDRAIN_REPLY_H

#include <stdbool.h>
#include <stddef.h>

#define REPLY_LINE_MAX	2048 /* bytes with CRLF; RFC 5321 says 512, servers exceed it */
#define REPLY_LINES_MAX 128  /* lines of one reply */
#define REPLY_TEXT_MAX	512  /* bytes of the text that is kept, with the final NUL */

struct reply {
	int code;		   /* 200 to 599 */
	char status[12];	   /* enhanced status "5.1.1" where the first line has one, or "" */
	char text[REPLY_TEXT_MAX]; /* all lines, "250 2.0.0 Ok: queued": the code once, the enhanced
				      status once, lines joined by a space, control characters and
				      invalid UTF-8 shown as '?', cut at a character */
};

enum reply_progress {
	REPLY_MORE,  /* all bytes taken, the reply is not complete */
	REPLY_WHOLE, /* a reply is complete */
	REPLY_BROKEN /* not SMTP: the session is of no use any more */
};

struct reply_parser {
	char line[REPLY_LINE_MAX];
	size_t line_len;
	unsigned lines;
	struct reply reply;
};

void reply_init(struct reply_parser *parser);

/*
 * Feeds LEN bytes; *USED gets how many were taken: never more than up to the end of one reply.
 * REPLY_WHOLE: parser->reply is valid until the next call. REPLY_BROKEN, for good: a line that
 * is too long, too many lines, no three digits 2xx to 5xx followed by space, "-" or the end,
 * or another code in a continuation line. Lines end in LF, a CR before it is dropped.
 */
enum reply_progress reply_feed(
    struct reply_parser *parser, const char *bytes, size_t len, size_t *used);

/* The status to record: the enhanced one when its class fits the code, else "4.0.0" or "5.0.0". */
const char *reply_status(const struct reply *reply);

#endif
