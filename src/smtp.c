#include "smtp.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "smtp_answer.h"
#include "smtp_flight.h"

#define RSET "RSET\r\n"
#define DATA "DATA\r\n"
#define DOT  ".\r\n"
#define QUIT "QUIT\r\n"

#define FIRST_CHUNK_MAX 6 /* room for the first octet of a message, or a line end */

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

bool smtp_ready(const struct smtp *smtp)
{
	const struct smtp_transaction *last;

	if (smtp->end != SMTP_OPEN || smtp->quitting || smtp->relay_fault)
		return false;
	if (smtp->count == 0)
		return true;
	last = smtp_last(smtp);
	if (!smtp->offer.pipelining || !last->dot_due)
		return false;
	if (!last->chunked || (smtp->offer.lmtp && smtp->chunks))
		return smtp->count < SMTP_DATA_DEPTH;
	return smtp->count < smtp->window && smtp->flight < SMTP_FLIGHT_MAX;
}

enum smtp_phase smtp_phase(const struct smtp *smtp)
{
	switch (smtp_due(smtp)) {
	case SMTP_DUE_DATA:
		return SMTP_DATA;
	case SMTP_DUE_DOT:
		return SMTP_DOT;
	case SMTP_DUE_NOTHING:
		return smtp->count > 0 ? SMTP_BLOCK : SMTP_IDLE;
	default:
		return SMTP_COMMAND;
	}
}

bool smtp_may_stop(const struct smtp *smtp, const struct message *message)
{
	for (size_t i = 0; i < smtp->count; i++)
		if (smtp_nth(smtp, i)->message == message)
			return !smtp_is_complete(smtp, smtp_nth(smtp, i));
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
		smtp_finish(smtp, message, MESSAGE_SETTLED);
		return;
	}
	message->body.counted = smtp->offer.chunking && message->size.wire > 0;
	smtp->count++;
	smtp->begun++;
	smtp->flight += message->size.wire;
	*smtp_last(smtp) = (struct smtp_transaction){
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

static size_t put_rcpt(struct smtp_transaction *transaction, char *buf)
{
	struct envelope *envelope = &transaction->message->envelope;

	while (transaction->next_ask < envelope->count) {
		struct recipient *recipient = &envelope->recipient[transaction->next_ask++];

		recipient->asked = recipient->state == RECIPIENT_TODO;
		smtp_skip_unasked(transaction);
		if (recipient->asked)
			return put(buf, SMTP_RCPT, recipient->address);
	}
	transaction->step = SMTP_SEND_DATA;
	return 0;
}

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
	if (smtp->offer.lmtp && smtp_due_for(transaction) != SMTP_DUE_NOTHING)
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
	const bool refused =
	    smtp_due_for(transaction) == SMTP_DUE_NOTHING && transaction->accepted == 0;

	if (refused) {
		smtp->needs_rset = true;
		transaction->step = SMTP_SENT;
		return 0;
	}
	if (transaction->chunked && !smtp->chunks)
		return put_first_chunk(smtp, transaction, buf);
	if (transaction->chunked)
		return put_last(smtp, transaction, buf);
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

size_t smtp_output(struct smtp *smtp, char *buf, size_t size)
{
	size_t len = 0;

	while (size - len >= SMTP_COMMAND_MAX && smtp->count > 0 && smtp->end == SMTP_OPEN) {
		struct smtp_transaction *transaction = smtp_last(smtp);
		const enum smtp_step step = transaction->step;
		size_t n;

		if (!smtp->offer.pipelining && smtp_due(smtp) != SMTP_DUE_NOTHING)
			return len;
		n = put_step(smtp, transaction, buf + len, size - len);
		len += n;
		smtp->given += n;
		if (n == 0 && smtp->end == SMTP_OPEN && transaction->step == step)
			return len;
		smtp_pop_when_through(smtp);
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

void smtp_lost(struct smtp *smtp, const char *why)
{
	const bool idle = smtp->count == 0;

	smtp_end_session(smtp, idle && smtp->settled > 0 ? SMTP_CLOSED : SMTP_LOST, why);
}

void smtp_quit(struct smtp *smtp)
{
	smtp->quitting = true;
}

void smtp_input(struct smtp *smtp, const char *bytes, size_t len)
{
	while (len > 0 && smtp->end == SMTP_OPEN) {
		size_t used;
		const enum reply_progress progress = reply_feed(&smtp->parser, bytes, len, &used);

		bytes += used;
		len -= used;
		if (progress == REPLY_WHOLE)
			smtp_answer(smtp, &smtp->parser.reply);
		else if (progress == REPLY_BROKEN)
			smtp_end_session(smtp, SMTP_LOST, "the peer does not speak SMTP");
	}
}
