/*
 * smtp_answer: what a server's reply means for the message that it answers. For smtp.c alone.
 */
#ifndef MAILDRAIN_SMTP_ANSWER_H
#define MAILDRAIN_SMTP_ANSWER_H

#include "reply.h"
#include "smtp.h"

/* REPLY is whole. May finish a message, and may end the session. */
void smtp_answer(struct smtp *smtp, const struct reply *reply);

#endif
