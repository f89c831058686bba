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

enum due { DUE_NOTHING, DUE_RSET, DUE_MAIL, DUE_RCPT, DUE_DATA, DUE_DOT, DUE_QUIT };

void smtp_init(struct smtp *smtp, const struct smtp_offer *offer)
{
	*smtp = (struct smtp){.offer = *offer};
	reply_init(&smtp->parser);
}

static struct smtp_transaction *last_transaction(struct smtp *smtp)
{
	return &smtp->transaction[smtp->count - 1];
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
		return due_for(&smtp->transaction[0]);
	return smtp->quit_sent ? DUE_QUIT : DUE_NOTHING;
}

bool smtp_ready(const struct smtp *smtp)
{
	const struct smtp_transaction *last;

	if (smtp->end != SMTP_OPEN || smtp->quitting)
		return false;
	if (smtp->count == 0)
		return true;
	last = &smtp->transaction[smtp->count - 1];
	return smtp->offer.pipelining && smtp->count < SMTP_DEPTH && last->dot_due;
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

bool smtp_holds(const struct smtp *smtp, const struct message *message)
{
	for (size_t i = 0; i < smtp->count; i++)
		if (smtp->transaction[i].message == message)
			return true;
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
	struct message **end = &smtp->finished;

	while (*end != NULL)
		end = &(*end)->next;
	message->next = NULL;
	message->verdict = verdict;
	*end = message;
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

void smtp_submit(struct smtp *smtp, struct message *message)
{
	bool utf8;

	smtp_offer_refuse(&smtp->offer, message, &utf8);
	if (envelope_count(&message->envelope, RECIPIENT_TODO) == 0) {
		finish(smtp, message, MESSAGE_SETTLED);
		return;
	}
	smtp->count++;
	*last_transaction(smtp) = (struct smtp_transaction){
	    .message = message,
	    .utf8 = utf8,
	    .step = smtp->needs_rset ? SMTP_SEND_RSET : SMTP_SEND_MAIL,
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

static size_t put_data(struct smtp *smtp, struct smtp_transaction *transaction, char *buf)
{
	const bool refused = due_for(transaction) == DUE_NOTHING && transaction->accepted == 0;

	if (refused) {
		smtp->needs_rset = true;
		transaction->step = SMTP_SENT;
		return 0;
	}
	transaction->step = SMTP_SEND_BODY;
	transaction->data_due = true;
	transaction->data_end = smtp->given + strlen(DATA);
	return put(buf, DATA);
}

static void session_end(struct smtp *smtp, enum smtp_end end, const char *why);

static size_t put_body(
    struct smtp *smtp, struct smtp_transaction *transaction, char *buf, size_t size)
{
	struct message *message = transaction->message;
	ssize_t len = 0;

	if (!transaction->go_ahead)
		return 0;
	/* A 354 though nobody is to get it: the lone dot ends it, RFC 2920 section 3.1. */
	if (transaction->accepted > 0)
		len = message_read(message, buf, size);
	if (len == -1) {
		message_settle(
		    message, RECIPIENT_DEFERRED, "4.3.0", "the file changed while it was sent");
		session_end(smtp, SMTP_LOCAL, "a message file changed while it was sent");
		return 0;
	}
	if (len > 0)
		return (size_t)len;
	transaction->step = SMTP_SENT;
	transaction->dot_due = true;
	transaction->dot_end = smtp->given + strlen(DOT);
	return put(buf, DOT);
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
	case SMTP_SEND_BODY:
		return put_body(smtp, transaction, buf, size);
	case SMTP_SENT:
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
	struct message *message = smtp->transaction[0].message;

	smtp->count--;
	memmove(&smtp->transaction[0], &smtp->transaction[1],
	    smtp->count * sizeof smtp->transaction[0]);
	finish(smtp, message, verdict);
}

static void pop_when_through(struct smtp *smtp)
{
	if (smtp->count > 0 && smtp->transaction[0].step == SMTP_SENT &&
	    due_for(&smtp->transaction[0]) == DUE_NOTHING)
		pop(smtp, MESSAGE_SETTLED);
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

/* Settles TRANSACTION's message as the end of the session leaves it. */
static enum message_verdict settle_lost(
    const struct smtp *smtp, struct smtp_transaction *transaction)
{
	struct message *message = transaction->message;

	if (smtp->end == SMTP_RELAY_FAULT)
		return MESSAGE_UNTRIED;
	if (transaction->go_ahead) {
		message->in_doubt = transaction->dot_due && transaction->accepted > 0 &&
				    transaction->dot_end <= smtp->written;
		message_settle(message, RECIPIENT_DEFERRED, "4.4.2", smtp->why);
	}
	return envelope_count(&message->envelope, RECIPIENT_TODO) == 0 ? MESSAGE_SETTLED
								       : MESSAGE_UNTRIED;
}

static void session_end(struct smtp *smtp, enum smtp_end end, const char *why)
{
	if (smtp->end != SMTP_OPEN)
		return;
	smtp->end = end;
	(void)snprintf(smtp->why, sizeof smtp->why, "%s", why);
	while (smtp->count > 0)
		pop(smtp, settle_lost(smtp, &smtp->transaction[0]));
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
	else
		envelope_result(envelope, recipient,
		    reply->code / 100 == 5 ? RECIPIENT_FAILED : RECIPIENT_DEFERRED,
		    reply_status(reply), reply->text);
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
	const struct smtp_transaction *transaction = &smtp->transaction[0];

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

/* What the reply that comes now can be the answer to. */
static enum due due_and_written(const struct smtp *smtp)
{
	const enum due what = due(smtp);

	return due_end(smtp, what) <= smtp->written ? what : DUE_NOTHING;
}

static bool is_relay_fault(int code)
{
	return code == 530 || code == 534 || code == 535 || code == 538;
}

static void take_reply(struct smtp *smtp, const struct reply *reply)
{
	struct smtp_transaction *transaction = &smtp->transaction[0];
	const enum due what = due_and_written(smtp);

	smtp->replies++;
	/* 421 in answer to the dot is this message's own result; else it is the session's end. */
	if (reply->code == 421 && what != DUE_DOT) {
		smtp_lost(smtp, reply->text);
		return;
	}
	if (is_relay_fault(reply->code) && what != DUE_NOTHING) {
		session_end(smtp, SMTP_RELAY_FAULT, reply->text);
		return;
	}
	switch (what) {
	case DUE_NOTHING:
		nonsense(smtp, reply, "no command");
		return;
	case DUE_QUIT:
		session_end(smtp, SMTP_CLOSED, reply->text);
		return;
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
		data_answered(smtp, transaction, reply);
		break;
	case DUE_DOT:
		dot_answered(smtp, transaction, reply);
		break;
	}
	pop_when_through(smtp);
	if (reply->code == 421)
		smtp_lost(smtp, reply->text);
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
