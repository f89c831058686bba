#include "history.h"

#include <stdio.h>

#include "clock.h"
#include "pace.h"
#include "state.h"

#define TOTALS "totals"
#define RUN    "run"

static void relay_record(const char *relay, char name[STATE_NAME_MAX + 1])
{
	(void)snprintf(name, STATE_NAME_MAX + 1, "relay-%s", relay);
}

static int load_totals(const struct spool *spool, struct history_totals *totals, struct error *err)
{
	struct state state;

	if (state_load(spool, TOTALS, &state, err) == -1)
		return -1;
	totals->sent = *state_value(&state, 'S');
	totals->deferred = *state_value(&state, 'D');
	totals->failed = *state_value(&state, 'F');
	return 0;
}

static int load_run(const struct spool *spool, struct history_run *run, struct error *err)
{
	struct state state;

	if (state_load(spool, RUN, &state, err) == -1)
		return -1;
	run->ended = *state_value(&state, 'T');
	run->took = *state_value(&state, 'D');
	run->status = -1;
	return 0;
}

static int load_relay(const struct spool *spool, struct history_relay *relay, struct error *err)
{
	char name[STATE_NAME_MAX + 1];
	struct state state;

	relay_record(relay->name, name);
	if (state_load(spool, name, &state, err) == -1)
		return -1;
	relay->since = *state_value(&state, 'B');
	relay->tried = relay->since > 0;
	relay->up = *state_value(&state, 'U') == 1;
	relay->accepted = *state_value(&state, 'S');
	relay->retry_at = *state_value(&state, 'P');
	return 0;
}

static int load_limits(const struct spool *spool, const struct relay_config *config,
    struct history_relay *relay, struct error *err)
{
	relay->rate = config->rate;
	relay->quota = config->quota;
	if (config->quota.count == 0)
		return 0;
	return pace_used(spool, config, clock_now_us(), &relay->used, err);
}

int history_load(const struct spool *spool, const struct config *config, struct history *history,
    struct error *err)
{
	*history = (struct history){.relay_count = config->relay_count};
	if (load_totals(spool, &history->totals, err) == -1 ||
	    load_run(spool, &history->run, err) == -1)
		return -1;
	for (size_t i = 0; i < config->relay_count; i++) {
		history->relay[i].name = config->relay[i].name;
		if (load_relay(spool, &history->relay[i], err) == -1 ||
		    load_limits(spool, &config->relay[i], &history->relay[i], err) == -1)
			return -1;
	}
	return 0;
}

bool history_is_down(const struct history_relay *relay)
{
	return relay->tried && !relay->up;
}

static void add_totals(struct state *state, void *context)
{
	const struct history_totals *more = context;

	*state_value(state, 'S') += more->sent;
	*state_value(state, 'D') += more->deferred;
	*state_value(state, 'F') += more->failed;
}

static void set_run(struct state *state, void *context)
{
	const struct history_run *run = context;

	*state_value(state, 'T') = run->ended;
	*state_value(state, 'D') = run->took;
}

int history_add(struct spool *spool, const struct history_totals *more,
    const struct history_run *run, struct error *err)
{
	struct history_totals totals = *more;
	struct history_run last = *run;

	if (state_update(spool, TOTALS, add_totals, &totals, err) == -1)
		return -1;
	return state_update(spool, RUN, set_run, &last, err);
}

/* Seconds for which a relay that was down in so many RUNS is left alone. */
static int64_t pause_after(int64_t runs)
{
	static const int64_t minutes[] = {1, 2, 4, 8, 15};
	const int64_t last = (int64_t)(sizeof minutes / sizeof minutes[0]) - 1;

	return 60 * minutes[runs - 1 < last ? runs - 1 : last];
}

static void set_failure(struct state *state, const struct history_seen *seen)
{
	int64_t *runs = state_value(state, 'F');

	*runs = seen->up ? 0 : *runs + 1;
	*state_value(state, 'P') = seen->up ? 0 : seen->now + pause_after(*runs);
}

static void set_relay(struct state *state, void *context)
{
	const struct history_seen *seen = context;
	const int64_t up = seen->up ? 1 : 0;

	if (*state_value(state, 'U') != up || *state_value(state, 'B') == 0)
		*state_value(state, 'B') = seen->now;
	*state_value(state, 'U') = up;
	set_failure(state, seen);
	if (seen->accepted)
		*state_value(state, 'S') = seen->now;
}

int history_saw(
    struct spool *spool, const char *relay, const struct history_seen *seen, struct error *err)
{
	char name[STATE_NAME_MAX + 1];
	struct history_seen change = *seen;

	relay_record(relay, name);
	return state_update(spool, name, set_relay, &change, err);
}
