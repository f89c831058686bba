#include "state.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>

#include "hash.h"

#define WRITER	  'W' /* key of the process that wrote the record last */
#define WRITERS	  999999999
#define TRIES_MAX 100 /* so many others at one record, one after the other: something is wrong */

struct search {
	const char *name;
	struct state *state;
};

int64_t *state_value(struct state *state, char key)
{
	return &state->value[key - 'A'];
}

/* Reads "KEY=NUMBER" at AT; returns what follows it, or NULL when it is none. */
static const char *read_field(const char *at, struct state *state)
{
	int64_t number;
	int len = 0;

	if (at[0] < 'A' || at[0] > 'Z' || at[1] != '=' || at[2] < '0' || at[2] > '9' ||
	    sscanf(at + 2, "%18" SCNd64 "%n", &number, &len) != 1)
		return NULL;
	*state_value(state, at[0]) = number;
	return at + 2 + len;
}

/* Whether FILE is a record NAME; what does not parse in it means nothing. */
static bool read_record(const char *file, const char *name, struct state *state)
{
	const size_t len = strlen(name);
	const char *at = file + len;

	if (strncmp(file, name, len) != 0 || (*at != '\0' && *at != ',') ||
	    strlen(file) > ENTRY_NAME_MAX)
		return false;
	(void)snprintf(state->file, sizeof state->file, "%s", file);
	while (at != NULL && *at == ',')
		at = read_field(at + 1, state);
	return true;
}

/*
 * Of several records the one that says more counts, or the later one: two runs that both make a
 * record leave an empty one beside it, and a copy may have been put back.
 */
static bool is_fuller(const char *file, const char *other)
{
	const size_t len = strlen(file);
	const size_t other_len = strlen(other);

	return len > other_len || (len == other_len && strcmp(file, other) > 0);
}

static int look(void *context, const char *file, unsigned char type)
{
	const struct search *search = context;
	struct state found = *search->state;

	(void)type;
	memset(found.value, 0, sizeof found.value);
	if (read_record(file, search->name, &found) && is_fuller(file, search->state->file))
		*search->state = found;
	return 0;
}

int state_load(const struct spool *spool, const char *name, struct state *state, struct error *err)
{
	struct search search = {.name = name, .state = state};

	*state = (struct state){.file = ""};
	(void)snprintf(state->name, sizeof state->name, "%s", name);
	if (spool->state == -1)
		return 0;
	return spool_each(spool, spool->state, look, &search, err);
}

/* The name that says what STATE holds. */
static void format(const struct state *state, char file[ENTRY_NAME_MAX + 1])
{
	size_t len = (size_t)snprintf(file, ENTRY_NAME_MAX + 1, "%s", state->name);

	for (int key = 0; key < STATE_KEYS && len < ENTRY_NAME_MAX; key++)
		if (state->value[key] != 0)
			len += (size_t)snprintf(file + len, ENTRY_NAME_MAX + 1 - len,
			    ",%c=%" PRId64, 'A' + key, state->value[key]);
}

/* The process, as a number: two hosts may well have runs of one pid, in containers above all. */
static int64_t writer(const struct spool *spool)
{
	const uint64_t hash = hash_bytes((uint64_t)spool->pid, spool->host, strlen(spool->host));

	return (int64_t)(hash % WRITERS) + 1;
}

/*
 * In a shared spool no two runs write the same name, see spool_state_move. A record that says
 * nothing new keeps the name it has.
 */
static void sign(const struct spool *spool, struct state *state)
{
	char same[ENTRY_NAME_MAX + 1];

	format(state, same);
	if (spool->shared && strcmp(state->file, same) != 0)
		*state_value(state, WRITER) = writer(spool);
}

int state_update(
    struct spool *spool, const char *name, state_change *change, void *context, struct error *err)
{
	char to[ENTRY_NAME_MAX + 1];
	struct state state;

	if (spool_state_open(spool, err) == -1)
		return -1;
	for (int tries = 0; tries < TRIES_MAX; tries++) {
		enum spool_moved moved;

		if (state_load(spool, name, &state, err) == -1)
			return -1;
		change(&state, context);
		sign(spool, &state);
		format(&state, to);
		if (strcmp(state.file, to) == 0)
			return 0;
		/* The first is made empty, so that two runs can't both make one. */
		moved = state.file[0] == '\0' ? spool_state_make(spool, name, err)
					      : spool_state_move(spool, state.file, to, err);
		if (moved == SPOOL_ERROR)
			return -1;
		if (moved == SPOOL_MOVED && state.file[0] != '\0')
			return 0;
	}
	error_set(
	    err, EX_IOERR, "the record %s in %s/state changes without end", name, spool->path);
	return -1;
}
