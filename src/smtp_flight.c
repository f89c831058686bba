#include "smtp_flight.h"

#include <stdio.h>
#include <string.h>

struct smtp_transaction *smtp_first(const struct smtp *smtp)
{
	return &smtp->ring[smtp->first];
}

struct smtp_transaction *smtp_nth(const struct smtp *smtp, size_t n)
{
	return &smtp->ring[(smtp->first + n) % smtp->room];
}

struct smtp_transaction *smtp_last(const struct smtp *smtp)
{
	return smtp_nth(smtp, smtp->count - 1);
}

enum smtp_due smtp_due_for(const struct smtp_transaction *transaction)
{
	if (transaction->rset_due)
		return SMTP_DUE_RSET;
	if (transaction->mail_due)
		return SMTP_DUE_MAIL;
	if (transaction->next_answer < transaction->next_ask)
		return SMTP_DUE_RCPT;
	if (transaction->data_due)
		return SMTP_DUE_DATA;
	return transaction->dot_due ? SMTP_DUE_DOT : SMTP_DUE_NOTHING;
}

enum smtp_due smtp_due(const struct smtp *smtp)
{
	if (smtp->count > 0)
		return smtp_due_for(smtp_first(smtp));
	return smtp->quit_sent ? SMTP_DUE_QUIT : SMTP_DUE_NOTHING;
}

struct recipient *smtp_rcpt_due(const struct smtp_transaction *transaction)
{
	return &transaction->message->envelope.recipient[transaction->next_answer];
}

static size_t rcpt_len(const struct recipient *recipient)
{
	return strlen(SMTP_RCPT) - strlen("%s") + strlen(recipient->address);
}

/* Where the command ends whose reply is due. */
static uint64_t due_end(const struct smtp *smtp, enum smtp_due what)
{
	const struct smtp_transaction *transaction = smtp_first(smtp);

	switch (what) {
	case SMTP_DUE_NOTHING:
		break;
	case SMTP_DUE_RSET:
		return transaction->rset_end;
	case SMTP_DUE_MAIL:
		return transaction->mail_end;
	case SMTP_DUE_RCPT:
		return transaction->rcpt_end + rcpt_len(smtp_rcpt_due(transaction));
	case SMTP_DUE_DATA:
		return transaction->data_end;
	case SMTP_DUE_DOT:
		return transaction->dot_end;
	case SMTP_DUE_QUIT:
		return smtp->quit_end;
	}
	return 0;
}

enum smtp_due smtp_due_written(const struct smtp *smtp)
{
	const enum smtp_due what = smtp_due(smtp);

	return due_end(smtp, what) <= smtp->written ? what : SMTP_DUE_NOTHING;
}

bool smtp_is_complete(const struct smtp *smtp, const struct smtp_transaction *transaction)
{
	return transaction->dot_due && transaction->dot_end <= smtp->written;
}

void smtp_skip_unasked(struct smtp_transaction *transaction)
{
	const struct envelope *envelope = &transaction->message->envelope;

	while (transaction->next_answer < transaction->next_ask &&
	       !envelope->recipient[transaction->next_answer].asked)
		transaction->next_answer++;
}

void smtp_pass_rcpt(struct smtp_transaction *transaction)
{
	transaction->rcpt_end += rcpt_len(smtp_rcpt_due(transaction));
	transaction->next_answer++;
	smtp_skip_unasked(transaction);
}

struct recipient *smtp_dot_due(struct smtp_transaction *transaction)
{
	const struct envelope *envelope = &transaction->message->envelope;

	for (; transaction->next_dot < envelope->count; transaction->next_dot++) {
		struct recipient *recipient = &envelope->recipient[transaction->next_dot];

		if (recipient->asked && recipient->state == RECIPIENT_TODO)
			return recipient;
	}
	return NULL;
}

void smtp_finish(struct smtp *smtp, struct message *message, enum message_verdict verdict)
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

/* Takes the first transaction, which is through, off the ring. */
static void pop(struct smtp *smtp, enum message_verdict verdict)
{
	struct message *message = smtp_first(smtp)->message;

	smtp->count--;
	smtp->landing -= smtp->landing > 0;
	smtp->first = (smtp->first + 1) % smtp->room;
	smtp->flight -= message->size.wire;
	smtp_finish(smtp, message, verdict);
}

/* Whether the server has been tried with BDAT, and may have ended the session for that. */
static bool may_have_choked(const struct smtp *smtp)
{
	const struct smtp_transaction *first = smtp_first(smtp);
	const enum smtp_due what = smtp_due_written(smtp);

	if (smtp->count == 0 || smtp->chunks || !first->chunked || first->data_end == 0 ||
	    first->data_end > smtp->written)
		return false;
	return !smtp->goodbye || what == SMTP_DUE_DATA || what == SMTP_DUE_DOT ||
	       what == SMTP_DUE_NOTHING;
}

/* Whether the server was at TRANSACTION's octets, and nothing else, when the session ended. */
static bool ended_by_octets(const struct smtp *smtp, const struct smtp_transaction *transaction)
{
	const bool begun = transaction->last_end > 0 && smtp->written > transaction->last_end;

	if (smtp->choked || transaction != smtp_first(smtp))
		return false;
	return begun && (!smtp->goodbye || smtp_due_written(smtp) == SMTP_DUE_NOTHING);
}

static void settle_lost_chunks(struct smtp *smtp, struct smtp_transaction *transaction)
{
	struct message *message = transaction->message;
	const bool in_doubt = smtp_is_complete(smtp, transaction) && !smtp->goodbye;

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
	if (transaction->chunked && transaction->next_dot == 0) {
		settle_lost_chunks(smtp, transaction);
	} else if (transaction->go_ahead || transaction->next_dot > 0) {
		message->in_doubt = smtp_is_complete(smtp, transaction) &&
				    transaction->accepted > 0 && !smtp->goodbye;
		message_settle(message, RECIPIENT_DEFERRED, "4.4.2", smtp->why);
	}
	return envelope_count(&message->envelope, RECIPIENT_TODO) == 0 && !transaction->untried
		   ? MESSAGE_SETTLED
		   : MESSAGE_UNTRIED;
}

void smtp_end_session(struct smtp *smtp, enum smtp_end end, const char *why)
{
	if (smtp->end != SMTP_OPEN)
		return;
	smtp->end = smtp->relay_fault ? SMTP_RELAY_FAULT : end;
	/* Why it was to end, if that is known, tells more than how it did. */
	if (smtp->why[0] == '\0')
		(void)snprintf(smtp->why, sizeof smtp->why, "%s", why);
	smtp->choked = smtp->choked || (end == SMTP_LOST && may_have_choked(smtp));
	for (size_t i = 0; i < smtp->count; i++)
		smtp_nth(smtp, i)->verdict = settle_lost(smtp, smtp_nth(smtp, i));
	while (smtp->count > 0)
		pop(smtp, smtp_first(smtp)->verdict);
}

static bool is_through(const struct smtp_transaction *transaction)
{
	return transaction->step == SMTP_SENT && smtp_due_for(transaction) == SMTP_DUE_NOTHING;
}

void smtp_pop_when_through(struct smtp *smtp)
{
	const struct smtp_transaction *first = smtp_first(smtp);

	if (smtp->count > 0 && is_through(first))
		pop(smtp, first->untried ? MESSAGE_UNTRIED : MESSAGE_SETTLED);
	if (smtp->count > 0 && smtp_first(smtp)->step == SMTP_STUCK)
		smtp_end_session(smtp, SMTP_LOCAL, "a message file changed while it was sent");
	else if (smtp->count == 0 && smtp->relay_fault)
		smtp_end_session(smtp, SMTP_RELAY_FAULT, smtp->why);
}
