#include "smtp_answer.h"

#include <stdio.h>
#include <string.h>

#include "smtp_flight.h"

static enum recipient_state state_by_reply(const struct reply *reply)
{
	switch (reply->code / 100) {
	case 2:
		return RECIPIENT_DONE;
	case 5:
		return RECIPIENT_FAILED;
	default:
		return RECIPIENT_DEFERRED;
	}
}

static const char *status_by_reply(const struct reply *reply)
{
	return reply->code / 100 == 2 ? reply->status : reply_status(reply);
}

static void settle_rest_by_reply(struct message *message, const struct reply *reply)
{
	message_settle(message, state_by_reply(reply), status_by_reply(reply), reply->text);
}

static bool is_relay_fault(int code)
{
	return code == 530 || code == 534 || code == 535 || code == 538;
}

/*
 * Whether the server asks for less mail. 454 is Amazon's "Throttling failure"; of those that RFC
 * 4954 and RFC 3207 know none comes in a transaction. Other 421 end sessions that had their share
 * of messages, were idle, or were with a server that goes down: a slower pace would help none.
 */
static bool asks_for_less(const struct reply *reply)
{
	switch (reply->code) {
	case 421:
		return strncmp(reply->status, "4.7.", 4) == 0;
	case 450:
		return strcmp(reply->status, "4.7.1") == 0;
	case 452:
		return strcmp(reply->status, "4.3.2") == 0;
	default:
		return reply->code == 454;
	}
}

static void nonsense(struct smtp *smtp, const struct reply *reply, const char *what)
{
	char why[REPLY_TEXT_MAX];

	(void)snprintf(why, sizeof why, "unexpected reply to %s: %.400s", what, reply->text);
	smtp_end_session(smtp, SMTP_LOST, why);
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

static void rcpt_answered(
    struct smtp *smtp, struct smtp_transaction *transaction, const struct reply *reply)
{
	struct envelope *envelope = &transaction->message->envelope;
	struct recipient *recipient = smtp_rcpt_due(transaction);

	smtp_pass_rcpt(transaction);
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

static void data_answered(
    struct smtp *smtp, struct smtp_transaction *transaction, const struct reply *reply)
{
	transaction->data_due = false;
	if (reply->code < 400 && smtp->offer.lmtp && transaction->accepted == 0) {
		nonsense(smtp, reply, "DATA for nobody");
		return;
	}
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

/* The reply to the final dot, or to the last chunk, is that of one recipient or of all. */
static void settle_by_dot(
    struct smtp *smtp, struct smtp_transaction *transaction, const struct reply *reply)
{
	struct envelope *envelope = &transaction->message->envelope;
	struct recipient *recipient;

	if (!smtp->offer.lmtp) {
		settle_rest_by_reply(transaction->message, reply);
		return;
	}
	recipient = smtp_dot_due(transaction);
	if (is_relay_fault(reply->code))
		envelope_result(envelope, recipient, RECIPIENT_DEFERRED, "4.7.0", reply->text);
	else
		envelope_result(envelope, recipient, state_by_reply(reply), status_by_reply(reply),
		    reply->text);
	transaction->dot_due = smtp_dot_due(transaction) != NULL;
}

static void dot_answered(
    struct smtp *smtp, struct smtp_transaction *transaction, const struct reply *reply)
{
	if (reply->code / 100 == 3) {
		nonsense(smtp, reply, "the final dot");
		return;
	}
	transaction->dot_due = false;
	settle_by_dot(smtp, transaction, reply);
}

/* What a server says that does not do what it announces; until it has done so once. */
static bool is_choking(
    const struct smtp *smtp, const struct smtp_transaction *transaction, int code)
{
	return !smtp->chunks && transaction->accepted > 0 && transaction->next_dot == 0 &&
	       (code / 100 == 3 || code == 421 || (code >= 500 && code <= 504));
}

static void choke(struct smtp *smtp, const struct reply *reply)
{
	char why[REPLY_TEXT_MAX];

	smtp->choked = true;
	(void)snprintf(why, sizeof why, "BDAT is announced, but not taken: %.400s", reply->text);
	smtp_end_session(smtp, SMTP_LOST, why);
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

	if (reply->code / 100 == 3 && (smtp->chunks || transaction->next_dot > 0)) {
		nonsense(smtp, reply, "BDAT");
		return;
	}
	transaction->dot_due = false;
	if (is_choking(smtp, transaction, reply->code)) {
		choke(smtp, reply);
		return;
	}
	settle_by_dot(smtp, transaction, reply);
	smtp->needs_rset = smtp->needs_rset || !taken;
	if (!taken)
		return;
	transaction->untried = false;
	smtp->chunks = true;
	if (smtp->landing == 0 && smtp->window < smtp->depth)
		smtp->window++;
}

/*
 * The relay is misconfigured. What it has got whole by BDAT it may take all the same, and of the
 * recipients by LMTP some may have their mail: then the session ends once all is answered.
 */
static void relay_fault(struct smtp *smtp, enum smtp_due what, const struct reply *reply)
{
	struct smtp_transaction *transaction = smtp_first(smtp);
	const bool one_of_many = smtp->offer.lmtp && what == SMTP_DUE_DOT;
	const bool all_out = smtp->count > 0 && transaction->chunked && transaction->last_end > 0;

	if (!one_of_many && !all_out) {
		smtp_end_session(smtp, SMTP_RELAY_FAULT, reply->text);
		return;
	}
	transaction->untried = !one_of_many;
	smtp->relay_fault = true;
	(void)snprintf(smtp->why, sizeof smtp->why, "%s", reply->text);
}

/* The reply to WHAT of the first transaction. */
static void take_answer(struct smtp *smtp, enum smtp_due what, const struct reply *reply)
{
	struct smtp_transaction *transaction = smtp_first(smtp);

	switch (what) {
	case SMTP_DUE_NOTHING:
		nonsense(smtp, reply, "no command");
		break;
	case SMTP_DUE_QUIT:
		smtp_end_session(smtp, SMTP_CLOSED, reply->text);
		break;
	case SMTP_DUE_RSET:
		transaction->rset_due = false;
		if (reply->code / 100 != 2)
			nonsense(smtp, reply, "RSET");
		break;
	case SMTP_DUE_MAIL:
		mail_answered(smtp, transaction, reply);
		break;
	case SMTP_DUE_RCPT:
		rcpt_answered(smtp, transaction, reply);
		break;
	case SMTP_DUE_DATA:
		if (transaction->chunked)
			first_chunk_answered(smtp, transaction, reply);
		else
			data_answered(smtp, transaction, reply);
		break;
	case SMTP_DUE_DOT:
		if (transaction->chunked)
			chunks_answered(smtp, transaction, reply);
		else
			dot_answered(smtp, transaction, reply);
		break;
	}
}

/* A refusal of any kind. */
static void heed(struct smtp *smtp, const struct reply *reply)
{
	smtp->window = 1;
	smtp->landing = smtp->count;
	if (!asks_for_less(reply))
		return;
	if (smtp->count > 0)
		smtp_first(smtp)->message->slow_down = true;
	else if (reply->code == 421)
		smtp->slow_down = true;
}

static void note_goodbye(struct smtp *smtp, const struct reply *reply)
{
	smtp->goodbye = true;
	(void)snprintf(smtp->why, sizeof smtp->why, "%s", reply->text);
}

/*
 * 421 in answer to the dot is this message's own result, or by LMTP this recipient's: the others
 * may still get theirs. Else it is the session's end.
 */
void smtp_answer(struct smtp *smtp, const struct reply *reply)
{
	const enum smtp_due what = smtp_due_written(smtp);

	smtp->replies++;
	if (reply->code >= 400)
		heed(smtp, reply);
	if (is_relay_fault(reply->code) && what != SMTP_DUE_NOTHING)
		relay_fault(smtp, what, reply);
	if (smtp->end == SMTP_OPEN && (reply->code != 421 || what == SMTP_DUE_DOT))
		take_answer(smtp, what, reply);
	if (smtp->end == SMTP_OPEN)
		smtp_pop_when_through(smtp);
	if (smtp->end == SMTP_OPEN && reply->code == 421)
		note_goodbye(smtp, reply);
	if (smtp->goodbye && (what != SMTP_DUE_DOT || smtp_due(smtp) != SMTP_DUE_DOT))
		smtp_lost(smtp, smtp->why);
}
