/*
 * smtp: one session's mail transactions, RFC 5321 section 3.3, as bytes in and bytes out. No I/O.
 *
 * The session is open (greeting, EHLO, TLS and AUTH are behind it) when this machine begins:
 *
 *	smtp_init
 *	while there is something to do:
 *		while smtp_ready and there is a message: smtp_submit
 *		read from the peer, and smtp_input
 *		smtp_output, and write that to the peer: smtp_written
 *		take what smtp_finished gives
 *	smtp_quit, smtp_output … until smtp_ended
 *
 * With PIPELINING (RFC 2920) the body, the final dot and the next message's MAIL, RCPT and DATA
 * leave together, so a message costs one round trip: smtp_ready is true again as soon as the
 * final dot has been given out. Without it every command waits for its reply.
 *
 * A reply counts only for a command that was written when the reply came. Whoever reads before each
 * write so finds out a peer that answers what it has not been told yet, and one that says more than
 * it was asked, whose surplus must not pass for the answer to the next command.
 *
 * The results: each recipient that was tried has one, with the server's words. When the session
 * ends, each message given to it is settled or untried as the contract says, and none is lost.
 */
#ifndef MAILDRAIN_SMTP_H
#define MAILDRAIN_SMTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "message.h"
#include "reply.h"
#include "smtp_offer.h"

#define SMTP_DEPTH	 2 /* messages under way: one in its DATA phase, one pipelined behind it */
#define SMTP_COMMAND_MAX 768 /* bytes of the longest command with its CRLF */

/* What the session is waiting for, which says how long it may wait. */
enum smtp_phase {
	SMTP_IDLE,    /* for a message */
	SMTP_COMMAND, /* for the reply to MAIL, RCPT, RSET or QUIT */
	SMTP_DATA,    /* for the 354 */
	SMTP_BLOCK,   /* for the peer to take more of the body */
	SMTP_DOT      /* for the reply to the final dot */
};

enum smtp_end {
	SMTP_OPEN,
	SMTP_CLOSED,	 /* after QUIT, or the peer left while nothing was under way */
	SMTP_LOST,	 /* the connection broke, timed out, 421, or nonsense was received */
	SMTP_LOCAL,	 /* a message file could not be read to its announced end */
	SMTP_RELAY_FAULT /* 530, 534, 535, 538: the relay is misconfigured; don't come again */
};

/* What a message under way sends next. */
enum smtp_step {
	SMTP_SEND_RSET,
	SMTP_SEND_MAIL,
	SMTP_SEND_RCPT,
	SMTP_SEND_DATA,
	SMTP_SEND_BODY,
	SMTP_SENT
};

/* One message under way: what is sent, and the replies that are due for it, in their order. */
struct smtp_transaction {
	struct message *message;
	enum smtp_step step;
	bool utf8;	    /* MAIL declares SMTPUTF8 */
	size_t next_ask;    /* the recipient whose RCPT goes out next */
	size_t next_answer; /* the first one asked whose reply is due */
	bool rset_due;
	bool mail_due;
	bool data_due;
	bool dot_due;
	uint64_t rset_end; /* where the commands end in all that was given out */
	uint64_t mail_end;
	uint64_t rcpt_end; /* of the last RCPT that is answered, or of MAIL */
	uint64_t data_end;
	uint64_t dot_end;
	bool mail_accepted;
	bool go_ahead;	 /* 354 came: the DATA phase has begun */
	size_t accepted; /* recipients */
};

struct smtp {
	struct smtp_offer offer;
	struct reply_parser parser;
	struct smtp_transaction transaction[SMTP_DEPTH]; /* the first is the one being answered */
	size_t count;
	struct message *finished; /* a list in order, for smtp_finished */
	bool needs_rset;	  /* the server holds an aborted transaction */
	bool quitting;
	bool quit_sent;
	uint64_t quit_end;
	uint64_t given;	  /* bytes that smtp_output gave out */
	uint64_t written; /* how many of them may have reached the peer */
	size_t replies;	  /* whole ones that came */
	size_t settled;	  /* messages that got their results in this session */
	enum smtp_end end;
	char why[REPLY_TEXT_MAX]; /* of the end, for a person */
};

void smtp_init(struct smtp *smtp, const struct smtp_offer *offer);

/* Whether smtp_submit may be called now. */
bool smtp_ready(const struct smtp *smtp);

/*
 * Takes MESSAGE, loaded, until smtp_finished gives it back. What the server can't take (size,
 * 8-bit, UTF-8) is settled at once, without a byte on the wire.
 */
void smtp_submit(struct smtp *smtp, struct message *message);

/*
 * Puts into BUF the next bytes to write, as many as may go out now and fit in SIZE (at least
 * SMTP_COMMAND_MAX for progress). 0: nothing to write until the peer has said more.
 */
size_t smtp_output(struct smtp *smtp, char *buf, size_t size);

/* The next LEN bytes of what was given out are written, or may be. */
void smtp_written(struct smtp *smtp, size_t len);

/* Takes bytes from the peer. */
void smtp_input(struct smtp *smtp, const char *bytes, size_t len);

/* Whether MESSAGE is under way in this session. */
bool smtp_holds(const struct smtp *smtp, const struct message *message);

/* The connection is gone or is given up: WHY for a person. Settles what is under way. */
void smtp_lost(struct smtp *smtp, const char *why);

/* No more messages: QUIT goes out once all are answered. */
void smtp_quit(struct smtp *smtp);

/* The next message that is through, in order; NULL: none. */
struct message *smtp_finished(struct smtp *smtp);

enum smtp_phase smtp_phase(const struct smtp *smtp);

#endif
