/*
 * envelope: who a message is from and who it is for, read from the start of its file. Pure.
 *
 * Either the file starts with a block of X-Maildrain- lines, which alone counts, or the envelope
 * comes from the header, as with "sendmail -t". Only an unbroken block at the very start is a
 * block, so no header that a web form smuggles in can become an envelope.
 */
#ifndef MAILDRAIN_ENVELOPE_H
#define MAILDRAIN_ENVELOPE_H

#include <stdbool.h>
#include <stddef.h>

#include "arena.h"

#define ENVELOPE_PREFIX		"X-Maildrain-" /* how each line of a block starts */
#define ENVELOPE_RECIPIENTS_MAX 10000
#define ENVELOPE_HEAD_MAX	((size_t)1 << 20) /* bytes of block and header together */

enum recipient_state {
	RECIPIENT_TODO,	    /* still to be served: an X-Maildrain-To line */
	RECIPIENT_LATER,    /* so too, but not together with those to be served now */
	RECIPIENT_DONE,	    /* X-Maildrain-Done */
	RECIPIENT_DEFERRED, /* a 4xx in this attempt; written as an X-Maildrain-To line again */
	RECIPIENT_FAILED    /* X-Maildrain-Failed */
};

struct recipient {
	const char *address;
	enum recipient_state state;
	char status[12];   /* RFC 3463, of this attempt or the one that failed; or "" */
	const char *reply; /* the server's words, or our own; "" when there are none */
	bool held;	   /* may not be served for now; its state is RECIPIENT_LATER */
	bool redirected;   /* the last recipient stands in for it; likewise */
	bool tried;	   /* this attempt gave it a result */
	bool asked;	   /* its RCPT has been sent in this attempt */
};

struct envelope {
	const char *sender; /* "" is the null sender */
	struct recipient *recipient;
	size_t count;
	size_t room;
	const char *redirected; /* where what is sent went instead, or NULL */
	const char *relay;	/* the relay that the block asks for, or NULL */
	size_t block_len;	/* bytes of the block; 0 without one */
	bool has_from;		/* the block names a sender, or the header does */
	struct arena arena;	/* owns the texts and the recipients */
};

/* What is wrong with a message as a whole: status and words, for a person. */
struct envelope_fault {
	char status[12];
	const char *text;
};

/* The length of the block and header at the start of HEAD[0..LEN), with the empty line that ends
 * the header; 0 while it has not been seen. Lines end in LF, CRLF or CR, as on the wire. */
size_t envelope_head_len(const char *head, size_t len);

/*
 * Reads the envelope from a whole block and header, HEAD[0..LEN). ENVELOPE may have been used
 * before; all it held is gone. Returns 0, or -1 with FAULT when this is no message or has no
 * usable envelope.
 */
int envelope_parse(
    struct envelope *envelope, const char *head, size_t len, struct envelope_fault *fault);

/*
 * For who makes a message: ENVELOPE without recipients, from SENDER, which is copied. All it held
 * is gone. False without memory.
 */
bool envelope_begin(struct envelope *envelope, const char *sender);

/* One recipient more, unless it is there; false when there are too many. */
bool envelope_add(struct envelope *envelope, const char *addr, size_t len);

/* Failed recipients are to be served again: a person has put the message back into new/. */
void envelope_restart(struct envelope *envelope);

/* Gives each recipient still to be served whose address can't be used the result 5.1.3. */
void envelope_refuse_faulty(struct envelope *envelope);

/*
 * Removes Bcc and Resent-Bcc fields from the header, block or not, in place; returns the new
 * length of HEAD[0..LEN), which holds a whole header and nothing behind it.
 */
size_t envelope_drop_bcc(char *head, size_t len);

/*
 * The lines of the block that records what is done and what is left, each with its LF: the sender's
 * (and relay's), then one per recipient. BUF of ENVELOPE_LINE_MAX bytes always suffices; returns
 * the length.
 */
#define ENVELOPE_LINE_MAX 4096
size_t envelope_write_sender(const struct envelope *envelope, char *buf);
size_t envelope_write_recipient(const struct recipient *recipient, char *buf);

/* How many recipients are in STATE. */
size_t envelope_count(const struct envelope *envelope, enum recipient_state state);

/* The result of this attempt for RECIPIENT; REPLY is copied into the arena (or lost with "" when
 * that is full). */
void envelope_result(struct envelope *envelope, struct recipient *recipient,
    enum recipient_state state, const char *status, const char *reply);

/*
 * All that is to be served goes to ADDRESS instead: as the last recipient it stands in for those
 * that were, which are passed over meanwhile. False without memory, and nothing is changed.
 */
bool envelope_redirect(struct envelope *envelope, const char *address);

/* Takes that one away; what came of it has come of each for which it stood. */
void envelope_restore(struct envelope *envelope);

void envelope_free(struct envelope *envelope);

#endif
