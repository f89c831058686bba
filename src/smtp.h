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
 *	smtp_quit, smtp_output … until end is not SMTP_OPEN
 *
 * With PIPELINING (RFC 2920) the body, the final dot and the next message's MAIL, RCPT and DATA
 * leave together, so a message costs one round trip: smtp_ready is true again as soon as the
 * final dot has been given out. Without it every command waits for its reply.
 *
 * With CHUNKING (RFC 3030) as well, nothing waits: MAIL, RCPT, BDAT and the octets leave together,
 * and many messages are in flight. How many is the window: one at first, one more with each that
 * is taken, up to the depth; one again when the server says no to anything, until those in flight
 * have landed. As the octets are out before the server has agreed to anything,
 *
 *	- a message behind others begins with RSET: whatever was refused before, even if the server
 *	  keeps a refused transaction open, its recipients never join another message's;
 *	- until the server has taken a message by BDAT in this session, the first octet goes ahead
 *	  and is waited for. A server that only announces CHUNKING never gets to read a text as
 *	  commands so; the session ends as "choked", and that message is untried.
 *
 * With LMTP (RFC 2033) each recipient that was accepted gets its own reply to the final dot, in the
 * order of RCPT; what comes next on the wire waits behind all of them. How many there will be must
 * never be in doubt, or a reply would count for another message. So BDAT LAST waits until all RCPT
 * are answered and one at least is accepted, the octets of one message are in flight at a time, and
 * a server that says 354 though nobody is to get the message has ended the session.
 *
 * A reply counts only for a command that was written when the reply came. Whoever reads before each
 * write so finds out a peer that answers what it has not been told yet, and one that says more than
 * it was asked, whose surplus must not pass for the answer to the next command.
 *
 * The results: each recipient that was tried has one, with the server's words. When the session
 * ends, each message given to it is settled or untried as the contract says, and none is lost. When
 * the connection is lost with messages in flight by BDAT, all whose last octet was written are in
 * doubt. The others are untried, but for the first in flight once an octet of it was written: that
 * may be what makes the server hang up. After a 421 none is in doubt, as servers answer in order.
 * With LMTP those of its recipients that have their reply keep it; only the others are in doubt.
 *
 * A server that asks for less sets slow_down: of the message that it answers so; or, with none
 *under way, of the session.
 */
#ifndef MAILDRAIN_SMTP_H
#define MAILDRAIN_SMTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "message.h"
#include "reply.h"
#include "smtp_offer.h"

#define SMTP_DATA_DEPTH	 2   /* messages under way by DATA: one in its DATA phase, one behind it */
#define SMTP_COMMAND_MAX 768 /* bytes of the longest command with its CRLF */
#define SMTP_FLIGHT_MAX	 (UINT64_C(4) << 20) /* bytes in flight behind which none is begun */

/* What the session is waiting for, which says how long it may wait. */
enum smtp_phase {
	SMTP_IDLE,    /* for a message */
	SMTP_COMMAND, /* for the reply to MAIL, RCPT, RSET or QUIT */
	SMTP_DATA,    /* for the 354, or the reply to the first chunk */
	SMTP_BLOCK,   /* for the peer to take more of the body */
	SMTP_DOT      /* for the reply to the final dot or the last chunk */
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
	SMTP_SEND_DATA, /* or the first chunk */
	SMTP_SEND_LAST, /* BDAT LAST */
	SMTP_SEND_BODY,
	SMTP_SENT,
	SMTP_STUCK /* the rest of the file can't be had: nothing more can be said */
};

/* One message under way: what is sent, and the replies that are due for it, in their order. */
struct smtp_transaction {
	struct message *message;
	enum smtp_step step;
	enum message_verdict verdict; /* once the session has ended */
	bool utf8;		      /* MAIL declares SMTPUTF8 */
	bool chunked;		      /* by BDAT */
	bool untried;		      /* its replies are the relay's fault and not its own */
	size_t next_ask;	      /* the recipient whose RCPT goes out next */
	size_t next_answer;	      /* the first one asked whose reply is due */
	bool rset_due;
	bool mail_due;
	bool data_due;	   /* or that to the first chunk */
	bool dot_due;	   /* or that to the last chunk; with LMTP one of them */
	uint64_t rset_end; /* where the commands end in all that was given out */
	uint64_t mail_end;
	uint64_t rcpt_end; /* of the last RCPT that is answered, or of MAIL */
	uint64_t data_end;
	uint64_t last_end; /* of BDAT LAST: behind it come octets of the message */
	uint64_t dot_end;
	bool mail_accepted;
	bool go_ahead;	 /* 354 or its like came: the DATA phase has begun */
	size_t accepted; /* recipients */
	size_t next_dot; /* LMTP, once such a reply came: who waits for the next is not before */
};

struct smtp {
	struct smtp_offer offer;
	struct reply_parser parser;
	struct smtp_transaction *ring; /* under way; the one at first is the one being answered */
	size_t room;
	size_t first;
	size_t count;
	uint64_t flight;	  /* bytes of the messages under way */
	size_t depth;		  /* how many may be in flight by BDAT */
	size_t window;		  /* how many may be so now */
	size_t landing;		  /* those in flight since it shrank, which do not widen it */
	struct message *finished; /* a list in order, for smtp_finished */
	struct message *finished_last;
	bool needs_rset;  /* the server may hold an aborted transaction */
	bool chunks;	  /* it has taken a message by BDAT in this session */
	bool choked;	  /* it announces CHUNKING and does not do it: use DATA */
	bool relay_fault; /* end like that when all under way have their replies */
	bool goodbye;	  /* a 421 ends the session: nothing behind it was taken */
	bool slow_down;	  /* the server asks for less, with no message under way */
	bool quitting;
	bool quit_sent;
	uint64_t quit_end;
	uint64_t given;	  /* bytes that smtp_output gave out */
	uint64_t written; /* how many of them may have reached the peer */
	size_t replies;	  /* whole ones that came */
	size_t settled;	  /* messages that got their results in this session */
	size_t begun;	  /* those that went out, or will */
	enum smtp_end end;
	char why[REPLY_TEXT_MAX]; /* of the end, for a person */
};

/* How many entries the ring must have for this DEPTH. */
#define SMTP_ROOM(depth) ((depth) > SMTP_DATA_DEPTH ? (depth) : SMTP_DATA_DEPTH)

/*
 * RING is the caller's and outlives the session. DEPTH bounds what is in flight by BDAT; 0: all
 * goes by DATA.
 */
void smtp_init(
    struct smtp *smtp, const struct smtp_offer *offer, struct smtp_transaction *ring, size_t depth);

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

/* Whether MESSAGE is under way in this session, and its end has not been written yet. */
bool smtp_may_stop(const struct smtp *smtp, const struct message *message);

/* The connection is gone or is given up: WHY for a person. Settles what is under way. */
void smtp_lost(struct smtp *smtp, const char *why);

/* No more messages: QUIT goes out once all are answered. */
void smtp_quit(struct smtp *smtp);

/* The next message that is through, in order; NULL: none. */
struct message *smtp_finished(struct smtp *smtp);

enum smtp_phase smtp_phase(const struct smtp *smtp);

#endif
