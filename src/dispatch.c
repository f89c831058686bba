#include "dispatch.h"

#include <stdio.h>
#include <stdlib.h>
#include <sysexits.h>

#include "batch.h"
#include "clock.h"
#include "history.h"
#include "reply.h"

#define SCAN_PAUSE_MS 1000 /* between two looks for newcomers while there is still mail to send */
#define ROUTE_MAX     64   /* names that find their way before the relays are looked after again */
#define MEMO_NO_RELAY (MEMO_VALUES - 1)
#define SHARE_MAX     16384

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
	const struct record *record = dispatch->delivery.record;

	return record->sent + record->deferred + record->failed + dispatch->delivery.untried;
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

/*
 * Where not all names have room in the queue, those of a relay that is busy must not keep out what
 * is for the others: of those known to be for it the first stay, the others come back when these
 * are served. And those that have nowhere to go need no room.
 */
static bool is_known(void *context, const struct entry *entry)
{
	const struct dispatch *dispatch = context;
	const size_t known = memo_get(&dispatch->memo, entry->name);
	struct entry cut;

	if (known == MEMO_NO_RELAY)
		return true;
	return known != MEMO_UNKNOWN && entry_parse(dispatch->lane[known].cut, &cut) &&
	       entry_compare(entry, &cut) > 0;
}

/* How many names for one relay the queue keeps where it has no room for all. */
static size_t share_of_queue(const struct dispatch *dispatch)
{
	const size_t share = dispatch->scan->queue.count / (dispatch->config->relay_count + 1);

	return share < SHARE_MAX ? share + 1 : SHARE_MAX;
}

/* Notes behind which name LANE needs no more. */
static void set_cut(struct dispatch *dispatch, struct lane *lane)
{
	lane->cut[0] = '\0';
	if (lane_parked(lane) > dispatch->share)
		(void)snprintf(lane->cut, sizeof lane->cut, "%s",
		    queue_at(&dispatch->scan->queue, lane_parked_at(lane, dispatch->share - 1)));
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

static void look_at_lanes(struct dispatch *dispatch)
{
	for (size_t i = 0; i < dispatch->config->relay_count; i++)
		lane_look_again(&dispatch->lane[i]);
	mark_wanted(dispatch);
}

void dispatch_scan(struct dispatch *dispatch)
{
	const int64_t began_ms = clock_monotonic();

	if (dispatch->scan->queue.truncated)
		dispatch->share = share_of_queue(dispatch);
	else if (!dispatch->scan->left_out)
		dispatch->share = SIZE_MAX;
	for (size_t i = 0; i < dispatch->config->relay_count; i++) {
		set_cut(dispatch, &dispatch->lane[i]);
		lane_forget_parked(&dispatch->lane[i]);
	}
	dispatch->scan->is_known =
	    dispatch->share < SIZE_MAX && !is_direct(dispatch) ? is_known : NULL;
	dispatch->scan->context = dispatch;
	dispatch->memo_at_scan = dispatch->memo.count;
	dispatch->progress_at_scan = progress(dispatch);
	scan_read(dispatch->scan);
	dispatch->next_scan_ms = clock_again(began_ms - dispatch->routing_ms, SCAN_PAUSE_MS);
	dispatch->routing_ms = 0;
}

/* Whether some of what is parked can be sent yet by this run. */
static bool any_parked(const struct dispatch *dispatch)
{
	for (size_t i = 0; i < dispatch->config->relay_count; i++)
		if (lane_parked(&dispatch->lane[i]) > 0 && lane_is_active(&dispatch->lane[i]))
			return true;
	return false;
}

/* Whether newcomers may find room at once though nothing has come of what is under way. */
static bool may_take_newcomers(const struct dispatch *dispatch)
{
	if (is_direct(dispatch))
		return dispatch_left(dispatch) == 0 && dispatch_under_way(dispatch) > 0;
	return any_parked(dispatch) || dispatch_under_way(dispatch) > 0;
}

/*
 * Whether another scan gives what this one had no room for: names that nobody has looked at, or
 * more for a relay that has served what was kept.
 */
static bool has_more_in_spool(const struct dispatch *dispatch)
{
	const struct queue *queue = &dispatch->scan->queue;

	if (is_direct(dispatch) || queue_left(queue) > 0)
		return false;
	for (size_t i = 0; i < dispatch->config->relay_count; i++)
		if (dispatch->lane[i].cut[0] != '\0' && lane_is_active(&dispatch->lane[i]) &&
		    lane_parked(&dispatch->lane[i]) == 0)
			return true;
	return queue->truncated && dispatch->memo.count > dispatch->memo_at_scan;
}

/* Whether the spool is to be read again: the list is used up, or newcomers may go before it. */
static bool is_scan_due(const struct dispatch *dispatch)
{
	if (has_more_in_spool(dispatch))
		return true;
	if (progress(dispatch) == dispatch->progress_at_scan) {
		if (!may_take_newcomers(dispatch))
			return false;
	} else if (dispatch_left(dispatch) == 0) {
		if (dispatch->scan->queue.truncated || dispatch_under_way(dispatch) == 0)
			return true;
	}
	return clock_monotonic() >= dispatch->next_scan_ms;
}

/* ---- names ---- */

/* Nobody of MESSAGE, not claimed, can be served now. */
static void leave(struct dispatch *dispatch, struct message *message, bool stranded)
{
	dispatch->delivery.stranded = dispatch->delivery.stranded || stranded;
	if (stranded) {
		memo_put(&dispatch->memo, message->name, MEMO_NO_RELAY);
		delivery_put(&dispatch->delivery, message);
	} else {
		delivery_settle(&dispatch->delivery, message);
		dispatch->delivery.untried++;
	}
}

/* Whether LANE, which is known to be READY or not, takes MESSAGE before those that are parked. */
static bool has_room(
    struct dispatch *dispatch, struct lane *lane, bool ready, struct message *message)
{
	if (!ready && (lane_parked(lane) > 0 || !delivery_ready(&dispatch->delivery, lane, 1)))
		return false;
	return delivery_admit(&dispatch->delivery, lane, message);
}

/*
 * The name at PLACE of the queue: to the relay that it is for, to its end, or back. READY is the
 * number of the lane that is known to be so, or SIZE_MAX.
 */
static void take_on(struct dispatch *dispatch, size_t place, size_t ready)
{
	struct message *message = delivery_get(&dispatch->delivery);
	const char *name = queue_at(&dispatch->scan->queue, place);
	struct batch batch;
	struct lane *lane;
	enum batch_next next;

	if (message == NULL)
		return;
	if (!delivery_look_into(&dispatch->delivery, message, name)) {
		delivery_put(&dispatch->delivery, message);
		return;
	}
	next = batch_find(dispatch->config, dispatch->lane, message, ready, &batch);
	if (next == BATCH_NOBODY) {
		leave(dispatch, message, batch.stranded);
		return;
	}
	message->lane = next == BATCH_SEND ? batch.relay : 0;
	lane = &dispatch->lane[message->lane];
	if (next == BATCH_TOO_LARGE || has_room(dispatch, lane, message->lane == ready, message)) {
		delivery_start(&dispatch->delivery, message, next == BATCH_TOO_LARGE);
		return;
	}
	memo_put(&dispatch->memo, message->name, message->lane);
	if (lane->state != LANE_OUT)
		(void)lane_park(lane, place); /* without memory the next scan finds it again */
	delivery_put(&dispatch->delivery, message);
}

/* What was parked for LANE, as far as it is ready. */
static void serve_parked(struct dispatch *dispatch, struct lane *lane)
{
	size_t place;

	while (delivery_may_claim(&dispatch->delivery) && lane_parked(lane) > 0 &&
	       delivery_ready(&dispatch->delivery, lane, lane_parked(lane)) &&
	       lane_unpark(lane, &place))
		take_on(dispatch, place, (size_t)(lane - dispatch->lane));
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
	while (delivery_may_claim(&dispatch->delivery) && lane->state != LANE_OUT) {
		if (lane_parked(lane) > 0)
			return lane_is_active(lane);
		if (!next_due(dispatch, &place))
			return false;
		if (!delivery_ready(&dispatch->delivery, lane, queue_left(queue) + 1)) {
			queue_put_back(queue);
			return !lane->over;
		}
		take_on(dispatch, place, 0);
	}
	return false;
}

/* Whether it is worth looking for more mail for LANE; in a SEARCH also if that would be rare. */
static bool is_hungry(const struct lane *lane, bool search)
{
	return (lane->wanted || search) && lane_is_active(lane) &&
	       lane_parked(lane) < lane->relay->connections;
}

/*
 * Whether it is worth looking for mail for relays that only some messages go by: none of those that
 * most go by may be given any more just now.
 */
static bool is_search(const struct dispatch *dispatch)
{
	for (size_t i = 0; i < dispatch->config->relay_count; i++)
		if (dispatch->lane[i].wanted && lane_is_active(&dispatch->lane[i]) &&
		    dispatch->lane[i].paced == PACE_FREE)
			return false;
	return true;
}

static bool any_hungry(const struct dispatch *dispatch)
{
	const bool search = is_search(dispatch);

	for (size_t i = 0; i < dispatch->config->relay_count; i++)
		if (is_hungry(&dispatch->lane[i], search))
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
		take_on(dispatch, place, SIZE_MAX);
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

/* Whether mail is left that nobody looks at, and some of it may be for a relay that is out. */
static bool is_unsearched(const struct dispatch *dispatch)
{
	bool out = false;

	for (size_t i = 0; i < dispatch->config->relay_count; i++) {
		out = out || dispatch->lane[i].state == LANE_OUT;
		if (lane_is_active(&dispatch->lane[i]))
			return false;
	}
	return out && queue_left(&dispatch->scan->queue) > 0;
}

static void serve_all_parked(struct dispatch *dispatch)
{
	for (size_t i = 0; i < dispatch->config->relay_count; i++)
		serve_parked(dispatch, &dispatch->lane[i]);
}

/* More names find their way as long as a relay has room for them. */
static void find_ways(struct dispatch *dispatch)
{
	size_t place;

	for (int i = 0; i < ROUTE_MAX && delivery_may_claim(&dispatch->delivery); i++) {
		if (!any_hungry(dispatch) || !next_due(dispatch, &place))
			return;
		find_way(dispatch, place);
	}
}

/* Of several relays: what was parked goes before what comes next, which may be parked too. */
static bool feed_routed(struct dispatch *dispatch)
{
	if (!any_left(dispatch)) {
		dispatch->delivery.stranded =
		    dispatch->delivery.stranded || dispatch_left(dispatch) > 0;
		return false;
	}
	serve_all_parked(dispatch);
	find_ways(dispatch);
	serve_all_parked(dispatch);
	dispatch->more = any_hungry(dispatch) &&
			 (queue_left(&dispatch->scan->queue) > 0 || has_more_in_spool(dispatch));
	return delivery_may_claim(&dispatch->delivery) && (dispatch->more || any_parked(dispatch));
}

void dispatch_recall(struct dispatch *dispatch)
{
	struct delivery *delivery = &dispatch->delivery;
	struct history history;

	if (is_direct(dispatch))
		return;
	if (history_load(delivery->spool, dispatch->config, &history, &delivery->trouble->err) ==
	    -1) {
		trouble_note(delivery->trouble);
		return;
	}
	for (size_t i = 0; i < history.relay_count; i++)
		dispatch->lane[i].rests_until = history.relay[i].retry_at;
	look_at_lanes(dispatch);
}

/* All that was parked has to find its way anew, and so has what a lane held that could not go on.
 */
static void lose_lane(struct dispatch *dispatch)
{
	dispatch->delivery.lane_lost = false;
	for (size_t i = 0; i < dispatch->config->relay_count; i++)
		if (dispatch->lane[i].state == LANE_OUT)
			delivery_release_held(&dispatch->delivery, &dispatch->lane[i], false);
	mark_wanted(dispatch);
	memo_clear(&dispatch->memo);
	if (!is_direct(dispatch) && delivery_may_claim(&dispatch->delivery))
		dispatch_scan(dispatch);
}

/*
 * No more mail can show whether a relay works: what it has refused are failures, and who else those
 * messages are for can be served. False when there is nobody.
 */
static bool go_on_with_held(struct dispatch *dispatch)
{
	if (!delivery_may_claim(&dispatch->delivery))
		return false;
	for (size_t i = 0; i < dispatch->config->relay_count; i++)
		if (!dispatch->lane[i].breaker.tripped)
			delivery_release_held(&dispatch->delivery, &dispatch->lane[i], true);
	return dispatch_under_way(dispatch) > 0;
}

bool dispatch_feed(struct dispatch *dispatch)
{
	bool more;

	if (dispatch->delivery.lane_lost)
		lose_lane(dispatch);
	for (size_t i = 0; i < dispatch->config->relay_count; i++)
		delivery_serve_waiting(&dispatch->delivery, &dispatch->lane[i]);
	more = is_direct(dispatch) ? feed_direct(dispatch) : feed_routed(dispatch);
	if (more || dispatch->delivery.lane_lost || dispatch_under_way(dispatch) > 0)
		return true;
	if (go_on_with_held(dispatch))
		return true;
	dispatch->delivery.stranded = dispatch->delivery.stranded || is_unsearched(dispatch);
	return false;
}

/* ---- relays ---- */

static void log_out(struct dispatch *dispatch, const struct lane *lane, bool down, const char *why)
{
	struct log *log = dispatch->delivery.log;

	log_begin(log, LOG_LEVEL_ERROR, down ? "relay-down" : "relay-misconfigured");
	log_text(log, "relay", lane->relay->name);
	log_text(log, "url", lane->relay->url);
	log_text(log, "reply", why);
	log_text(log, "text", any_left(dispatch) ? "mail goes to the next relay" : "mail waits");
	log_end(log);
}

/* What is told to those who watch is not worth ending a run that can send. */
static void note_end(struct dispatch *dispatch, const struct lane *lane, bool down)
{
	if (account_end_relay(dispatch->delivery.account, (size_t)(lane - dispatch->lane), down,
		&dispatch->delivery.trouble->err) == -1)
		trouble_note(dispatch->delivery.trouble);
}

/* Those who waited for LANE, which is no more, go another way or back. */
static void turn_away(struct dispatch *dispatch, struct lane *lane)
{
	struct message *message;

	while ((message = lane_take_held(lane)) != NULL)
		if (message->withdrawn || !delivery_may_claim(&dispatch->delivery) ||
		    !delivery_send_on(&dispatch->delivery, message))
			delivery_settle(&dispatch->delivery, message);
}

/* That slots are lost makes the relay get less, and no harm to mail. */
static void close_lane(struct dispatch *dispatch, struct lane *lane, enum lane_state state)
{
	if (lane_close(lane, state, &dispatch->delivery.trouble->err) == -1)
		trouble_note(dispatch->delivery.trouble);
}

/* LANE is of no use; nothing is under way there. */
static void take_out(struct dispatch *dispatch, struct lane *lane, bool down, const char *why)
{
	char reason[REPLY_TEXT_MAX];

	(void)snprintf(reason, sizeof reason, "%s", why);
	lane_finish(lane);
	delivery_take_results(&dispatch->delivery, lane);
	close_lane(dispatch, lane, LANE_OUT);
	delivery_release_held(&dispatch->delivery, lane, false);
	log_out(dispatch, lane, down, reason);
	note_end(dispatch, lane, true);
	turn_away(dispatch, lane);
	dispatch->delivery.lane_lost = true;
	dispatch->delivery.stranded = dispatch->delivery.stranded || is_direct(dispatch);
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
	if (dispatch->delivery.lane_lost || dispatch->more)
		waits_within(waits, 0);
}

void dispatch_work(struct dispatch *dispatch, const struct waits *waits)
{
	for (size_t i = 0; i < dispatch->config->relay_count; i++) {
		lane_work(&dispatch->lane[i], waits);
		delivery_take_results(&dispatch->delivery, &dispatch->lane[i]);
		/* What it has refused can go by another, even if nothing else is left. */
		if (dispatch->lane[i].breaker.tripped)
			check_health(dispatch, &dispatch->lane[i]);
	}
	delivery_sync(&dispatch->delivery);
}

static void finish(struct dispatch *dispatch, struct lane *lane)
{
	const char *why = "";

	/* It may have said so with the last result. */
	if (lane_health(lane, &why) == TRANSPORT_MISCONFIGURED) {
		take_out(dispatch, lane, false, why);
		return;
	}
	lane_finish(lane);
	delivery_take_results(&dispatch->delivery, lane);
	/* Stopped before the relay could show that it works, they are not known to fail. */
	delivery_release_held(&dispatch->delivery, lane, false);
	note_end(dispatch, lane, false);
	close_lane(dispatch, lane, LANE_CLOSED);
}

void dispatch_finish(struct dispatch *dispatch)
{
	for (size_t i = 0; i < dispatch->config->relay_count; i++)
		if (dispatch->lane[i].state == LANE_OPEN || dispatch->lane[i].state == LANE_ASKING)
			finish(dispatch, &dispatch->lane[i]);
	/* Where there was no way to wait on. */
	for (size_t i = 0; i < dispatch->config->relay_count; i++)
		turn_away(dispatch, &dispatch->lane[i]);
}

int dispatch_open(struct dispatch *dispatch)
{
	const struct config *config = dispatch->delivery.config;

	dispatch->config = config;
	dispatch->scan = dispatch->delivery.scan;
	dispatch->lane = calloc(config->relay_count, sizeof *dispatch->lane);
	dispatch->delivery.lane = dispatch->lane;
	if (dispatch->lane == NULL) {
		error_set(
		    &dispatch->delivery.trouble->err, EX_OSERR, "out of memory for the relays");
		return -1;
	}
	for (size_t i = 0; i < config->relay_count; i++)
		lane_init(&dispatch->lane[i], &config->relay[i], dispatch->delivery.spool);
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
	while (dispatch->delivery.unused != NULL) {
		struct message *message = dispatch->delivery.unused;

		dispatch->delivery.unused = message->next;
		message_free(message);
		free(message);
	}
}
