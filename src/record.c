#include "record.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#include "clock.h"

static const char *const event_of[] = {
    [RECIPIENT_TODO] = "untried",
    [RECIPIENT_DONE] = "sent",
    [RECIPIENT_DEFERRED] = "deferred",
    [RECIPIENT_FAILED] = "failed",
};

static const enum log_level level_of[] = {
    [RECIPIENT_TODO] = LOG_LEVEL_INFO,
    [RECIPIENT_DONE] = LOG_LEVEL_INFO,
    [RECIPIENT_DEFERRED] = LOG_LEVEL_NOTICE,
    [RECIPIENT_FAILED] = LOG_LEVEL_WARNING,
};

static int64_t delay_tenths(const struct entry *entry)
{
	const int64_t birth = entry_birth(entry);
	const int64_t now_us = clock_now_us();

	/* A name may claim any birth: only one in the past can be reckoned with. */
	return birth == -1 || birth > now_us / 1000000 ? 0 : now_us / 100000 - birth * 10;
}

static void log_recipient(struct record *record, const struct message *message,
    const struct recipient *recipient, const char *relay)
{
	const struct entry *entry = &message->entry;
	struct log *log = record->log;

	log_begin(log, level_of[recipient->state], event_of[recipient->state]);
	log_text_n(log, "id", entry->name, entry->unique_len);
	log_text(log, "to", recipient->address);
	log_text(log, "relay", relay);
	log_number(log, "attempt", (int64_t)entry->attempts);
	log_tenths(log, "delay", delay_tenths(entry));
	log_number(log, "size", (int64_t)message->size.wire);
	if (recipient->state != RECIPIENT_DONE)
		log_text(log, "status", recipient->status);
	if (message->in_doubt && recipient->state == RECIPIENT_DEFERRED)
		log_text(log, "duplicate", "possible");
	log_text(log, "reply", recipient->reply);
	log_end(log);
}

static void log_results(struct record *record, const struct message *message, const char *relay)
{
	for (size_t i = 0; i < message->envelope.count; i++)
		if (message->envelope.recipient[i].tried)
			log_recipient(record, message, &message->envelope.recipient[i], relay);
}

/* No attempt is left: what would be deferred has failed. */
static void fail_deferred(struct envelope *envelope)
{
	for (size_t i = 0; i < envelope->count; i++) {
		struct recipient *recipient = &envelope->recipient[i];

		if (recipient->state != RECIPIENT_DEFERRED)
			continue;
		recipient->state = RECIPIENT_FAILED;
		(void)snprintf(recipient->status, sizeof recipient->status, "5.4.7");
	}
}

/* The status of the first recipient in STATE that this attempt tried, or DEFAULT. */
static const char *first_status(
    const struct envelope *envelope, enum recipient_state state, const char *otherwise)
{
	for (size_t i = 0; i < envelope->count; i++)
		if (envelope->recipient[i].state == state &&
		    envelope->recipient[i].status[0] != '\0')
			return envelope->recipient[i].status;
	return otherwise;
}

/* Writes the recipients' states into the file: a new one takes the claimed name's place. */
static int rewrite(struct record *record, const struct message *message, struct error *err)
{
	struct spool *spool = record->spool;
	struct spool_draft draft;

	if (spool_draft_open(spool, &draft, err) == -1)
		return -1;
	if (message_write(message, draft.fd) == -1) {
		error_set_errno(err, "can't write %s/tmp/%s", spool->path, draft.name);
		spool_draft_abandon(spool, &draft);
		return -1;
	}
	return spool_draft_replace(spool, &draft, message->entry.name, err);
}

/* Whether the file has to say more than its name will. */
static bool needs_rewrite(const struct envelope *envelope, size_t deferred, size_t failed)
{
	bool settled_some = false;

	for (size_t i = 0; i < envelope->count; i++)
		settled_some =
		    settled_some || (envelope->recipient[i].tried &&
					envelope->recipient[i].state != RECIPIENT_DEFERRED);
	return settled_some && (deferred > 0 || failed > 0);
}

static int64_t next_attempt(const struct record *record, const struct entry *entry)
{
	const int64_t next =
	    retry_next(&record->config->retry, entry->attempts, clock_now(), (uint32_t)random());

	/* Nobody sends it after it has expired: look then, to say so. */
	return entry->expires > 0 && entry->expires < next ? entry->expires : next;
}

/*
 * A message that is sent but can't go to cur/ (a full disk, say) is removed: left where it is,
 * each run would send it again. The error stays one.
 */
static enum spool_moved move_sent(
    struct record *record, const struct entry *entry, char *to, struct error *err)
{
	const bool keep = record->config->keep_sent > 0;
	const enum spool_moved moved = spool_sent(record->spool, entry, keep, to, err);
	struct error second;

	if (moved == SPOOL_ERROR && keep &&
	    spool_sent(record->spool, entry, false, to, &second) == SPOOL_ERROR)
		log_say(record->log, LOG_LEVEL_ERROR, "error", second.text);
	return moved;
}

static enum spool_moved move(struct record *record, const struct message *message, size_t deferred,
    size_t failed, char *to, struct error *err)
{
	const struct envelope *envelope = &message->envelope;
	const struct entry *entry = &message->entry;

	if (deferred > 0) {
		record->deferred++;
		return spool_defer(record->spool, entry,
		    first_status(envelope, RECIPIENT_DEFERRED, "4.0.0"),
		    next_attempt(record, entry), to, err);
	}
	if (failed > 0) {
		record->failed++;
		return spool_fail(record->spool, entry,
		    first_status(envelope, RECIPIENT_FAILED, "5.0.0"), to, err);
	}
	record->sent++;
	return move_sent(record, entry, to, err);
}

/* What a change of state came to, for those who can't go on without it. */
static int check_moved(const struct record *record, const struct entry *entry,
    enum spool_moved moved, struct error *err)
{
	switch (moved) {
	case SPOOL_MOVED:
		return 0;
	case SPOOL_GONE:
		log_begin(record->log, LOG_LEVEL_WARNING, "vanished");
		log_text(record->log, "file", entry->name);
		log_text(record->log, "text", "somebody has moved or removed it while it was sent");
		log_end(record->log);
		return 0;
	case SPOOL_TOO_LONG:
		error_set(
		    err, EX_IOERR, "the name %s leaves no room for its next state", entry->name);
		return -1;
	case SPOOL_ERROR:
		break;
	}
	return -1;
}

int record_settled(
    struct record *record, struct message *message, const char *relay, struct error *err)
{
	struct envelope *envelope = &message->envelope;
	char to[ENTRY_NAME_MAX + 1];
	struct error unwritten;
	size_t deferred;
	size_t failed;

	if (retry_exhausted(&record->config->retry, message->entry.attempts))
		fail_deferred(envelope);
	deferred = envelope_count(envelope, RECIPIENT_DEFERRED);
	failed = envelope_count(envelope, RECIPIENT_FAILED);
	log_results(record, message, relay);
	if (needs_rewrite(envelope, deferred, failed) &&
	    rewrite(record, message, &unwritten) == -1) {
		/* The state in the name still can be told; who was served already may be twice. */
		log_say(record->log, LOG_LEVEL_ERROR, "error", unwritten.text);
	}
	return check_moved(
	    record, &message->entry, move(record, message, deferred, failed, to, err), err);
}

int record_untried(struct record *record, struct message *message, struct error *err)
{
	char to[ENTRY_NAME_MAX + 1];

	return check_moved(record, &message->entry,
	    spool_release(record->spool, &message->entry, false, to, err), err);
}

enum spool_moved record_unsendable(struct record *record, const struct entry *entry,
    const char *status, const char *text, struct error *err)
{
	char to[ENTRY_NAME_MAX + 1];
	const enum spool_moved moved = spool_fail(record->spool, entry, status, to, err);

	if (moved != SPOOL_MOVED)
		return moved;
	log_begin(record->log, LOG_LEVEL_WARNING, "failed");
	log_text_n(record->log, "id", entry->name, entry->unique_len);
	log_number(record->log, "attempt", (int64_t)entry->attempts);
	log_text(record->log, "status", status);
	log_text(record->log, "text", text);
	log_end(record->log);
	record->failed++;
	return moved;
}

int record_restart(struct record *record, struct message *message, struct error *err)
{
	struct envelope *envelope = &message->envelope;
	char to[ENTRY_NAME_MAX + 1];

	/* The file first: should the run end here, the status still tells the next to restart. */
	if (envelope_count(envelope, RECIPIENT_FAILED) > 0) {
		envelope_restart(envelope);
		if (rewrite(record, message, err) == -1)
			return -1;
	}
	if (check_moved(record, &message->entry,
		spool_restart(record->spool, &message->entry, to, err), err) == -1)
		return -1;
	message_renamed(message, to);
	return 0;
}
