#include "dispatch.h"

#include <stdio.h>
#include <stdlib.h>
#include <sysexits.h>

#include "batch.h"
#include "clock.h"
#include "reply.h"
#include "route.h"
#include "staging.h"

#define SCAN_PAUSE_MS 1000 /* between two looks for newcomers while there is still mail to send */
#define ROUTE_MAX     64   /* names that find their way before the relays are looked after again */
#define WAITING_MAX   64   /* messages between two batches that one relay may keep waiting */
#define MEMO_NO_RELAY (MEMO_VALUES - 1)

static bool may_claim(const struct dispatch *dispatch)
{
	return !dispatch->trouble->stop && !dispatch->stopped;
}

/* With one relay and nothing to choose no file has to be read before there is room for it. */
static bool is_direct(const struct dispatch *dispatch)
{
	return dispatch->config->relay_count == 1;
}

/* ---- the queue ---- */

/*
 * What another scan may find changed. Messages that come back untried count, as the transport ends
 * a relay that goes on like that.
 */
static size_t progress(const struct dispatch *dispatch)
{
	const struct record *record = dispatch->record;

	return record->sent + record->deferred + record->failed + dispatch->untried;
}

static size_t parked(const struct dispatch *dispatch)
{
	size_t count = 0;

	for (size_t i = 0; i < dispatch->config->relay_count; i++)
		count += lane_parked(&dispatch->lane[i]);
	return count;
}

size_t dispatch_left(const struct dispatch *dispatch)
{
	return queue_left(&dispatch->scan->queue) + parked(dispatch);
}

size_t dispatch_under_way(const struct dispatch *dispatch)
{
	size_t count = 0;

	for (size_t i = 0; i < dispatch->config->relay_count; i++)
		count += dispatch->lane[i].in_flight + dispatch->lane[i].waiting_count;
	return count;
}

void dispatch_scan(struct dispatch *dispatch)
{
	const int64_t began_ms = clock_monotonic();

	for (size_t i = 0; i < dispatch->config->relay_count; i++)
		lane_forget_parked(&dispatch->lane[i]);
	dispatch->progress_at_scan = progress(dispatch);
	scan_read(dispatch->scan);
	dispatch->next_scan_ms = clock_again(began_ms - dispatch->routing_ms, SCAN_PAUSE_MS);
	dispatch->routing_ms = 0;
}

/* Whether the spool is to be read again: the list is used up, or newcomers may go before it. */
static bool is_scan_due(const struct dispatch *dispatch)
{
	if (progress(dispatch) == dispatch->progress_at_scan)
		return false;
	if (dispatch_left(dispatch) == 0)
		return dispatch->scan->queue.truncated || dispatch_under_way(dispatch) == 0;
	return clock_monotonic() >= dispatch->next_scan_ms;
}

/* ---- messages that are not under way ---- */

static struct message *message_get(struct dispatch *dispatch)
{
	struct message *message = dispatch->unused;

	if (message != NULL) {
		dispatch->unused = message->next;
		message->next = NULL;
		return message;
	}
	message = malloc(sizeof *message);
	if (message != NULL) {
		message_init(message);
		return message;
	}
	error_set(&dispatch->trouble->err, EX_OSERR, "out of memory for another message");
	trouble_stop(dispatch->trouble);
	return NULL;
}

static void message_put(struct dispatch *dispatch, struct message *message)
{
	claims_drop(message);
	record_unreserve(dispatch->record, message);
	message_close(message);
	message->next = dispatch->unused;
	dispatch->unused = message;
}

/* Nobody more is served in this attempt. */
static void settle(struct dispatch *dispatch, struct message *message)
{
	if (!message->withdrawn &&
	    record_settled(dispatch->record, message, &dispatch->trouble->err) == -1)
		trouble_stop(dispatch->trouble);
	message_put(dispatch, message);
}

/* ---- from a name to a relay ---- */

/* Reads MESSAGE from NAME; false when it is not to be sent, and all is said and done. */
static bool load(struct dispatch *dispatch, struct message *message, const char *name)
{
	struct envelope_fault fault;

	switch (message_load(message, dispatch->spool->dir[SPOOL_NEW], name, &fault)) {
	case MESSAGE_LOADED:
		return true;
	case MESSAGE_GONE:
		return false;
	case MESSAGE_INVALID:
		scan_give_up(dispatch->scan, &message->entry, fault.status, fault.text);
		return false;
	case MESSAGE_ERROR:
		trouble_fault(dispatch->trouble, name, fault.text);
		return false;
	case MESSAGE_FOREIGN:
		break;
	}
	if (!scan_is_settled(dispatch->scan, &message->entry))
		trouble_file(dispatch->trouble, name, fault.text);
	return false;
}

/* Whether a person has put MESSAGE back, or it begins anew after its last attempt. */
static bool begins_anew(const struct dispatch *dispatch, const struct message *message)
{
	return entry_has_class(&message->entry, '5') ||
	       !scan_has_attempts(dispatch->scan, &message->entry);
}

/* Reads NAME, and knows then who is to be served; false when it is not to be sent. */
static bool look_into(struct dispatch *dispatch, struct message *message, const char *name)
{
	if (!load(dispatch, message, name))
		return false;
	if (scan_has_expired(&message->entry)) {
		scan_give_up(
		    dispatch->scan, &message->entry, "5.4.7", "it expired before it could be sent");
		return false;
	}
	if (begins_anew(dispatch, message)) {
		message->anew = envelope_count(&message->envelope, RECIPIENT_FAILED) > 0;
		envelope_restart(&message->envelope);
	}
	return true;
}

static bool reserve(struct dispatch *dispatch, struct message *message)
{
	if (record_reserve(dispatch->record, message, &dispatch->trouble->err) == 0)
		return true;
	trouble_fault(dispatch->trouble, message->name, dispatch->trouble->err.text);
	return false;
}

/* Claims MESSAGE; false when somebody else was first or its name has no room. */
static bool claim(struct dispatch *dispatch, struct message *message)
{
	const enum spool_moved moved =
	    claims_take(dispatch->claims, message, &dispatch->trouble->err);

	if (moved != SPOOL_MOVED)
		trouble_move(dispatch->trouble, message->name, moved);
	return moved == SPOOL_MOVED;
}

/* Its failures are forgotten; false when they can't be, and MESSAGE is as it was. */
static bool begin_anew(struct dispatch *dispatch, struct message *message)
{
	struct trouble *trouble = dispatch->trouble;

	if (record_restart(dispatch->record, message, &trouble->err) == 0)
		return true;
	trouble_fault(trouble, message->name, trouble->err.text);
	if (record_settled(dispatch->record, message, &trouble->err) == -1)
		trouble_stop(trouble);
	return false;
}

/* Makes MESSAGE this run's; false when that came to an end before. */
static bool begin(struct dispatch *dispatch, struct message *message)
{
	const bool anew = begins_anew(dispatch, message);

	if (!reserve(dispatch, message))
		return false;
	if (anew)
		message->entry.attempts = 0;
	return claim(dispatch, message) && (!anew || begin_anew(dispatch, message));
}

/* What the limits of a relay keep for another run is told once. */
static void tell_over(struct dispatch *dispatch, struct lane *lane)
{
	if (!lane->over || lane->over_told)
		return;
	lane->over_told = true;
	log_begin(dispatch->log, LOG_LEVEL_NOTICE, "paced");
	log_text(dispatch->log, "relay", lane->relay->name);
	log_number(dispatch->log, "seconds", lane->pace_ms / 1000);
	log_text(dispatch->log, "text",
	    lane->paced == PACE_QUOTA ? "its quota is used up; mail waits"
				      : "it may not be given more so soon; mail waits");
	log_end(dispatch->log);
}

/* A lane that can't even be opened, or counted for, is out. */
static bool is_yes(struct dispatch *dispatch, struct lane *lane, int answer)
{
	if (answer == -1) {
		trouble_note(dispatch->trouble);
		dispatch->lane_lost = true;
	}
	tell_over(dispatch, lane);
	return answer == 1;
}

static bool is_ready(struct dispatch *dispatch, struct lane *lane, size_t count)
{
	return is_yes(dispatch, lane, lane_ready(lane, count, &dispatch->trouble->err));
}

static bool is_admitted(struct dispatch *dispatch, struct lane *lane, struct message *message)
{
	return is_yes(dispatch, lane, lane_admit(lane, message, &dispatch->trouble->err));
}

static void batch_done(struct dispatch *dispatch, struct message *message);

/* Hands MESSAGE over to its lane, which is ready, or to its end when there is nobody to serve. */
static void submit(struct dispatch *dispatch, struct message *message)
{
	const char *redirect_to = dispatch->config->redirect_to;

	envelope_refuse_faulty(&message->envelope);
	if (envelope_count(&message->envelope, RECIPIENT_TODO) == 0) {
		batch_done(dispatch, message);
	} else if (redirect_to != NULL && staging_redirect(message, redirect_to) == -1) {
		error_set(&dispatch->trouble->err, EX_OSERR, "out of memory to redirect a message");
		trouble_stop(dispatch->trouble);
		settle(dispatch, message);
	} else {
		lane_submit(&dispatch->lane[message->lane], message);
	}
}

static void refuse_size(struct message *message)
{
	message_settle(message, RECIPIENT_FAILED, "5.3.4",
	    "larger than the message_size of each relay that it could go by");
}

/* ---- batches ---- */

/*
 * Finds a way for those of MESSAGE, claimed, who are not served yet. False when there is none in
 * this attempt.
 */
static bool send_on(struct dispatch *dispatch, struct message *message)
{
	struct envelope_fault fault;
	struct batch batch;
	struct lane *lane;

	if (message_rewind(message, dispatch->spool->dir[SPOOL_NEW], &fault) == -1) {
		trouble_fault(dispatch->trouble, message->name, fault.text);
		return false;
	}
	switch (batch_find(dispatch->config, dispatch->lane, message, message->lane, &batch)) {
	case BATCH_NOBODY:
		dispatch->stranded = dispatch->stranded || batch.stranded;
		return false;
	case BATCH_TOO_LARGE:
		refuse_size(message);
		batch_done(dispatch, message);
		return true;
	case BATCH_SEND:
		break;
	}
	message->lane = batch.relay;
	lane = &dispatch->lane[batch.relay];
	if (lane->waiting_count >= WAITING_MAX || !reserve(dispatch, message))
		return false;
	lane_hold(lane, message);
	return true;
}

/* Those of MESSAGE that were served now have their results. */
static void batch_done(struct dispatch *dispatch, struct message *message)
{
	const char *relay = dispatch->config->relay[message->lane].name;

	if (!message->withdrawn && record_batch(dispatch->record, message, relay) &&
	    batch_has_more(message) && may_claim(dispatch) && send_on(dispatch, message))
		return;
	settle(dispatch, message);
}

/* Those that wait for LANE with other recipients served go on, or to their end. */
static void serve_waiting(struct dispatch *dispatch, struct lane *lane)
{
	while (lane->waiting != NULL) {
		struct message *message = lane->waiting;
		const bool goes_on =
		    !message->withdrawn && may_claim(dispatch) && lane_is_active(lane);

		if (goes_on && (!is_ready(dispatch, lane, lane->waiting_count) ||
				   !is_admitted(dispatch, lane, message)))
			return;
		lane_unhold(lane, message);
		if (goes_on)
			submit(dispatch, message);
		else
			settle(dispatch, message);
	}
}

/* ---- names ---- */

/* Nobody of MESSAGE, not claimed, can be served now. */
static void leave(struct dispatch *dispatch, struct message *message, bool stranded)
{
	dispatch->stranded = dispatch->stranded || stranded;
	if (stranded) {
		memo_put(&dispatch->memo, message->name, MEMO_NO_RELAY);
		message_put(dispatch, message);
	} else {
		settle(dispatch, message);
		dispatch->untried++;
	}
}

/* Starts with MESSAGE, read and not claimed, for those in RECIPIENT_TODO. */
static void start(struct dispatch *dispatch, struct message *message, bool too_large)
{
	if (!begin(dispatch, message)) {
		message_put(dispatch, message);
	} else if (too_large) {
		refuse_size(message);
		batch_done(dispatch, message);
	} else {
		submit(dispatch, message);
	}
}

/* Whether LANE, which is known to be READY or not, takes MESSAGE before those that are parked. */
static bool has_room(
    struct dispatch *dispatch, struct lane *lane, bool ready, struct message *message)
{
	if (!ready && (lane_parked(lane) > 0 || !is_ready(dispatch, lane, 1)))
		return false;
	return is_admitted(dispatch, lane, message);
}

/*
 * The name at PLACE of the queue: to the relay that it is for, to its end, or back. LANE is ready,
 * if it is not NULL.
 */
static void take_on(struct dispatch *dispatch, size_t place, const struct lane *ready)
{
	struct message *message = message_get(dispatch);
	const char *name = queue_at(&dispatch->scan->queue, place);
	const size_t hint = ready != NULL ? (size_t)(ready - dispatch->lane) : SIZE_MAX;
	struct batch batch;
	struct lane *lane;
	enum batch_next next;

	if (message == NULL)
		return;
	if (!look_into(dispatch, message, name)) {
		message_put(dispatch, message);
		return;
	}
	next = batch_find(dispatch->config, dispatch->lane, message, hint, &batch);
	if (next == BATCH_NOBODY) {
		leave(dispatch, message, batch.stranded);
		return;
	}
	message->lane = next == BATCH_SEND ? batch.relay : 0;
	lane = &dispatch->lane[message->lane];
	if (next == BATCH_TOO_LARGE || has_room(dispatch, lane, lane == ready, message)) {
		start(dispatch, message, next == BATCH_TOO_LARGE);
		return;
	}
	memo_put(&dispatch->memo, message->name, message->lane);
	if (lane->state != LANE_OUT)
		(void)lane_park(lane, place); /* without memory the next scan finds it again */
	message_put(dispatch, message);
}

/* What was parked for LANE, as far as it is ready. */
static void serve_parked(struct dispatch *dispatch, struct lane *lane)
{
	size_t place;

	while (may_claim(dispatch) && lane_parked(lane) > 0 &&
	       is_ready(dispatch, lane, lane_parked(lane)) && lane_unpark(lane, &place))
		take_on(dispatch, place, lane);
}

/* The place of the next name in the queue; false when there is none. */
static bool next_due(struct dispatch *dispatch, size_t *place)
{
	struct queue *queue = &dispatch->scan->queue;

	if (is_scan_due(dispatch))
		dispatch_scan(dispatch);
	if (queue_next(queue) == NULL)
		return false;
	*place = queue->next - 1;
	return true;
}

/* Of one relay: as many as it takes. */
static bool feed_direct(struct dispatch *dispatch)
{
	struct queue *queue = &dispatch->scan->queue;
	struct lane *lane = &dispatch->lane[0];
	size_t place;

	serve_parked(dispatch, lane);
	while (may_claim(dispatch) && lane->state != LANE_OUT) {
		if (lane_parked(lane) > 0)
			return lane_is_active(lane);
		if (!next_due(dispatch, &place))
			return false;
		if (!is_ready(dispatch, lane, queue_left(queue) + 1)) {
			queue_put_back(queue);
			return !lane->over;
		}
		take_on(dispatch, place, lane);
	}
	return false;
}

/* Whether it is worth looking for more mail for LANE. */
static bool is_hungry(const struct lane *lane)
{
	return lane->wanted && lane_is_active(lane) && lane_parked(lane) < lane->relay->connections;
}

static bool any_hungry(const struct dispatch *dispatch)
{
	for (size_t i = 0; i < dispatch->config->relay_count; i++)
		if (is_hungry(&dispatch->lane[i]))
			return true;
	return false;
}

/* The name at PLACE: where it is known to be for a relay that is busy, it need not be read. */
static void find_way(struct dispatch *dispatch, size_t place)
{
	const size_t known = memo_get(&dispatch->memo, queue_at(&dispatch->scan->queue, place));
	const int64_t began_ms = clock_monotonic();

	if (known == MEMO_NO_RELAY)
		return;
	if (known == MEMO_UNKNOWN || !lane_park(&dispatch->lane[known], place)) {
		take_on(dispatch, place, NULL);
		dispatch->routing_ms += clock_monotonic() - began_ms;
	}
}

static bool any_left(const struct dispatch *dispatch)
{
	for (size_t i = 0; i < dispatch->config->relay_count; i++)
		if (dispatch->lane[i].state != LANE_OUT)
			return true;
	return false;
}

/* Whether some of what is parked can be sent yet by this run. */
static bool any_parked(const struct dispatch *dispatch)
{
	for (size_t i = 0; i < dispatch->config->relay_count; i++)
		if (lane_parked(&dispatch->lane[i]) > 0 && lane_is_active(&dispatch->lane[i]))
			return true;
	return false;
}

/* Of several relays: more names find their way as long as one of these has room. */
static bool feed_routed(struct dispatch *dispatch)
{
	size_t place;

	if (!any_left(dispatch)) {
		dispatch->stranded = dispatch->stranded || dispatch_left(dispatch) > 0;
		return false;
	}
	for (size_t i = 0; i < dispatch->config->relay_count; i++)
		serve_parked(dispatch, &dispatch->lane[i]);
	for (int i = 0; i < ROUTE_MAX && may_claim(dispatch) && any_hungry(dispatch); i++) {
		if (!next_due(dispatch, &place))
			break;
		find_way(dispatch, place);
	}
	dispatch->more = queue_left(&dispatch->scan->queue) > 0 && any_hungry(dispatch);
	return may_claim(dispatch) && (dispatch->more || any_parked(dispatch));
}

/*
 * Marks those that mail may find its way to: the first of use of each route. Those that are named
 * only in messages are looked for when there are no others.
 */
static void mark_wanted(struct dispatch *dispatch)
{
	const struct config *config = dispatch->config;

	for (size_t i = 0; i < config->relay_count; i++)
		dispatch->lane[i].wanted = false;
	for (size_t i = 0; i < config->route_count; i++)
		lane_want(dispatch->lane, &config->route[i].ranks);
	lane_want(dispatch->lane, &config->every);
}

/* All that was parked has to find its way anew. */
static void lose_lane(struct dispatch *dispatch)
{
	dispatch->lane_lost = false;
	mark_wanted(dispatch);
	memo_clear(&dispatch->memo);
	if (!is_direct(dispatch) && may_claim(dispatch))
		dispatch_scan(dispatch);
}

bool dispatch_feed(struct dispatch *dispatch)
{
	bool more;

	if (dispatch->lane_lost)
		lose_lane(dispatch);
	for (size_t i = 0; i < dispatch->config->relay_count; i++)
		serve_waiting(dispatch, &dispatch->lane[i]);
	more = is_direct(dispatch) ? feed_direct(dispatch) : feed_routed(dispatch);
	return more || dispatch->lane_lost;
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

static void untry(struct dispatch *dispatch, struct message *message)
{
	lane_readmit(&dispatch->lane[message->lane], message);
	undo_batch(&message->envelope);
	dispatch->untried++;
	settle(dispatch, message);
}

/* Messages whose results were held back: failures if the relay is well, untried if it is not. */
static void release_held(struct dispatch *dispatch, struct lane *lane, bool relay_works)
{
	struct message *held;

	while ((held = breaker_take(&lane->breaker)) != NULL) {
		if (relay_works)
			batch_done(dispatch, held);
		else
			untry(dispatch, held);
	}
}

static void slow_lane(struct dispatch *dispatch, struct lane *lane, const struct message *message)
{
	if (!message->slow_down || !pace_slow(&lane->pace, message->retry_after, clock_now_us()))
		return;
	log_begin(dispatch->log, LOG_LEVEL_NOTICE, "slowed");
	log_text(dispatch->log, "relay", lane->relay->name);
	log_text(dispatch->log, "text", "it wants less mail at a time: it gets half as much");
	log_end(dispatch->log);
}

/* Records what came of MESSAGE. */
static void take_result(struct dispatch *dispatch, struct lane *lane, struct message *message)
{
	if (dispatch->config->redirect_to != NULL)
		staging_restore(message);
	slow_lane(dispatch, lane, message);
	account_result(dispatch->account, message->lane, message);
	if (message->verdict == MESSAGE_UNTRIED) {
		untry(dispatch, message);
		return;
	}
	switch (breaker_see(&lane->breaker, message)) {
	case BREAKER_RECORD_HELD:
		release_held(dispatch, lane, true);
		break;
	case BREAKER_RECORD:
		break;
	case BREAKER_HOLD:
	case BREAKER_TRIP:
		return;
	}
	batch_done(dispatch, message);
}

/* What is in the log is on the disk. */
static void sync_when_due(struct dispatch *dispatch)
{
	if (spool_sync_left(dispatch->spool, clock_monotonic()) > 0)
		return;
	if (spool_sync(dispatch->spool, &dispatch->trouble->err) == -1)
		trouble_stop(dispatch->trouble);
	log_flush(dispatch->log);
}

static void take_results(struct dispatch *dispatch, struct lane *lane)
{
	struct message *message;

	while ((message = lane_result(lane)) != NULL) {
		take_result(dispatch, lane, message);
		sync_when_due(dispatch);
	}
}

void dispatch_renew(struct dispatch *dispatch)
{
	struct message *message;
	enum spool_moved moved;

	while (
	    (message = claims_renew(dispatch->claims, &moved, &dispatch->trouble->err)) != NULL) {
		struct lane *lane = &dispatch->lane[message->lane];

		if (moved != SPOOL_GONE) {
			trouble_move(dispatch->trouble, message->name, moved);
			continue;
		}
		record_vanished(dispatch->record, &message->entry);
		message->withdrawn = true;
		if (message->submitted)
			lane->kind->withdraw(lane->transport, message);
	}
}

/* ---- relays ---- */

static void log_out(struct dispatch *dispatch, const struct lane *lane, bool down, const char *why)
{
	log_begin(dispatch->log, LOG_LEVEL_ERROR, down ? "relay-down" : "relay-misconfigured");
	log_text(dispatch->log, "relay", lane->relay->name);
	log_text(dispatch->log, "url", lane->relay->url);
	log_text(dispatch->log, "reply", why);
	log_text(dispatch->log, "text",
	    any_left(dispatch) ? "mail goes to the next relay" : "mail waits");
	log_end(dispatch->log);
}

/* What is told to those who watch is not worth ending a run that can send. */
static void note_end(struct dispatch *dispatch, const struct lane *lane, bool down)
{
	if (account_end_relay(dispatch->account, (size_t)(lane - dispatch->lane), down,
		&dispatch->trouble->err) == -1)
		trouble_note(dispatch->trouble);
}

/* Those who waited for LANE, which is no more, go another way or back. */
static void turn_away(struct dispatch *dispatch, struct lane *lane)
{
	struct message *message;

	while ((message = lane_take_held(lane)) != NULL)
		if (message->withdrawn || !may_claim(dispatch) || !send_on(dispatch, message))
			settle(dispatch, message);
}

/* That slots are lost makes the relay get less, and no harm to mail. */
static void close_lane(struct dispatch *dispatch, struct lane *lane, enum lane_state state)
{
	if (lane_close(lane, state, &dispatch->trouble->err) == -1)
		trouble_note(dispatch->trouble);
}

/* LANE is of no use; nothing is under way there. */
static void take_out(struct dispatch *dispatch, struct lane *lane, bool down, const char *why)
{
	char reason[REPLY_TEXT_MAX];

	(void)snprintf(reason, sizeof reason, "%s", why);
	lane_finish(lane);
	take_results(dispatch, lane);
	close_lane(dispatch, lane, LANE_OUT);
	release_held(dispatch, lane, false);
	log_out(dispatch, lane, down, reason);
	note_end(dispatch, lane, true);
	turn_away(dispatch, lane);
	dispatch->lane_lost = true;
	dispatch->stranded = dispatch->stranded || is_direct(dispatch);
}

static void check_health(struct dispatch *dispatch, struct lane *lane)
{
	const char *why = "";
	enum transport_state state;

	if (lane->in_flight > 0)
		return;
	state = lane_health(lane, &why);
	if (state == TRANSPORT_MISCONFIGURED && lane_renew(lane))
		return;
	if (state == TRANSPORT_DOWN || state == TRANSPORT_MISCONFIGURED)
		take_out(dispatch, lane, state == TRANSPORT_DOWN, why);
}

void dispatch_prepare(struct dispatch *dispatch, struct waits *waits)
{
	for (size_t i = 0; i < dispatch->config->relay_count; i++) {
		check_health(dispatch, &dispatch->lane[i]);
		lane_prepare(&dispatch->lane[i], waits);
	}
	if (dispatch->lane_lost || dispatch->more)
		waits_within(waits, 0);
}

void dispatch_work(struct dispatch *dispatch, const struct waits *waits)
{
	for (size_t i = 0; i < dispatch->config->relay_count; i++) {
		lane_work(&dispatch->lane[i], waits);
		take_results(dispatch, &dispatch->lane[i]);
		/* What it has refused can go by another, even if nothing else is left. */
		if (dispatch->lane[i].breaker.tripped)
			check_health(dispatch, &dispatch->lane[i]);
	}
	sync_when_due(dispatch);
}

void dispatch_finish(struct dispatch *dispatch)
{
	for (size_t i = 0; i < dispatch->config->relay_count; i++) {
		struct lane *lane = &dispatch->lane[i];

		if (lane->state != LANE_OPEN && lane->state != LANE_ASKING)
			continue;
		lane_finish(lane);
		take_results(dispatch, lane);
		/* Stopped before the relay could show that it works, they are not known to fail. */
		release_held(dispatch, lane, !dispatch->stopped);
		turn_away(dispatch, lane);
		note_end(dispatch, lane, false);
		close_lane(dispatch, lane, LANE_CLOSED);
	}
}

int dispatch_open(struct dispatch *dispatch)
{
	const struct config *config = dispatch->config;

	dispatch->lane = calloc(config->relay_count, sizeof *dispatch->lane);
	if (dispatch->lane == NULL) {
		error_set(&dispatch->trouble->err, EX_OSERR, "out of memory for the relays");
		return -1;
	}
	for (size_t i = 0; i < config->relay_count; i++)
		lane_init(&dispatch->lane[i], &config->relay[i], dispatch->spool);
	mark_wanted(dispatch);
	return 0;
}

void dispatch_free(struct dispatch *dispatch)
{
	for (size_t i = 0; dispatch->lane != NULL && i < dispatch->config->relay_count; i++)
		lane_free(&dispatch->lane[i]);
	free(dispatch->lane);
	dispatch->lane = NULL;
	memo_free(&dispatch->memo);
	while (dispatch->unused != NULL) {
		struct message *message = dispatch->unused;

		dispatch->unused = message->next;
		message_free(message);
		free(message);
	}
}
