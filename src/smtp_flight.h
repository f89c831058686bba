/*
 * smtp_flight: the messages under way in a session of smtp.h: which reply is due, who is through,
 * and what the end of the session makes of the rest. For smtp.c and smtp_answer.c alone.
 */
#ifndef MAILDRAIN_SMTP_FLIGHT_H
#define MAILDRAIN_SMTP_FLIGHT_H

#include "smtp.h"

#define SMTP_RCPT "RCPT TO:<%s>\r\n"

enum smtp_due {
	SMTP_DUE_NOTHING,
	SMTP_DUE_RSET,
	SMTP_DUE_MAIL,
	SMTP_DUE_RCPT,
	SMTP_DUE_DATA, /* or the first chunk */
	SMTP_DUE_DOT,  /* or the last chunk */
	SMTP_DUE_QUIT
};

/* The one that is being answered; the nth behind it; the one that is being sent. */
struct smtp_transaction *smtp_first(const struct smtp *smtp);
struct smtp_transaction *smtp_nth(const struct smtp *smtp, size_t n);
struct smtp_transaction *smtp_last(const struct smtp *smtp);

/* The reply that is due next, for TRANSACTION or in the session; then if its command is written. */
enum smtp_due smtp_due_for(const struct smtp_transaction *transaction);
enum smtp_due smtp_due(const struct smtp *smtp);
enum smtp_due smtp_due_written(const struct smtp *smtp);

/* The recipient whose reply is due, while there is one; then its reply has come. */
struct recipient *smtp_rcpt_due(const struct smtp_transaction *transaction);
void smtp_pass_rcpt(struct smtp_transaction *transaction);

/* With LMTP, the recipient whose reply to the final dot is due; NULL: all have theirs. */
struct recipient *smtp_dot_due(struct smtp_transaction *transaction);

/* Moves next_answer on to a recipient that was asked, or to next_ask. */
void smtp_skip_unasked(struct smtp_transaction *transaction);

/* Whether all of TRANSACTION is written and its result is due. */
bool smtp_is_complete(const struct smtp *smtp, const struct smtp_transaction *transaction);

/* Appends MESSAGE to what smtp_finished gives. */
void smtp_finish(struct smtp *smtp, struct message *message, enum message_verdict verdict);

/* To be called when something about the first one has changed. May end the session. */
void smtp_pop_when_through(struct smtp *smtp);

/* Settles all that is under way as END, for which WHY, leaves it. Once only. */
void smtp_end_session(struct smtp *smtp, enum smtp_end end, const char *why);

#endif
