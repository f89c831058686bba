#include "smtp.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define RSET "RSET\r\n"
#define RCPT "RCPT TO:<%s>\r\n"
#define DATA "DATA\r\n"
#define DOT  ".\r\n"
#define QUIT "QUIT\r\n"

#define FIRST_CHUNK_MAX 6 /* room for the first octet of a message, or a line end */

enum due { DUE_NOTHING, DUE_RSET, DUE_MAIL, DUE_RCPT, DUE_DATA, DUE_DOT, DUE_QUIT };

void smtp_init(
    struct smtp *smtp, const struct smtp_offer *offer, struct smtp_transaction *ring, size_t depth)
{
	*smtp = (struct smtp){
	    .offer = *offer,
	    .ring = ring,
	    .room = SMTP_ROOM(depth),
	    .depth = depth,
	    .window = 1,
	};
	smtp->offer.chunking = offer->chunking && offer->pipelining && depth > 0;
	reply_init(&smtp->parser);
}

/* The one that is being answered. */
static struct smtp_transaction *first_transaction(const struct smtp *smtp)
{
	return &smtp->ring[smtp->first];
}

static struct smtp_transaction *nth_transaction(const struct smtp *smtp, size_t n)
{
	return &smtp->ring[(smtp->first + n) % smtp->room];
}

/* The one that is being sent. */
static struct smtp_transaction *last_transaction(const struct smtp *smtp)
{
	return nth_transaction(smtp, smtp->count - 1);
}

/* The reply that is due next for TRANSACTION. */
static enum due due_for(const struct smtp_transaction *transaction)
{
	if (transaction->rset_due)
		return DUE_RSET;
	if (transaction->mail_due)
		return DUE_MAIL;
	if (transaction->next_answer < transaction->next_ask)
		return DUE_RCPT;
	if (transaction->data_due)
		return DUE_DATA;
	return transaction->dot_due ? DUE_DOT : DUE_NOTHING;
}

static enum due due(const struct smtp *smtp)
{
	if (smtp->count > 0)
		return due_for(first_transaction(smtp));
	return smtp->quit_sent ? DUE_QUIT : DUE_NOTHING;
}

bool smtp_ready(const struct smtp *smtp)
{
	const struct smtp_transaction *last;

	if (smtp->end != SMTP_OPEN || smtp->quitting || smtp->relay_fault)
		return false;
	if (smtp->count == 0)
		return true;
	last = last_transaction(smtp);
	if (!smtp->offer.pipelining || !last->dot_due)
		return false;
	if (!last->chunked)
		return smtp->count < SMTP_DATA_DEPTH;
	return smtp->count < smtp->window && smtp->flight < SMTP_FLIGHT_MAX;
}

enum smtp_phase smtp_phase(const struct smtp *smtp)
{
	switch (due(smtp)) {
	case DUE_DATA:
		return SMTP_DATA;
	case DUE_DOT:
		return SMTP_DOT;
	case DUE_NOTHING:
		return smtp->count > 0 ? SMTP_BLOCK : SMTP_IDLE;
	default:
		return SMTP_COMMAND;
	}
}

static bool is_complete(const struct smtp *smtp, const struct smtp_transaction *transaction)
{
	return transaction->dot_due && transaction->dot_end <= smtp->written;
}

bool smtp_may_stop(const struct smtp *smtp, const struct message *message)
{
	for (size_t i = 0; i < smtp->count; i++)
		if (nth_transaction(smtp, i)->message == message)
			return !is_complete(smtp, nth_transaction(smtp, i));
	return false;
}

struct message *smtp_finished(struct smtp *smtp)
{
	struct message *message = smtp->finished;

	if (message != NULL) {
		smtp->finished = message->next;
		message->next = NULL;
	}
	return message;
}

static void finish(struct smtp *smtp, struct message *message, enum message_verdict verdict)
{
	message->next = NULL;
	message->verdict = verdict;
	if (smtp->finished == NULL)
		smtp->finished = message;
	else
		smtp->finished_last->next = message;
	smtp->finished_last = message;
	if (verdict == MESSAGE_SETTLED)
		smtp->settled++;
}

static void settle_rest_by_reply(struct message *message, const struct reply *reply)
{
	const bool done = reply->code / 100 == 2;
	const enum recipient_state state = done			    ? RECIPIENT_DONE
					   : reply->code / 100 == 5 ? RECIPIENT_FAILED
								    : RECIPIENT_DEFERRED;

	message_settle(message, state, done ? reply->status : reply_status(reply), reply->text);
}

/* Nobody knows yet in what state the messages in flight leave the server. */
static bool needs_rset(const struct smtp *smtp)
{
	return smtp->needs_rset || (smtp->offer.chunking && smtp->count > 1);
}

void smtp_submit(struct smtp *smtp, struct message *message)
{
	bool utf8;

	smtp_offer_refuse(&smtp->offer, message, &utf8);
	if (envelope_count(&message->envelope, RECIPIENT_TODO) == 0) {
		finish(smtp, message, MESSAGE_SETTLED);
		return;
	}
	message->body.counted = smtp->offer.chunking && message->size.wire > 0;
	smtp->count++;
	smtp->flight += message->size.wire;
	*last_transaction(smtp) = (struct smtp_transaction){
	    .message = message,
	    .utf8 = utf8,
	    .chunked = message->body.counted,
	    .step = needs_rset(smtp) ? SMTP_SEND_RSET : SMTP_SEND_MAIL,
	};
	smtp->needs_rset = false;
}

static size_t put(char *buf, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Writes one command; addresses are checked, so it always fits in SMTP_COMMAND_MAX. */
static size_t put(char *buf, const char *format, ...)
{
	va_list args;
	int len;

	va_start(args, format);
	len = vsnprintf(buf, SMTP_COMMAND_MAX, format, args);
	va_end(args);
	return (size_t)len;
}

static size_t put_mail(const struct smtp *smtp, struct smtp_transaction *transaction, char *buf)
{
	const struct message *message = transaction->message;
	char size[32] = "";
	size_t len;

	if (smtp->offer.size)
		(void)put(size, " SIZE=%" PRIu64, message->size.wire);
	transaction->step = SMTP_SEND_RCPT;
	transaction->mail_due = true;
	len = put(buf, "MAIL FROM:<%s>%s%s%s\r\n", message->envelope.sender, size,
	    message->size.has_8bit ? " BODY=8BITMIME" : "", transaction->utf8 ? " SMTPUTF8" : "");
	transaction->mail_end = transaction->rcpt_end = smtp->given + len;
	return len;
}

/* Moves next_answer on to a recipient that was asked, or to next_ask. */
static void skip_unasked(struct smtp_transaction *transaction)
{
	const struct envelope *envelope = &transaction->message->envelope;

	while (transaction->next_answer < transaction->next_ask &&
	       !envelope->recipient[transaction->next_answer].asked)
		transaction->next_answer++;
}

static size_t put_rcpt(struct smtp_transaction *transaction, char *buf)
{
	struct envelope *envelope = &transaction->message->envelope;

	while (transaction->next_ask < envelope->count) {
		struct recipient *recipient = &envelope->recipient[transaction->next_ask++];

		recipient->asked = recipient->state == RECIPIENT_TODO;
		skip_unasked(transaction);
		if (recipient->asked)
			return put(buf, RCPT, recipient->address);
	}
	transaction->step = SMTP_SEND_DATA;
	return 0;
}

static void session_end(struct smtp *smtp, enum smtp_end end, const char *why);

/* Its octets can't be had any more. Those before it get their replies first. */
static size_t file_changed(struct smtp_transaction *transaction)
{
	message_settle(transaction->message, RECIPIENT_DEFERRED, "4.3.0",
	    "the file changed while it was sent");
	transaction->step = SMTP_STUCK;
	return 0;
}

static size_t all_sent(struct smtp *smtp, struct smtp_transaction *transaction, size_t len)
{
	transaction->step = SMTP_SENT;
	transaction->dot_due = true;
	transaction->dot_end = smtp->given + len;
	return len;
}

/* "BDAT LAST", with all that has not been sent by the first chunk. */
static size_t put_last(struct smtp *smtp, struct smtp_transaction *transaction, char *buf)
{
	const struct message *message = transaction->message;
	size_t len;

	if (transaction->data_end > 0 && !transaction->go_ahead)
		return 0;
	len = put(buf, "BDAT %" PRIu64 " LAST\r\n", message->size.wire - message->body.wire);
	transaction->step = SMTP_SEND_BODY;
	transaction->last_end = smtp->given + len;
	return message->body_ended ? all_sent(smtp, transaction, len) : len;
}

/* Next to nothing: should the server not know BDAT, it would take what follows for commands. */
static size_t put_first_chunk(struct smtp *smtp, struct smtp_transaction *transaction, char *buf)
{
	char chunk[FIRST_CHUNK_MAX];
	const ssize_t n = message_read(transaction->message, chunk, sizeof chunk);
	size_t len;

	if (n <= 0)
		return file_changed(transaction);
	len = put(buf, "BDAT %zd\r\n", n);
	memcpy(buf + len, chunk, (size_t)n);
	len += (size_t)n;
	transaction->step = SMTP_SEND_LAST;
	transaction->data_due = true;
	transaction->data_end = smtp->given + len;
	return len;
}

static size_t put_data(struct smtp *smtp, struct smtp_transaction *transaction, char *buf)
{
	const bool refused = due_for(transaction) == DUE_NOTHING && transaction->accepted == 0;

	if (refused) {
		smtp->needs_rset = true;
		transaction->step = SMTP_SENT;
		return 0;
	}
	if (transaction->chunked)
		return smtp->chunks ? put_last(smtp, transaction, buf)
				    : put_first_chunk(smtp, transaction, buf);
	transaction->step = SMTP_SEND_BODY;
	transaction->data_due = true;
	transaction->data_end = smtp->given + strlen(DATA);
	return put(buf, DATA);
}

static size_t put_octets(
    struct smtp *smtp, struct smtp_transaction *transaction, char *buf, size_t size)
{
	struct message *message = transaction->message;
	const ssize_t len = message_read(message, buf, size);

	if (len == -1)
		return file_changed(transaction);
	return message->body_ended ? all_sent(smtp, transaction, (size_t)len) : (size_t)len;
}

static size_t put_body(
    struct smtp *smtp, struct smtp_transaction *transaction, char *buf, size_t size)
{
	ssize_t len = 0;

	if (transaction->chunked)
		return put_octets(smtp, transaction, buf, size);
	if (!transaction->go_ahead)
		return 0;
	/* A 354 though nobody is to get it: the lone dot ends it, RFC 2920 section 3.1. */
	if (transaction->accepted > 0)
		len = message_read(transaction->message, buf, size);
	if (len == -1)
		return file_changed(transaction);
	return len > 0 ? (size_t)len : all_sent(smtp, transaction, put(buf, DOT));
}

/* The next piece of TRANSACTION's dialogue; 0 may also mean that a step was passed over. */
static size_t put_step(
    struct smtp *smtp, struct smtp_transaction *transaction, char *buf, size_t size)
{
	switch (transaction->step) {
	case SMTP_SEND_RSET:
		transaction->step = SMTP_SEND_MAIL;
		transaction->rset_due = true;
		transaction->rset_end = smtp->given + strlen(RSET);
		return put(buf, RSET);
	case SMTP_SEND_MAIL:
		return put_mail(smtp, transaction, buf);
	case SMTP_SEND_RCPT:
		return put_rcpt(transaction, buf);
	case SMTP_SEND_DATA:
		return put_data(smtp, transaction, buf);
	case SMTP_SEND_LAST:
		return put_last(smtp, transaction, buf);
	case SMTP_SEND_BODY:
		return put_body(smtp, transaction, buf, size);
	case SMTP_SENT:
	case SMTP_STUCK:
		break;
	}
	return 0;
}

static size_t put_quit(struct smtp *smtp, char *buf)
{
	if (!smtp->quitting || smtp->quit_sent || smtp->end != SMTP_OPEN)
		return 0;
	smtp->quit_sent = true;
	smtp->quit_end = smtp->given + strlen(QUIT);
	return put(buf, QUIT);
}

/* Takes the first transaction, which is through, off the ring. */
static void pop(struct smtp *smtp, enum message_verdict verdict)
{
	struct message *message = first_transaction(smtp)->message;

	smtp->count--;
	smtp->first = (smtp->first + 1) % smtp->room;
	smtp->flight -= message->size.wire;
	finish(smtp, message, verdict);
}

static bool is_through(const struct smtp_transaction *transaction)
{
	return transaction->step == SMTP_SENT && due_for(transaction) == DUE_NOTHING;
}

static void pop_when_through(struct smtp *smtp)
{
	const struct smtp_transaction *first = first_transaction(smtp);

	if (smtp->count > 0 && is_through(first))
		pop(smtp, first->untried ? MESSAGE_UNTRIED : MESSAGE_SETTLED);
	if (smtp->count > 0 && first_transaction(smtp)->step == SMTP_STUCK)
		session_end(smtp, SMTP_LOCAL, "a message file changed while it was sent");
	else if (smtp->count == 0 && smtp->relay_fault)
		session_end(smtp, SMTP_RELAY_FAULT, smtp->why);
}

size_t smtp_output(struct smtp *smtp, char *buf, size_t size)
{
	size_t len = 0;

	while (size - len >= SMTP_COMMAND_MAX && smtp->count > 0 && smtp->end == SMTP_OPEN) {
		struct smtp_transaction *transaction = last_transaction(smtp);
		const enum smtp_step step = transaction->step;
		size_t n;

		if (!smtp->offer.pipelining && due(smtp) != DUE_NOTHING)
			return len;
		n = put_step(smtp, transaction, buf + len, size - len);
		len += n;
		smtp->given += n;
		if (n == 0 && smtp->end == SMTP_OPEN && transaction->step == step)
			return len;
		pop_when_through(smtp);
	}
	if (smtp->count == 0 && size - len >= SMTP_COMMAND_MAX) {
		const size_t n = put_quit(smtp, buf + len);

		len += n;
		smtp->given += n;
	}
	return len;
}

void smtp_written(struct smtp *smtp, size_t len)
{
	smtp->written += len;
}

/* What the reply that comes now can be the answer to. */
static enum due due_and_written(const struct smtp *smtp);

/* Whether the server has been tried with BDAT, and may have ended the session for that. */
static bool may_have_choked(const struct smtp *smtp)
{
	const struct smtp_transaction *first = first_transaction(smtp);
	const enum due what = due_and_written(smtp);

	if (smtp->count == 0 || smtp->chunks || !first->chunked || first->data_end == 0 ||
	    first->data_end > smtp->written)
		return false;
	return !smtp->goodbye || what == DUE_DATA || what == DUE_DOT || what == DUE_NOTHING;
}

/* Whether the server was at TRANSACTION's octets, and nothing else, when the session ended. */
static bool ended_by_octets(const struct smtp *smtp, const struct smtp_transaction *transaction)
{
	const bool begun = transaction->go_ahead ||
			   (transaction->last_end > 0 && smtp->written > transaction->last_end);

	if (smtp->choked || transaction != first_transaction(smtp))
		return false;
	return begun && (!smtp->goodbye || due_and_written(smtp) == DUE_NOTHING);
}

static void settle_lost_chunks(struct smtp *smtp, struct smtp_transaction *transaction)
{
	struct message *message = transaction->message;
	const bool in_doubt = is_complete(smtp, transaction) && !smtp->goodbye;

	if (envelope_count(&message->envelope, RECIPIENT_TODO) == 0 ||
	    (!in_doubt && !ended_by_octets(smtp, transaction)))
		return;
	message->in_doubt = in_doubt;
	transaction->untried = false;
	message_settle(message, RECIPIENT_DEFERRED, "4.4.2", smtp->why);
}

/* Settles TRANSACTION's message as the end of the session leaves it. */
static enum message_verdict settle_lost(struct smtp *smtp, struct smtp_transaction *transaction)
{
	struct message *message = transaction->message;

	if (smtp->end == SMTP_RELAY_FAULT && !smtp->relay_fault)
		return MESSAGE_UNTRIED;
	if (transaction->chunked) {
		settle_lost_chunks(smtp, transaction);
	} else if (transaction->go_ahead) {
		message->in_doubt = is_complete(smtp, transaction) && transaction->accepted > 0;
		message_settle(message, RECIPIENT_DEFERRED, "4.4.2", smtp->why);
	}
	return envelope_count(&message->envelope, RECIPIENT_TODO) == 0 && !transaction->untried
		   ? MESSAGE_SETTLED
		   : MESSAGE_UNTRIED;
}

static void session_end(struct smtp *smtp, enum smtp_end end, const char *why)
{
	if (smtp->end != SMTP_OPEN)
		return;
	smtp->end = smtp->relay_fault ? SMTP_RELAY_FAULT : end;
	if (!smtp->relay_fault)
		(void)snprintf(smtp->why, sizeof smtp->why, "%s", why);
	smtp->choked = smtp->choked || (end == SMTP_LOST && may_have_choked(smtp));
	for (size_t i = 0; i < smtp->count; i++)
		nth_transaction(smtp, i)->verdict = settle_lost(smtp, nth_transaction(smtp, i));
	while (smtp->count > 0)
		pop(smtp, first_transaction(smtp)->verdict);
}

void smtp_lost(struct smtp *smtp, const char *why)
{
	const bool idle = smtp->count == 0;

	session_end(smtp, idle && smtp->settled > 0 ? SMTP_CLOSED : SMTP_LOST, why);
}

void smtp_quit(struct smtp *smtp)
{
	smtp->quitting = true;
}

static void nonsense(struct smtp *smtp, const struct reply *reply, const char *what)
{
	char why[REPLY_TEXT_MAX];

	(void)snprintf(why, sizeof why, "unexpected reply to %s: %.400s", what, reply->text);
	session_end(smtp, SMTP_LOST, why);
}

static void mail_answered(
    struct smtp *smtp, struct smtp_transaction *transaction, const struct reply *reply)
{
	transaction->mail_due = false;
	if (reply->code / 100 == 2) {
		transaction->mail_accepted = true;
		return;
	}
	if (reply->code / 100 == 3) {
		nonsense(smtp, reply, "MAIL");
		return;
	}
	settle_rest_by_reply(transaction->message, reply);
	transaction->message->refused_at_mail = reply->code;
	if (transaction->step < SMTP_SEND_BODY)
		transaction->step = SMTP_SENT;
}

static struct recipient *rcpt_due(const struct smtp_transaction *transaction)
{
	return &transaction->message->envelope.recipient[transaction->next_answer];
}

static size_t rcpt_len(const struct recipient *recipient)
{
	return strlen(RCPT) - strlen("%s") + strlen(recipient->address);
}

static void rcpt_answered(
    struct smtp *smtp, struct smtp_transaction *transaction, const struct reply *reply)
{
	struct envelope *envelope = &transaction->message->envelope;
	struct recipient *recipient = rcpt_due(transaction);

	transaction->rcpt_end += rcpt_len(recipient);
	transaction->next_answer++;
	skip_unasked(transaction);
	if (!transaction->mail_accepted)
		return; /* "503 need MAIL": its result is MAIL's */
	if (reply->code / 100 == 2)
		transaction->accepted++;
	else if (reply->code / 100 == 3)
		nonsense(smtp, reply, "RCPT");
	else if (transaction->untried)
		envelope_result(envelope, recipient, RECIPIENT_DEFERRED, "4.7.0", reply->text);
	else
		envelope_result(envelope, recipient,
		    reply->code / 100 == 5 ? RECIPIENT_FAILED : RECIPIENT_DEFERRED,
		    reply_status(reply), reply->text);
}

/* What a server says that does not do what it announces; until it has done so once. */
static bool is_choking(
    const struct smtp *smtp, const struct smtp_transaction *transaction, int code)
{
	return !smtp->chunks && transaction->accepted > 0 &&
	       (code / 100 == 3 || code == 421 || (code >= 500 && code <= 504));
}

static void choke(struct smtp *smtp, const struct reply *reply)
{
	char why[REPLY_TEXT_MAX];

	smtp->choked = true;
	(void)snprintf(why, sizeof why, "BDAT is announced, but not taken: %.400s", reply->text);
	session_end(smtp, SMTP_LOST, why);
}

static void first_chunk_answered(
    struct smtp *smtp, struct smtp_transaction *transaction, const struct reply *reply)
{
	transaction->data_due = false;
	if (is_choking(smtp, transaction, reply->code)) {
		choke(smtp, reply);
		return;
	}
	transaction->go_ahead = reply->code / 100 == 2 && transaction->accepted > 0;
	if (transaction->go_ahead)
		return;
	settle_rest_by_reply(transaction->message, reply);
	smtp->needs_rset = true;
	transaction->step = SMTP_SENT;
}

static void chunks_answered(
    struct smtp *smtp, struct smtp_transaction *transaction, const struct reply *reply)
{
	const bool taken = reply->code / 100 == 2 && transaction->accepted > 0;

	if (reply->code / 100 == 3 && smtp->chunks) {
		nonsense(smtp, reply, "BDAT");
		return;
	}
	transaction->dot_due = false;
	if (is_choking(smtp, transaction, reply->code)) {
		choke(smtp, reply);
		return;
	}
	settle_rest_by_reply(transaction->message, reply);
	smtp->needs_rset = smtp->needs_rset || !taken;
	if (!taken)
		return;
	transaction->untried = false;
	smtp->chunks = true;
	if (smtp->window < smtp->depth)
		smtp->window++;
}

static void data_answered(
    struct smtp *smtp, struct smtp_transaction *transaction, const struct reply *reply)
{
	transaction->data_due = false;
	if (reply->code == 354) {
		transaction->go_ahead = true;
		return;
	}
	if (reply->code < 400) {
		nonsense(smtp, reply, "DATA");
		return;
	}
	settle_rest_by_reply(transaction->message, reply);
	smtp->needs_rset = transaction->mail_accepted;
	transaction->step = SMTP_SENT;
}

static void dot_answered(
    struct smtp *smtp, struct smtp_transaction *transaction, const struct reply *reply)
{
	if (reply->code / 100 == 3) {
		nonsense(smtp, reply, "the final dot");
		return;
	}
	transaction->dot_due = false;
	settle_rest_by_reply(transaction->message, reply);
}

/* Where the command ends whose reply is due. */
static uint64_t due_end(const struct smtp *smtp, enum due what)
{
	const struct smtp_transaction *transaction = first_transaction(smtp);

	switch (what) {
	case DUE_NOTHING:
		break;
	case DUE_RSET:
		return transaction->rset_end;
	case DUE_MAIL:
		return transaction->mail_end;
	case DUE_RCPT:
		return transaction->rcpt_end + rcpt_len(rcpt_due(transaction));
	case DUE_DATA:
		return transaction->data_end;
	case DUE_DOT:
		return transaction->dot_end;
	case DUE_QUIT:
		return smtp->quit_end;
	}
	return 0;
}

static enum due due_and_written(const struct smtp *smtp)
{
	const enum due what = due(smtp);

	return due_end(smtp, what) <= smtp->written ? what : DUE_NOTHING;
}

static bool is_relay_fault(int code)
{
	return code == 530 || code == 534 || code == 535 || code == 538;
}

/*
 * The relay is misconfigured. What it has got whole by BDAT it may take all the same: then the
 * session ends once all is answered.
 */
static void relay_fault(struct smtp *smtp, const struct reply *reply)
{
	struct smtp_transaction *transaction = first_transaction(smtp);

	if (smtp->count == 0 || !transaction->chunked || transaction->last_end == 0) {
		session_end(smtp, SMTP_RELAY_FAULT, reply->text);
		return;
	}
	transaction->untried = true;
	smtp->relay_fault = true;
	(void)snprintf(smtp->why, sizeof smtp->why, "%s", reply->text);
}

/* The reply to WHAT of the first transaction. */
static void take_answer(struct smtp *smtp, enum due what, const struct reply *reply)
{
	struct smtp_transaction *transaction = first_transaction(smtp);

	switch (what) {
	case DUE_NOTHING:
		nonsense(smtp, reply, "no command");
		break;
	case DUE_QUIT:
		session_end(smtp, SMTP_CLOSED, reply->text);
		break;
	case DUE_RSET:
		transaction->rset_due = false;
		if (reply->code / 100 != 2)
			nonsense(smtp, reply, "RSET");
		break;
	case DUE_MAIL:
		mail_answered(smtp, transaction, reply);
		break;
	case DUE_RCPT:
		rcpt_answered(smtp, transaction, reply);
		break;
	case DUE_DATA:
		if (transaction->chunked)
			first_chunk_answered(smtp, transaction, reply);
		else
			data_answered(smtp, transaction, reply);
		break;
	case DUE_DOT:
		if (transaction->chunked)
			chunks_answered(smtp, transaction, reply);
		else
			dot_answered(smtp, transaction, reply);
		break;
	}
}

static void take_reply(struct smtp *smtp, const struct reply *reply)
{
	const enum due what = due_and_written(smtp);

	smtp->replies++;
	if (reply->code >= 400)
		smtp->window = 1;
	/* 421 in answer to the dot is this message's own result; else it is the session's end. */
	if (reply->code == 421 && what != DUE_DOT) {
		smtp->goodbye = true;
		smtp_lost(smtp, reply->text);
		return;
	}
	if (is_relay_fault(reply->code) && what != DUE_NOTHING)
		relay_fault(smtp, reply);
	if (smtp->end == SMTP_OPEN)
		take_answer(smtp, what, reply);
	if (smtp->end == SMTP_OPEN)
		pop_when_through(smtp);
	if (reply->code == 421) {
		smtp->goodbye = true;
		smtp_lost(smtp, reply->text);
	}
}

void smtp_input(struct smtp *smtp, const char *bytes, size_t len)
{
	while (len > 0 && smtp->end == SMTP_OPEN) {
		size_t used;
		const enum reply_progress progress = reply_feed(&smtp->parser, bytes, len, &used);

		bytes += used;
		len -= used;
		if (progress == REPLY_WHOLE)
			take_reply(smtp, &smtp->parser.reply);
		else if (progress == REPLY_BROKEN)
			session_end(smtp, SMTP_LOST, "the peer does not speak SMTP");
	}
}
