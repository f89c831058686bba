#include "record.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#include "clock.h"

#define HOLD_SECONDS 3600 /* between two looks at whether the config lets it go now */
#define LINE_ROOM    1024 /* bytes that the line of a recipient may need more than it has */

static const char *const event_of[] = {
    [RECIPIENT_TODO] = "untried",
    [RECIPIENT_LATER] = "untried",
    [RECIPIENT_DONE] = "sent",
    [RECIPIENT_DEFERRED] = "deferred",
    [RECIPIENT_FAILED] = "failed",
};

static const enum log_level level_of[] = {
    [RECIPIENT_TODO] = LOG_LEVEL_INFO,
    [RECIPIENT_LATER] = LOG_LEVEL_INFO,
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
	if (message->envelope.redirected != NULL)
		log_text(log, "redirected", message->envelope.redirected);
	if (relay != NULL)
		log_text(log, "relay", relay);
	log_number(log, "attempt", (int64_t)entry->attempts);
	log_tenths(log, "delay", delay_tenths(entry));
	log_number(log, "size", (int64_t)message->size.wire);
	if (recipient->state != RECIPIENT_DONE)
		log_text(log, "status", recipient->status);
	if (message->in_doubt && strcmp(recipient->status, "4.4.2") == 0)
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

/* The status for the name of a failed message: that a person is needed goes before the relay's. */
static const char *failed_status(const struct envelope *envelope)
{
	for (size_t i = 0; i < envelope->count; i++)
		if (strcmp(envelope->recipient[i].status, RECORD_UNRECORDED) == 0)
			return RECORD_UNRECORDED;
	return first_status(envelope, RECIPIENT_FAILED, "5.0.0");
}

int record_reserve(struct record *record, struct message *message, struct error *err)
{
	const uint64_t count = message->envelope.count;

	/* What a batch before this one had no use for will do. */
	if (count < 2 || message->draft.fd != -1)
		return 0;
	return spool_draft_reserve(
	    record->spool, &message->draft, message->file_size + count * LINE_ROOM, err);
}

void record_unreserve(struct record *record, struct message *message)
{
	if (message->draft.fd != -1)
		spool_draft_abandon(record->spool, &message->draft);
}

/* Writes the recipients' states into the file: DRAFT takes the claimed name's place. */
static enum spool_moved write_states(
    struct record *record, struct message *message, struct spool_draft *draft, struct error *err)
{
	struct spool *spool = record->spool;

	if (message_reopen(message, spool->dir[SPOOL_NEW]) == -1) {
		const bool gone = errno == ENOENT;

		error_set_errno(err, "can't read %s/new/%s", spool->path, message->name);
		return gone ? SPOOL_GONE : SPOOL_ERROR;
	}
	if (draft->fd == -1 && spool_draft_open(spool, draft, err) == -1)
		return SPOOL_ERROR;
	if (message_write(message, draft->fd) == -1) {
		error_set_errno(err, "can't write %s/tmp/%s", spool->path, draft->name);
		spool_draft_abandon(spool, draft);
		return SPOOL_ERROR;
	}
	return spool_draft_replace(spool, draft, message->entry.name, err);
}

/* With what was set aside; should that fail, once more with a new file. */
static enum spool_moved rewrite(struct record *record, struct message *message, struct error *err)
{
	const enum spool_moved moved = write_states(record, message, &message->draft, err);

	return moved == SPOOL_ERROR ? write_states(record, message, &message->draft, err) : moved;
}

static bool is_unserved(const struct recipient *recipient)
{
	return recipient->state == RECIPIENT_TODO || recipient->state == RECIPIENT_LATER;
}

static void give_up_rest(struct envelope *envelope)
{
	for (size_t i = 0; i < envelope->count; i++)
		if (envelope->recipient[i].state == RECIPIENT_DEFERRED ||
		    is_unserved(&envelope->recipient[i]))
			envelope_result(envelope, &envelope->recipient[i], RECIPIENT_FAILED,
			    RECORD_UNRECORDED,
			    "given up: the spool could not record who is served");
}

/*
 * The file can't say what became of whom. Who was served would get the message again with each
 * attempt for the others, so there is none: a person must look.
 */
static void note_unwritten(struct record *record, struct envelope *envelope, const char *why)
{
	log_say(record->log, LOG_LEVEL_ERROR, "error", why);
	record->unwritten = true;
	for (size_t i = 0; i < envelope->count; i++)
		if (envelope->recipient[i].tried && envelope->recipient[i].state == RECIPIENT_DONE)
			give_up_rest(envelope);
}

/* Whether the file has to say more than its name will. */
static bool needs_rewrite(const struct envelope *envelope)
{
	bool settled_some = false;
	bool some_left = false;

	for (size_t i = 0; i < envelope->count; i++) {
		const struct recipient *recipient = &envelope->recipient[i];

		settled_some =
		    settled_some || (recipient->tried && recipient->state != RECIPIENT_DEFERRED);
		some_left = some_left || recipient->state != RECIPIENT_DONE;
	}
	return settled_some && some_left;
}

/* NEXT, or when ENTRY expires: nobody sends it after that, so look then, to say so. */
static int64_t sooner(const struct entry *entry, int64_t next)
{
	return entry->expires > 0 && entry->expires < next ? entry->expires : next;
}

/* Not before the relay wants it, where it has said so. */
static int64_t next_attempt(const struct record *record, const struct message *message)
{
	const struct entry *entry = &message->entry;
	const int64_t now = clock_now();
	const int64_t next =
	    retry_next(&record->config->retry, entry->attempts, now, (uint32_t)random());
	const int64_t wanted = now + message->put_off;

	return sooner(entry, wanted > next ? wanted : next);
}

/* To cur/, or away. What fails is counted; in a run it is told once, and not tried again. */
static enum spool_moved move_sent(
    struct record *record, const struct entry *entry, char *to, struct error *err)
{
	enum spool_moved moved = SPOOL_ERROR;

	if (record->unmoved == 0)
		moved = spool_sent(record->spool, entry, record->config->keep_sent > 0, to, err);
	if (moved == SPOOL_ERROR && record->unmoved++ == 0)
		log_say(record->log, LOG_LEVEL_ERROR, "error", err->text);
	return moved;
}

/*
 * A message that is sent but can't go to cur/ (a full disk, say) must not look as if it were to be
 * sent: it is marked in new/, for a later run to move. Where even that is impossible it is removed,
 * for its copy is worth less than a flood of duplicates.
 */
static enum spool_moved settle_sent(
    struct record *record, const struct entry *entry, char *to, struct error *err)
{
	enum spool_moved moved = move_sent(record, entry, to, err);

	if (moved != SPOOL_ERROR)
		return moved;
	moved = spool_mark_sent(record->spool, entry, to, err);
	if (moved != SPOOL_ERROR)
		return moved;
	log_say(record->log, LOG_LEVEL_ERROR, "error", err->text);
	return spool_sent(record->spool, entry, false, to, err);
}

/* What is recorded counts for more than who is told of it. */
static void log_untold(struct record *record, const struct entry *entry)
{
	log_begin(record->log, LOG_LEVEL_WARNING, "untold");
	log_text(record->log, "file", entry->name);
	log_text(record->log, "text", "nobody is told of this: its name has no room for N=");
	log_end(record->log);
}

/* To failed/, with N when somebody is to be told. */
static enum spool_moved move_failed(struct record *record, const struct entry *entry, bool tell,
    const char *status, char *to, struct error *err)
{
	struct entry failed = *entry;
	enum spool_moved moved;

	failed.notify = tell ? clock_now() : 0;
	moved = spool_fail(record->spool, &failed, status, to, err);
	if (moved == SPOOL_TOO_LONG && tell) {
		log_untold(record, entry);
		return move_failed(record, entry, false, status, to, err);
	}
	record->to_tell += tell && moved == SPOOL_MOVED;
	return moved;
}

/* Whether a failure or a delay of a message from SENDER is to be told to anybody. */
static bool is_told(const struct record *record, const char *sender)
{
	return config_tells(record->config) && sender[0] != '\0';
}

/* A message that failed/ has no room for is deferred: left as it is, each run would try it again.
 */
static enum spool_moved settle_failed(
    struct record *record, const struct message *message, char *to, struct error *err)
{
	const struct envelope *envelope = &message->envelope;
	const struct entry *entry = &message->entry;
	const enum spool_moved moved = move_failed(
	    record, entry, is_told(record, envelope->sender), failed_status(envelope), to, err);

	if (moved != SPOOL_ERROR) {
		record->failed++;
		return moved;
	}
	log_say(record->log, LOG_LEVEL_ERROR, "error", err->text);
	record->unwritten = true;
	record->deferred++;
	return spool_defer(record->spool, entry, "4.3.1",
	    retry_latest(&record->config->retry, clock_now()), to, err);
}

/* Whether the sender of MESSAGE, which is deferred now, is to be warned that it is late. */
static bool is_late(const struct record *record, const struct message *message)
{
	const int64_t birth = entry_birth(&message->entry);
	const int64_t allowed = record->config->notify.delay_warning;

	return allowed > 0 && birth != -1 && message->entry.warned == 0 &&
	       clock_now() - birth > allowed && is_told(record, message->envelope.sender);
}

static enum spool_moved settle_deferred(
    struct record *record, const struct message *message, char *to, struct error *err)
{
	const struct entry *entry = &message->entry;
	const char *status = first_status(&message->envelope, RECIPIENT_DEFERRED, "4.0.0");
	const int64_t next = next_attempt(record, message);
	struct entry late = *entry;
	enum spool_moved moved;

	record->deferred++;
	if (!is_late(record, message))
		return spool_defer(record->spool, entry, status, next, to, err);
	late.notify = late.warned = clock_now();
	moved = spool_defer(record->spool, &late, status, next, to, err);
	if (moved == SPOOL_TOO_LONG) {
		log_untold(record, entry);
		return spool_defer(record->spool, entry, status, next, to, err);
	}
	record->to_tell += moved == SPOOL_MOVED;
	return moved;
}

/* Whether nothing but the config is in the way of those that are not served yet. */
static bool is_held(const struct envelope *envelope)
{
	bool held = false;

	for (size_t i = 0; i < envelope->count; i++) {
		const struct recipient *recipient = &envelope->recipient[i];

		if (is_unserved(recipient) && !recipient->held)
			return false;
		held = held || is_unserved(recipient);
	}
	return held;
}

static void log_held(struct record *record, const struct message *message)
{
	log_begin(record->log, LOG_LEVEL_NOTICE, "held");
	log_text_n(record->log, "id", message->entry.name, message->entry.unique_len);
	log_text(record->log, "status", message->held_status);
	log_text(record->log, "text", message->held_why);
	log_end(record->log);
}

static enum spool_moved settle_held(
    struct record *record, const struct message *message, char *to, struct error *err)
{
	const struct entry *entry = &message->entry;
	const int64_t next = sooner(entry, clock_now() + HOLD_SECONDS);
	/* That a person has put it back still counts when it may go. */
	const char *status = entry_has_class(entry, '5') ? entry->status : message->held_status;

	log_held(record, message);
	return spool_hold(record->spool, entry, status, next, to, err);
}

static enum spool_moved move(
    struct record *record, const struct message *message, char *to, struct error *err)
{
	const struct envelope *envelope = &message->envelope;

	if (envelope_count(envelope, RECIPIENT_DEFERRED) > 0)
		return settle_deferred(record, message, to, err);
	if (is_held(envelope))
		return settle_held(record, message, to, err);
	if (envelope_count(envelope, RECIPIENT_TODO) + envelope_count(envelope, RECIPIENT_LATER) >
	    0)
		return spool_release(record->spool, &message->entry, false, to, err);
	if (envelope_count(envelope, RECIPIENT_FAILED) > 0)
		return settle_failed(record, message, to, err);
	record->sent++;
	return settle_sent(record, &message->entry, to, err);
}

void record_vanished(struct record *record, const struct entry *entry)
{
	log_begin(record->log, LOG_LEVEL_WARNING, "vanished");
	log_text(record->log, "file", entry->name);
	log_text(record->log, "text", "somebody has moved or removed it while it was sent");
	log_end(record->log);
}

/* What a change of state came to, for those who can't go on without it. */
static int check_moved(
    struct record *record, const struct entry *entry, enum spool_moved moved, struct error *err)
{
	switch (moved) {
	case SPOOL_MOVED:
		return 0;
	case SPOOL_GONE:
		record_vanished(record, entry);
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

static void forget_tried(struct envelope *envelope)
{
	for (size_t i = 0; i < envelope->count; i++)
		envelope->recipient[i].tried = false;
}

bool record_batch(struct record *record, struct message *message, const char *relay)
{
	struct envelope *envelope = &message->envelope;
	enum spool_moved moved = SPOOL_MOVED;
	struct error unwritten;

	if (retry_exhausted(&record->config->retry, message->entry.attempts))
		fail_deferred(envelope);
	if (needs_rewrite(envelope)) {
		moved = rewrite(record, message, &unwritten);
		message->replaced = message->replaced || moved == SPOOL_MOVED;
	}
	if (moved == SPOOL_ERROR)
		note_unwritten(record, envelope, unwritten.text);
	log_results(record, message, relay);
	forget_tried(envelope);
	return moved != SPOOL_GONE;
}

int record_settled(struct record *record, struct message *message, struct error *err)
{
	char to[ENTRY_NAME_MAX + 1];

	return check_moved(record, &message->entry, move(record, message, to, err), err);
}

int record_moved(struct record *record, const struct entry *entry, struct error *err)
{
	char to[ENTRY_NAME_MAX + 1];
	const enum spool_moved moved = move_sent(record, entry, to, err);

	if (moved == SPOOL_ERROR || moved == SPOOL_GONE)
		return 0;
	return check_moved(record, entry, moved, err);
}

enum spool_moved record_unsendable(struct record *record, const struct entry *entry,
    const char *status, const char *text, struct error *err)
{
	char to[ENTRY_NAME_MAX + 1];
	const enum spool_moved moved =
	    move_failed(record, entry, config_tells(record->config), status, to, err);

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
	struct spool_draft draft = {.fd = -1};
	char to[ENTRY_NAME_MAX + 1];

	/* The file first: should the run end here, the status still tells the next to restart. */
	if (message->anew) {
		if (write_states(record, message, &draft, err) == SPOOL_ERROR)
			return -1;
		message->replaced = true;
		message->anew = false;
	}
	if (check_moved(record, &message->entry,
		spool_restart(record->spool, &message->entry, to, err), err) == -1)
		return -1;
	message_renamed(message, to);
	return 0;
}
