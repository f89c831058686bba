/*
 * reason: what the status codes mean that maildrain gives itself, see maildrain-spool(5). Pure.
 */
#ifndef MAILDRAIN_REASON_H
#define MAILDRAIN_REASON_H

/*
 * Half a sentence for STATUS, an RFC 3463 code; NULL when only a relay gives it. A relay may give
 * those of maildrain too; then its words, in the file or the log, say more.
 */
const char *reason_of(const char *status);

#endif
