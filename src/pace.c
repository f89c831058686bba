#include "pace.h"

#include <stdio.h>

#include "clock.h"

#define TOLERANCE   1000 /* microseconds: waits are in milliseconds, so a slot may be that late */
#define QUOTA_PARTS 1000 /* a run takes no more than such a part of the quota ahead of its use */

static void name_record(const struct relay_config *relay, char record[STATE_NAME_MAX + 1])
{
	(void)snprintf(record, STATE_NAME_MAX + 1, "pace-%s", relay->name);
}

static struct meter_limits limits_of(const struct relay_config *relay)
{
	return (struct meter_limits){
	    .rate = relay->rate.count, .seconds = relay->rate.seconds, .quota = relay->quota.count};
}

void pace_open(struct pace *pace, struct spool *spool, const struct relay_config *relay)
{
	*pace = (struct pace){.spool = spool, .limits = limits_of(relay)};
	name_record(relay, pace->record);
}

static int64_t later(int64_t a, int64_t b)
{
	return a > b ? a : b;
}

static int64_t sooner(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

static bool has_rate(const struct pace *pace)
{
	return pace->limits.rate > 0;
}

static bool has_quota(const struct pace *pace)
{
	return pace->limits.quota > 0;
}

static bool is_limited(const struct pace *pace)
{
	return has_rate(pace) || has_quota(pace);
}

/* ---- the record ---- */

static char bucket_key(int i)
{
	return (char)('A' + i);
}

static void meter_read(struct state *state, struct meter *meter)
{
	*meter = (struct meter){.next = *state_value(state, 'T'),
	    .ahead = *state_value(state, 'R'),
	    .newest = *state_value(state, 'Z')};
	for (int i = 0; i < METER_BUCKETS; i++)
		meter->count[i] = *state_value(state, bucket_key(i));
}

/* What has no limit is not kept. */
static void meter_write(
    const struct meter *meter, const struct meter_limits *limits, struct state *state)
{
	const bool rate = limits->rate > 0;
	const bool quota = limits->quota > 0;

	*state_value(state, 'T') = rate ? meter->next : 0;
	*state_value(state, 'R') = rate ? meter->ahead : 0;
	*state_value(state, 'Z') = quota ? meter->newest : 0;
	for (int i = 0; i < METER_BUCKETS; i++)
		*state_value(state, bucket_key(i)) = quota ? meter->count[i] : 0;
}

/* How far the clocks of those who write the record may differ. */
static int64_t slack(const struct spool *spool)
{
	return spool->shared ? CLOCK_SLACK * METER_SECOND : 0;
}

/* ---- what the run has in stock ---- */

/* When the next slot in stock begins. What is later than by the tolerance is lost. */
static int64_t next_slot(const struct pace *pace)
{
	return later(pace->stock.from, pace->now - TOLERANCE);
}

/* The slots in stock. Each is rounded up on its own, so the last of them may end behind END. */
static int64_t slots_left(const struct pace *pace)
{
	const struct pace_stock *stock = &pace->stock;
	const int64_t each = meter_length(&pace->limits, 1);
	const int64_t rounding = stock->slots * each - meter_length(&pace->limits, stock->slots);
	const int64_t left = stock->end + rounding - next_slot(pace);

	if (stock->slots == 0 || left < each)
		return 0;
	return sooner(left / each, stock->slots);
}

/* Whether RECIPIENTS need nothing of the record but what is in stock. */
static bool is_in_stock(const struct pace *pace, int64_t recipients)
{
	if (has_rate(pace) && slots_left(pace) < recipients)
		return false;
	return !has_quota(pace) ||
	       (pace->stock.credit >= recipients && meter_bucket(pace->now) <= pace->stock.counted);
}

/* From when on the first recipient has a slot. */
static int64_t slot_at(const struct pace *pace)
{
	return is_in_stock(pace, 1) ? pace->stock.from : pace->stock.end;
}

static void use_stock(struct pace *pace, int64_t recipients)
{
	pace->last.from = pace->stock.from;
	pace->stock.from = next_slot(pace) + meter_length(&pace->limits, recipients);
	if (has_quota(pace))
		pace->stock.credit = later(pace->stock.credit - recipients, 0);
}

/* ---- taking more of the record ---- */

struct wish {
	const struct pace *pace;
	int64_t recipients;
	struct pace_stock stock; /* what the run has then */
	bool granted;
};

/* Puts what is in stock back into METER: slots only while nobody has taken any behind them. */
static void put_back(const struct pace *pace, struct meter *meter)
{
	const struct pace_stock *stock = &pace->stock;

	meter_count(meter, stock->counted, -stock->credit);
	if (stock->slots == 0 || meter->next != stock->end)
		return;
	meter->next = stock->from;
	meter->ahead = later(meter->ahead - slots_left(pace), 0);
}

/* As many slots as a second holds at the present pace, or less where the quota is small. */
static int64_t portion(const struct pace *pace)
{
	const struct meter_limits *limits = &pace->limits;
	int64_t most = INT64_MAX;

	if (has_rate(pace))
		most =
		    sooner(limits->rate / limits->seconds, slow_per_second(&pace->slow, pace->now));
	if (has_quota(pace))
		most = sooner(most, limits->quota / QUOTA_PARTS);
	return later(most, 1);
}

static void book_slots(struct wish *wish, struct meter *meter, int64_t slots)
{
	const struct pace *pace = wish->pace;
	const int64_t start = later(meter->next, pace->now - TOLERANCE);

	if (!has_rate(pace))
		return;
	meter->ahead = slots;
	meter->next = start + meter_length(&pace->limits, slots);
	wish->stock.from = start;
	wish->stock.end = meter->next;
	wish->stock.slots = slots;
}

/* A message that is larger than the quota takes all of it. */
static int64_t share(const struct pace *pace, int64_t recipients)
{
	return has_quota(pace) ? sooner(recipients, pace->limits.quota) : 0;
}

/* Takes so many RECIPIENTS of the quota in METER, for which there is room. */
static void book_quota(struct wish *wish, struct meter *meter, int64_t recipients)
{
	const struct pace *pace = wish->pace;

	if (!has_quota(pace))
		return;
	meter_count(meter, meter->newest, recipients);
	wish->stock.credit = recipients;
	wish->stock.counted = meter->newest;
}

/* How many to take for a wish at once: what is left of the quota bounds only what is ahead of use.
 */
static int64_t amount(const struct wish *wish, const struct meter *meter)
{
	const struct pace *pace = wish->pace;
	const int64_t room = pace->limits.quota - meter_used(meter);
	const int64_t most = portion(pace);

	return later(wish->recipients, has_quota(pace) ? sooner(most, room) : most);
}

static void grant(struct wish *wish, struct meter *meter)
{
	const int64_t more = amount(wish, meter);

	wish->stock = (struct pace_stock){0};
	book_quota(wish, meter, share(wish->pace, more));
	book_slots(wish, meter, more);
	wish->granted = true;
}

/* The wish is not granted before AT. */
static void refuse(struct wish *wish, const struct meter *meter, int64_t at, bool full)
{
	wish->stock =
	    (struct pace_stock){.from = at, .end = at, .counted = meter->newest, .full = full};
}

/* Puts back what is left, and takes anew. */
static void take_stock(struct state *state, void *context)
{
	struct wish *wish = context;
	const struct pace *pace = wish->pace;
	struct meter meter;
	int64_t room;

	wish->granted = false;
	meter_read(state, &meter);
	(void)meter_settle(&meter, &pace->limits, pace->now, slack(pace->spool));
	put_back(pace, &meter);
	room = meter_room_at(&meter, &pace->limits, share(pace, wish->recipients));
	if (has_rate(pace) && meter.next > pace->now)
		refuse(wish, &meter, meter.next, false);
	else if (room > pace->now)
		refuse(wish, &meter, room, true);
	else
		grant(wish, &meter);
	meter_write(&meter, &pace->limits, state);
}

static int take_more(struct pace *pace, int64_t recipients, struct error *err)
{
	struct wish wish = {.pace = pace, .recipients = recipients};

	if (state_update(pace->spool, pace->record, take_stock, &wish, err) == -1)
		return -1;
	pace->stock = wish.stock;
	pace->looked = true;
	return wish.granted ? 1 : 0;
}

/* ---- looking at the record ---- */

static void mend(struct state *state, void *context)
{
	const struct pace *pace = context;
	struct meter meter;

	meter_read(state, &meter);
	(void)meter_settle(&meter, &pace->limits, pace->now, slack(pace->spool));
	meter_write(&meter, &pace->limits, state);
}

/* Reads when there is something to take. What a wrong clock has left is mended for good. */
static int look(struct pace *pace, struct error *err)
{
	struct state state;
	struct meter meter;
	int64_t room;

	if (state_load(pace->spool, pace->record, &state, err) == -1)
		return -1;
	meter_read(&state, &meter);
	if (meter_settle(&meter, &pace->limits, pace->now, slack(pace->spool)) &&
	    state_update(pace->spool, pace->record, mend, pace, err) == -1)
		return -1;
	room = meter_room_at(&meter, &pace->limits, 1);
	pace->stock.full = room > pace->now;
	pace->stock.end = pace->stock.full ? later(room, meter.next) : meter.next;
	pace->looked = true;
	return 0;
}

int pace_used(const struct spool *spool, const struct relay_config *relay, int64_t now,
    int64_t *used, struct error *err)
{
	const struct meter_limits limits = limits_of(relay);
	char record[STATE_NAME_MAX + 1];
	struct state state;
	struct meter meter;

	name_record(relay, record);
	if (state_load(spool, record, &state, err) == -1)
		return -1;
	meter_read(&state, &meter);
	(void)meter_settle(&meter, &limits, now, 0);
	*used = meter_used(&meter);
	return 0;
}

/* ---- for the run ---- */

/* A clock that was set back leaves no slot in stock where it was. */
static void set_clock(struct pace *pace, int64_t now)
{
	if (now < pace->now) {
		slow_shift(&pace->slow, pace->now - now);
		pace->stock = (struct pace_stock){
		    .credit = pace->stock.credit, .counted = pace->stock.counted};
		pace->last.at = 0;
		pace->looked = false;
	}
	pace->now = now;
}

int64_t pace_wait_ms(struct pace *pace, int64_t now, enum pace_hold *hold, struct error *err)
{
	int64_t at = 0;

	set_clock(pace, now);
	if (is_limited(pace) && !pace->looked && look(pace, err) == -1)
		return -1;
	if (is_limited(pace))
		at = slot_at(pace);
	*hold = pace->stock.full ? PACE_QUOTA : PACE_RATE;
	if (slow_until(&pace->slow) > at) {
		at = slow_until(&pace->slow);
		*hold = PACE_ASKED;
	}
	if (at <= now) {
		*hold = PACE_FREE;
		return 0;
	}
	return (at - now + 999) / 1000;
}

int64_t pace_message_max(const struct pace *pace)
{
	return has_quota(pace) ? pace->limits.quota : INT64_MAX;
}

int pace_take(struct pace *pace, int64_t recipients, int64_t now, struct error *err)
{
	set_clock(pace, now);
	if (slow_until(&pace->slow) > now || (is_limited(pace) && slot_at(pace) > now))
		return 0;
	if (is_limited(pace)) {
		const int taken =
		    is_in_stock(pace, recipients) ? 1 : take_more(pace, recipients, err);

		if (taken != 1)
			return taken;
		use_stock(pace, recipients);
	}
	pace->last.at = now;
	pace->last.slow_next = pace->slow.next;
	slow_take(&pace->slow, recipients, now);
	return 1;
}

void pace_give(struct pace *pace, int64_t recipients, int64_t taken)
{
	if (has_quota(pace) && meter_bucket(taken) == pace->stock.counted)
		pace->stock.credit += recipients;
	if (taken != pace->last.at)
		return;
	pace->stock.from = pace->last.from;
	pace->slow.next = pace->last.slow_next;
	pace->last.at = 0;
}

bool pace_slow(struct pace *pace, int64_t retry_after, int64_t now)
{
	const struct meter_limits *limits = &pace->limits;
	const int64_t rate = has_rate(pace) ? limits->rate * METER_SECOND / limits->seconds : 0;

	set_clock(pace, now);
	return slow_down(&pace->slow, rate, retry_after, now);
}

static void give_back(struct state *state, void *context)
{
	const struct pace *pace = context;
	struct meter meter;

	meter_read(state, &meter);
	(void)meter_settle(&meter, &pace->limits, pace->now, slack(pace->spool));
	put_back(pace, &meter);
	meter_write(&meter, &pace->limits, state);
}

int pace_close(struct pace *pace, int64_t now, struct error *err)
{
	set_clock(pace, now);
	if (slots_left(pace) == 0 && pace->stock.credit == 0)
		return 0;
	if (state_update(pace->spool, pace->record, give_back, pace, err) == -1)
		return -1;
	pace->stock = (struct pace_stock){0};
	return 0;
}
