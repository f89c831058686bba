#include "delivery.h"

#include <stdlib.h>
#include <sysexits.h>

#include "batch.h"
#include "clock.h"
#include "staging.h"

#define WAITING_MAX 64 /* messages between two batches that one relay may keep waiting */

bool delivery_may_claim(const struct delivery *delivery)
{
	return !delivery->trouble->stop && !delivery->stopped;
}

/* ---- messages that are not under way ---- */

struct message *delivery_get(struct delivery *delivery)
{
	struct message *message = delivery->unused;

	if (message != NULL) {
		delivery->unused = message->next;
		message->next = NULL;
		return message;
	}
	message = malloc(sizeof *message);
	if (message != NULL) {
		message_init(message);
		return message;
	}
	error_set(&delivery->trouble->err, EX_OSERR, "out of memory for another message");
	trouble_stop(delivery->trouble);
	return NULL;
}

void delivery_put(struct delivery *delivery, struct message *message)
{
	claims_drop(message);
	record_unreserve(delivery->record, message);
	message_close(message);
	message->next = delivery->unused;
	delivery->unused = message;
}

/* Nobody more is served in this attempt. */
void delivery_settle(struct delivery *delivery, struct message *message)
{
	if (!message->withdrawn &&
	    record_settled(delivery->record, message, &delivery->trouble->err) == -1)
		trouble_stop(delivery->trouble);
	delivery_put(delivery, message);
}

/* ---- from a name to a relay ---- */

/* Reads MESSAGE from NAME; false when it is not to be sent, and all is said and done. */
static bool load(struct delivery *delivery, struct message *message, const char *name)
{
	struct envelope_fault fault;

	switch (message_load(message, delivery->spool->dir[SPOOL_NEW], name, &fault)) {
	case MESSAGE_LOADED:
		return true;
	case MESSAGE_GONE:
		return false;
	case MESSAGE_INVALID:
		scan_give_up(delivery->scan, &message->entry, fault.status, fault.text);
		return false;
	case MESSAGE_ERROR:
		trouble_fault(delivery->trouble, name, fault.text);
		return false;
	case MESSAGE_FOREIGN:
		break;
	}
	if (!scan_is_settled(delivery->scan, &message->entry))
		trouble_file(delivery->trouble, name, fault.text);
	return false;
}

/* Whether a person has put MESSAGE back, or it begins anew after its last attempt. */
static bool begins_anew(const struct delivery *delivery, const struct message *message)
{
	return entry_has_class(&message->entry, '5') ||
	       !scan_has_attempts(delivery->scan, &message->entry);
}

/* Reads NAME, and knows then who is to be served; false when it is not to be sent. */
bool delivery_look_into(struct delivery *delivery, struct message *message, const char *name)
{
	if (!load(delivery, message, name))
		return false;
	if (scan_has_expired(&message->entry)) {
		scan_give_up(
		    delivery->scan, &message->entry, "5.4.7", "it expired before it could be sent");
		return false;
	}
	if (begins_anew(delivery, message)) {
		message->anew = envelope_count(&message->envelope, RECIPIENT_FAILED) > 0;
		envelope_restart(&message->envelope);
	}
	return true;
}

static bool reserve(struct delivery *delivery, struct message *message)
{
	if (record_reserve(delivery->record, message, &delivery->trouble->err) == 0)
		return true;
	trouble_fault(delivery->trouble, message->name, delivery->trouble->err.text);
	return false;
}

/* Claims MESSAGE; false when somebody else was first or its name has no room. */
static bool claim(struct delivery *delivery, struct message *message)
{
	const enum spool_moved moved =
	    claims_take(delivery->claims, message, &delivery->trouble->err);

	if (moved != SPOOL_MOVED)
		trouble_move(delivery->trouble, message->name, moved);
	return moved == SPOOL_MOVED;
}

/* Its failures are forgotten; false when they can't be, and MESSAGE is as it was. */
static bool begin_anew(struct delivery *delivery, struct message *message)
{
	struct trouble *trouble = delivery->trouble;

	if (record_restart(delivery->record, message, &trouble->err) == 0)
		return true;
	trouble_fault(trouble, message->name, trouble->err.text);
	if (record_settled(delivery->record, message, &trouble->err) == -1)
		trouble_stop(trouble);
	return false;
}

/* Makes MESSAGE this run's; false when that came to an end before. */
static bool begin(struct delivery *delivery, struct message *message)
{
	const bool anew = begins_anew(delivery, message);

	if (!reserve(delivery, message))
		return false;
	if (anew)
		message->entry.attempts = 0;
	return claim(delivery, message) && (!anew || begin_anew(delivery, message));
}

/* What the limits of a relay keep for another run is told once. An equal of it may take it now. */
static void tell_over(struct delivery *delivery, struct lane *lane)
{
	if (!lane->over || lane->over_told)
		return;
	lane->over_told = true;
	delivery->lane_lost = true;
	log_begin(delivery->log, LOG_LEVEL_NOTICE, "paced");
	log_text(delivery->log, "relay", lane->relay->name);
	log_number(delivery->log, "seconds", lane->pace_ms / 1000);
	log_text(delivery->log, "text",
	    lane->paced == PACE_QUOTA ? "its quota is used up; mail waits"
				      : "it may not be given more so soon; mail waits");
	log_end(delivery->log);
}

/* A lane that can't even be opened, or counted for, is out. */
static bool is_yes(struct delivery *delivery, struct lane *lane, int answer)
{
	if (answer == -1) {
		trouble_note(delivery->trouble);
		delivery->lane_lost = true;
	}
	tell_over(delivery, lane);
	return answer == 1;
}

bool delivery_ready(struct delivery *delivery, struct lane *lane, size_t count)
{
	return is_yes(delivery, lane, lane_ready(lane, count, &delivery->trouble->err));
}

bool delivery_admit(struct delivery *delivery, struct lane *lane, struct message *message)
{
	return is_yes(delivery, lane, lane_admit(lane, message, &delivery->trouble->err));
}

/* The relay that MESSAGE is with, for the log. */
static const char *name_of(const struct delivery *delivery, const struct message *message)
{
	return delivery->config->relay[message->lane].name;
}

static void batch_done(struct delivery *delivery, struct message *message, const char *relay);

/* Hands MESSAGE over to its lane, which is ready, or to its end when there is nobody to serve. */
static void submit(struct delivery *delivery, struct message *message)
{
	const char *redirect_to = delivery->config->redirect_to;

	envelope_refuse_faulty(&message->envelope);
	if (envelope_count(&message->envelope, RECIPIENT_TODO) == 0) {
		batch_done(delivery, message, name_of(delivery, message));
	} else if (redirect_to != NULL && staging_redirect(message, redirect_to) == -1) {
		error_set(&delivery->trouble->err, EX_OSERR, "out of memory to redirect a message");
		trouble_stop(delivery->trouble);
		delivery_settle(delivery, message);
	} else {
		lane_submit(&delivery->lane[message->lane], message);
	}
}

static void refuse_size(struct message *message)
{
	message_settle(
	    message, RECIPIENT_FAILED, "5.3.4", "larger than each relay takes that it could go by");
}

/* ---- batches ---- */

/*
 * Finds a way for those of MESSAGE, claimed, who are not served yet. False when there is none in
 * this attempt.
 */
bool delivery_send_on(struct delivery *delivery, struct message *message)
{
	struct envelope_fault fault;
	struct batch batch;
	struct lane *lane;

	if (message_rewind(message, delivery->spool->dir[SPOOL_NEW], &fault) == -1) {
		trouble_fault(delivery->trouble, message->name, fault.text);
		return false;
	}
	switch (batch_find(delivery->config, delivery->lane, message, message->lane, &batch)) {
	case BATCH_NOBODY:
		delivery->stranded = delivery->stranded || batch.stranded;
		return false;
	case BATCH_TOO_LARGE:
		refuse_size(message);
		batch_done(delivery, message, NULL);
		return true;
	case BATCH_SEND:
		break;
	}
	message->lane = batch.relay;
	lane = &delivery->lane[batch.relay];
	if (lane->waiting_count >= WAITING_MAX || !reserve(delivery, message))
		return false;
	lane_hold(lane, message);
	return true;
}

/* Those of MESSAGE that were served now have their results. */
static void batch_done(struct delivery *delivery, struct message *message, const char *relay)
{
	if (!message->withdrawn && record_batch(delivery->record, message, relay) &&
	    batch_has_more(message) && delivery_may_claim(delivery) &&
	    delivery_send_on(delivery, message))
		return;
	delivery_settle(delivery, message);
}

/* Whether nobody has taken MESSAGE away while it waited: who is left must then not get it. */
static bool is_there(struct delivery *delivery, struct message *message)
{
	if (spool_is_claimed(delivery->spool, message->name))
		return true;
	record_vanished(delivery->record, &message->entry);
	message->withdrawn = true;
	return false;
}

void delivery_serve_waiting(struct delivery *delivery, struct lane *lane)
{
	while (lane->waiting != NULL) {
		struct message *message = lane->waiting;
		const bool goes_on =
		    !message->withdrawn && delivery_may_claim(delivery) && lane_is_active(lane);

		if (goes_on && (!delivery_ready(delivery, lane, lane->waiting_count) ||
				   !delivery_admit(delivery, lane, message))) {
			if (lane_is_active(lane))
				return;
			continue; /* it has just shown that it is not: they need not wait */
		}
		lane_unhold(lane, message);
		if (goes_on && !is_there(delivery, message))
			lane_readmit(lane, message);
		if (goes_on && !message->withdrawn)
			submit(delivery, message);
		else
			delivery_settle(delivery, message);
	}
}

/* Starts with MESSAGE, read and not claimed, for those in RECIPIENT_TODO. */
void delivery_start(struct delivery *delivery, struct message *message, bool too_large)
{
	if (!begin(delivery, message)) {
		if (!too_large)
			lane_readmit(&delivery->lane[message->lane], message);
		delivery_put(delivery, message);
	} else if (too_large) {
		refuse_size(message);
		batch_done(delivery, message, NULL);
	} else {
		submit(delivery, message);
	}
}

/* ---- from a result to a state ---- */

/* Whoever has no result, or one that counts for nothing, is to be served another time. */
static void undo_batch(struct envelope *envelope)
{
	for (size_t i = 0; i < envelope->count; i++) {
		struct recipient *recipient = &envelope->recipient[i];

		if (recipient->tried || recipient->state == RECIPIENT_TODO)
			recipient->state = RECIPIENT_LATER;
		recipient->tried = false;
	}
}

static void untry(struct delivery *delivery, struct message *message)
{
	lane_readmit(&delivery->lane[message->lane], message);
	undo_batch(&message->envelope);
	delivery->untried++;
	delivery_settle(delivery, message);
}

/* Messages whose results were held back: failures if the relay is well, untried if it is not. */
void delivery_release_held(struct delivery *delivery, struct lane *lane, bool relay_works)
{
	struct message *held;

	while ((held = breaker_take(&lane->breaker)) != NULL) {
		if (relay_works)
			batch_done(delivery, held, name_of(delivery, held));
		else
			untry(delivery, held);
	}
}

static void slow_lane(struct delivery *delivery, struct lane *lane, const struct message *message)
{
	if (!message->slow_down || !pace_slow(&lane->pace, message->retry_after, clock_now_us()))
		return;
	log_begin(delivery->log, LOG_LEVEL_NOTICE, "slowed");
	log_text(delivery->log, "relay", lane->relay->name);
	log_text(delivery->log, "text", "it wants less mail at a time: it gets half as much");
	log_end(delivery->log);
}

/* Records what came of MESSAGE. */
static void take_result(struct delivery *delivery, struct lane *lane, struct message *message)
{
	if (delivery->config->redirect_to != NULL)
		staging_restore(message);
	slow_lane(delivery, lane, message);
	if (message->retry_after > message->put_off)
		message->put_off = message->retry_after;
	account_result(delivery->account, message->lane, message);
	if (message->verdict == MESSAGE_UNTRIED) {
		untry(delivery, message);
		return;
	}
	switch (breaker_see(&lane->breaker, message)) {
	case BREAKER_RECORD_HELD:
		delivery_release_held(delivery, lane, true);
		break;
	case BREAKER_RECORD:
		break;
	case BREAKER_HOLD:
	case BREAKER_TRIP:
		return;
	}
	batch_done(delivery, message, name_of(delivery, message));
}

/* What is in the log is on the disk. */
void delivery_sync(struct delivery *delivery)
{
	if (spool_sync_left(delivery->spool, clock_monotonic()) > 0)
		return;
	if (spool_sync(delivery->spool, &delivery->trouble->err) == -1)
		trouble_stop(delivery->trouble);
	log_flush(delivery->log);
}

void delivery_take_results(struct delivery *delivery, struct lane *lane)
{
	struct message *message;

	while ((message = lane_result(lane)) != NULL) {
		take_result(delivery, lane, message);
		delivery_sync(delivery);
	}
}

void delivery_renew(struct delivery *delivery)
{
	struct message *message;
	enum spool_moved moved;

	while (
	    (message = claims_renew(delivery->claims, &moved, &delivery->trouble->err)) != NULL) {
		struct lane *lane = &delivery->lane[message->lane];

		if (moved != SPOOL_GONE) {
			trouble_move(delivery->trouble, message->name, moved);
			continue;
		}
		record_vanished(delivery->record, &message->entry);
		message->withdrawn = true;
		if (message->submitted)
			lane->kind->withdraw(lane->transport, message);
	}
}
