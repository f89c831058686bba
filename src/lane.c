#include "lane.h"

#include <stdlib.h>

#include "clock.h"
#include "http_api.h"

#define ROOM_FIRST 256

static const char TRIPPED[] =
    "the first messages were all refused with the same reply at MAIL FROM";

void lane_init(struct lane *lane, const struct relay_config *relay, struct spool *spool)
{
	*lane = (struct lane){.relay = relay};
	pace_open(&lane->pace, spool, relay);
}

/* The transport, once the relay can be shown what it wants. 0, or -1 with ERR. */
static int open_transport(struct lane *lane, struct error *err)
{
	lane->kind = transport_load(lane->relay, err);
	if (lane->kind != NULL)
		lane->transport = lane->kind->open(lane->relay, &lane->credential, err);
	if (lane->transport == NULL)
		return -1;
	lane->state = LANE_OPEN;
	return 0;
}

static int advance(struct lane *lane, struct error *err)
{
	if (lane->state == LANE_CLOSED) {
		credential_begin(&lane->credential, lane->relay);
		lane->state = LANE_ASKING;
	}
	if (lane->state == LANE_ASKING && credential_state(&lane->credential) == CREDENTIAL_READY)
		return open_transport(lane, err);
	return 0;
}

/* How long nothing may be sent, for whatever reason. 0, or -1 with ERR. */
static int look_at_pace(struct lane *lane, struct error *err)
{
	lane->pace_ms = pace_wait_ms(&lane->pace, clock_now_us(), &lane->paced, err);
	lane->over = lane->pace_ms > PACE_STAY_MS;
	return lane->pace_ms == -1 ? -1 : 0;
}

/* Out for good, as ERR says. */
static int give_up(struct lane *lane)
{
	struct error ignored;

	(void)lane_close(lane, LANE_OUT, &ignored);
	return -1;
}

int lane_ready(struct lane *lane, size_t count, struct error *err)
{
	if (lane->state == LANE_OUT || lane->breaker.tripped)
		return 0;
	if (look_at_pace(lane, err) == -1)
		return lane->in_flight > 0 ? 0 : give_up(lane);
	if (lane->pace_ms > 0)
		return 0;
	if (advance(lane, err) == -1)
		return give_up(lane);
	return lane->state == LANE_OPEN && lane->kind->ready(lane->transport, count) ? 1 : 0;
}

int lane_admit(struct lane *lane, struct message *message, struct error *err)
{
	const size_t count = envelope_count(&message->envelope, RECIPIENT_TODO);
	const int64_t now_us = clock_now_us();
	const int taken = pace_take(&lane->pace, (int64_t)count, now_us, err);

	if (taken == 1) {
		message->admitted = count;
		message->admitted_us = now_us;
		return 1;
	}
	if (taken == 0)
		return look_at_pace(lane, err) == -1 && lane->in_flight == 0 ? give_up(lane) : 0;
	return lane->in_flight == 0 ? give_up(lane) : 0;
}

void lane_readmit(struct lane *lane, const struct message *message)
{
	pace_give(&lane->pace, (int64_t)message->admitted, message->admitted_us);
}

void lane_look_again(struct lane *lane)
{
	struct error err; /* will be there again when the lane is used, and is told then */

	lane->resting = lane->rests_until > clock_now();
	if (lane->over && look_at_pace(lane, &err) == -1)
		lane->over = false;
}

bool lane_is_active(const struct lane *lane)
{
	return lane->state != LANE_OUT && !lane->over && !lane->breaker.tripped;
}

size_t lane_recipients_max(const struct lane *lane)
{
	const struct http_limits limits = http_api_limits(lane->relay);
	int64_t most = pace_message_max(&lane->pace);

	if (lane->relay->recipients_per_message > 0 && lane->relay->recipients_per_message < most)
		most = lane->relay->recipients_per_message;
	if (limits.recipients > 0 && limits.recipients < most)
		most = limits.recipients;
	return (size_t)most;
}

void lane_submit(struct lane *lane, struct message *message)
{
	message->submitted = true;
	lane->in_flight++;
	lane->kind->submit(lane->transport, message);
}

void lane_prepare(struct lane *lane, struct waits *waits)
{
	if (lane->state == LANE_ASKING)
		credential_prepare(&lane->credential, waits);
	if (lane->state == LANE_OPEN)
		lane->kind->prepare(lane->transport, waits);
	if (lane->pace_ms > 0)
		waits_within(waits, lane->pace_ms);
	lane->pace_ms = 0; /* until somebody asks again */
}

void lane_work(struct lane *lane, const struct waits *waits)
{
	if (lane->state == LANE_ASKING)
		credential_work(&lane->credential, waits);
	if (lane->state == LANE_OPEN)
		lane->kind->work(lane->transport, waits);
}

struct message *lane_result(struct lane *lane)
{
	struct message *message = NULL;

	if (lane->state == LANE_OPEN)
		message = lane->kind->result(lane->transport);
	if (message == NULL)
		return NULL;
	message->submitted = false;
	lane->in_flight--;
	return message;
}

enum transport_state lane_health(struct lane *lane, const char **why)
{
	switch (lane->state) {
	case LANE_CLOSED:
	case LANE_OUT:
		return TRANSPORT_OPENING;
	case LANE_ASKING:
		*why = credential_why(&lane->credential);
		return credential_state(&lane->credential) == CREDENTIAL_FAILED ? TRANSPORT_DOWN
										: TRANSPORT_OPENING;
	case LANE_OPEN:
		break;
	}
	*why = TRIPPED;
	return lane->breaker.tripped ? TRANSPORT_MISCONFIGURED
				     : lane->kind->state(lane->transport, why);
}

static void close_transport(struct lane *lane)
{
	if (lane->transport != NULL)
		lane->kind->close(lane->transport);
	lane->transport = NULL;
}

bool lane_renew(struct lane *lane)
{
	if (lane->state != LANE_OPEN || lane->breaker.tripped ||
	    !credential_renew(&lane->credential))
		return false;
	close_transport(lane);
	lane->state = LANE_ASKING;
	return true;
}

void lane_finish(struct lane *lane)
{
	if (lane->state == LANE_OPEN)
		lane->kind->finish(lane->transport);
}

int lane_close(struct lane *lane, enum lane_state state, struct error *err)
{
	close_transport(lane);
	if (lane->state == LANE_ASKING || lane->state == LANE_OPEN)
		credential_free(&lane->credential);
	lane->state = state;
	return pace_close(&lane->pace, clock_now_us(), err);
}

void lane_free(struct lane *lane)
{
	free(lane->parked.place);
	lane->parked = (struct lane_names){.place = NULL};
}

bool lane_park(struct lane *lane, size_t place)
{
	struct lane_names *parked = &lane->parked;

	if (parked->end == parked->room) {
		const size_t room = parked->room == 0 ? ROOM_FIRST : parked->room * 2;
		uint32_t *more = realloc(parked->place, room * sizeof *more);

		if (more == NULL)
			return false;
		parked->place = more;
		parked->room = room;
	}
	parked->place[parked->end++] = (uint32_t)place;
	return true;
}

bool lane_unpark(struct lane *lane, size_t *place)
{
	struct lane_names *parked = &lane->parked;

	if (parked->first == parked->end)
		return false;
	*place = parked->place[parked->first++];
	if (parked->first == parked->end)
		lane_forget_parked(lane);
	return true;
}

size_t lane_parked(const struct lane *lane)
{
	return lane->parked.end - lane->parked.first;
}

size_t lane_parked_at(const struct lane *lane, size_t i)
{
	return lane->parked.place[lane->parked.first + i];
}

void lane_forget_parked(struct lane *lane)
{
	lane->parked.first = lane->parked.end = 0;
}

void lane_hold(struct lane *lane, struct message *message)
{
	struct message **end = &lane->waiting;

	while (*end != NULL)
		end = &(*end)->next;
	message->next = NULL;
	*end = message;
	lane->waiting_count++;
}

void lane_unhold(struct lane *lane, struct message *message)
{
	struct message **at = &lane->waiting;

	while (*at != message)
		at = &(*at)->next;
	*at = message->next;
	message->next = NULL;
	lane->waiting_count--;
}

struct message *lane_take_held(struct lane *lane)
{
	struct message *message = lane->waiting;

	if (message != NULL)
		lane_unhold(lane, message);
	return message;
}

/* ---- choice ---- */

/* What the config allows, and what is known of the provider. */
static bool fits(const struct lane *lane, uint64_t size)
{
	const uint64_t allowed = lane->relay->message_size;
	const uint64_t taken = http_api_limits(lane->relay).size;

	return (allowed == 0 || size <= allowed) && (taken == 0 || size <= taken);
}

static bool is_of_use(const struct lane *lane, uint64_t size, bool rested)
{
	return lane->state != LANE_OUT && fits(lane, size) && (!rested || !lane->resting);
}

/* Whether one of RANK could be given mail before this run ends. */
static bool any_in_time(
    const struct lane *lane, const struct route_rank *rank, uint64_t size, bool rested)
{
	for (size_t i = 0; i < rank->count; i++)
		if (!lane[rank->relay[i]].over && is_of_use(&lane[rank->relay[i]], size, rested))
			return true;
	return false;
}

/*
 * The one of RANK whose turn it is: each gets as many more points as its weight, and the one with
 * the most pays what all have got. So turns are shared by weight, and evenly spread.
 */
static bool take_turn(struct lane *lane, const struct route_rank *rank, uint64_t size, bool rested,
    size_t hint, size_t *found)
{
	const bool in_time = any_in_time(lane, rank, size, rested);
	struct lane *best = NULL;
	int64_t sum = 0;

	for (size_t i = 0; i < rank->count; i++)
		if (rank->relay[i] == hint && is_of_use(&lane[hint], size, rested)) {
			*found = hint;
			return true;
		}
	for (size_t i = 0; i < rank->count; i++) {
		struct lane *other = &lane[rank->relay[i]];

		if (!is_of_use(other, size, rested) || (in_time && other->over))
			continue;
		other->balance += other->relay->weight;
		sum += other->relay->weight;
		if (best == NULL || other->balance > best->balance)
			best = other;
	}
	if (best == NULL)
		return false;
	best->balance -= sum;
	*found = (size_t)(best - lane);
	return true;
}

static bool fits_any(const struct lane *lane, const struct route_ranks *ranks, uint64_t size)
{
	for (size_t i = 0; i < ranks->count; i++)
		for (size_t j = 0; j < ranks->rank[i].count; j++)
			if (fits(&lane[ranks->rank[i].relay[j]], size))
				return true;
	return false;
}

enum lane_found lane_choose(
    struct lane *lane, const struct route_ranks *ranks, uint64_t size, size_t hint, size_t *found)
{
	for (int tries = 0; tries < 2; tries++)
		for (size_t i = 0; i < ranks->count; i++)
			if (take_turn(lane, &ranks->rank[i], size, tries == 0, hint, found))
				return LANE_FOUND;
	return fits_any(lane, ranks, size) ? LANE_NONE : LANE_TOO_SMALL;
}

/* Whether any of RANK is of use; they are marked. */
static bool want_rank(struct lane *lane, const struct route_rank *rank, bool rested)
{
	bool any = false;

	for (size_t i = 0; i < rank->count; i++) {
		struct lane *other = &lane[rank->relay[i]];

		if (!is_of_use(other, 0, rested))
			continue;
		other->wanted = true;
		any = true;
	}
	return any;
}

void lane_want(struct lane *lane, const struct route_ranks *ranks)
{
	for (int tries = 0; tries < 2; tries++)
		for (size_t i = 0; i < ranks->count; i++)
			if (want_rank(lane, &ranks->rank[i], tries == 0))
				return;
}
