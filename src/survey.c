#include "survey.h"

#include <dirent.h>

#include "clock.h"

struct look {
	struct survey *survey;
	enum spool_dir dir;
};

enum survey_state survey_state_of(const struct entry *entry, enum spool_dir dir, int64_t now)
{
	if (dir == SPOOL_CUR || (dir == SPOOL_NEW && entry_has_class(entry, '2')))
		return SURVEY_SENT; /* or sent, and only the move to cur/ is missing */
	if (dir == SPOOL_FAILED)
		return SURVEY_FAILED;
	if (entry->claim != NULL && entry->not_before > now)
		return SURVEY_IN_FLIGHT;
	return entry->attempts > 0 || entry_has_class(entry, '4') ? SURVEY_DEFERRED
								  : SURVEY_WAITING;
}

const char *survey_state_name(enum survey_state state)
{
	static const char *const names[SURVEY_STATES] = {
	    "waiting", "in flight", "deferred", "failed", "sent"};

	return names[state];
}

const char *survey_state_key(enum survey_state state)
{
	return state == SURVEY_IN_FLIGHT ? "in_flight" : survey_state_name(state);
}

/* Whether WORD is KEY; a blank or a dash will do for its underline. */
static bool is_key(const char *word, const char *key)
{
	for (; *word != '\0'; word++, key++)
		if (*word != *key && (*key != '_' || (*word != '-' && *word != ' ')))
			return false;
	return *key == '\0';
}

bool survey_state_parse(const char *word, enum survey_state *state)
{
	for (int i = 0; i < SURVEY_STATES; i++) {
		*state = (enum survey_state)i;
		if (is_key(word, survey_state_key(*state)))
			return true;
	}
	return false;
}

static void tally_add(struct survey_tally *tally, const struct entry *entry)
{
	const int64_t birth = entry_birth(entry);

	tally->count++;
	if (birth != -1 && birth < tally->oldest)
		tally->oldest = birth;
}

/* The subject of a status "4.x.y". */
static int subject_of(const struct entry *entry)
{
	const char *status = entry->status;

	if (entry_has_class(entry, '4') && status[2] >= '0' && status[2] <= '7' && status[3] == '.')
		return status[2] - '0';
	return SURVEY_OTHER;
}

/* A message is due from its T on, and one without T from its birth. */
static int64_t due_since(const struct entry *entry)
{
	const int64_t birth = entry_birth(entry);

	if (birth != -1 && birth > entry->not_before)
		return birth;
	return entry->not_before > 0 ? entry->not_before : INT64_MAX;
}

static void count_open(struct survey *survey, const struct entry *entry)
{
	if (entry->not_before <= survey->now) {
		tally_add(&survey->due, entry);
		if (due_since(entry) < survey->due_since)
			survey->due_since = due_since(entry);
	} else if (entry->not_before < survey->next) {
		survey->next = entry->not_before;
	}
}

static int count_one(void *context, const char *name, unsigned char type)
{
	const struct look *look = context;
	struct survey *survey = look->survey;
	struct entry entry;
	enum survey_state state;

	if ((type != DT_REG && type != DT_UNKNOWN) || !entry_parse(name, &entry))
		return 0;
	state = survey_state_of(&entry, look->dir, survey->now);
	tally_add(&survey->state[state], &entry);
	if (state == SURVEY_DEFERRED)
		survey->deferred[subject_of(&entry)]++;
	if (state == SURVEY_WAITING || state == SURVEY_DEFERRED)
		count_open(survey, &entry);
	return 0;
}

const char *survey_subject(int subject)
{
	static const char *const subjects[SURVEY_SUBJECTS] = {
	    "4.0", "4.1", "4.2", "4.3", "4.4", "4.5", "4.6", "4.7", [SURVEY_OTHER] = "other"};

	return subjects[subject];
}

int64_t survey_due_age(const struct survey *survey)
{
	return survey->due_since < survey->now ? survey->now - survey->due_since : 0;
}

int survey_take(const struct spool *spool, struct survey *survey, struct error *err)
{
	static const enum spool_dir dirs[] = {SPOOL_NEW, SPOOL_CUR, SPOOL_FAILED};
	struct look look = {.survey = survey};

	*survey = (struct survey){
	    .now = clock_now(), .next = INT64_MAX, .due_since = INT64_MAX, .due.oldest = INT64_MAX};
	for (int state = 0; state < SURVEY_STATES; state++)
		survey->state[state].oldest = INT64_MAX;
	for (size_t i = 0; i < sizeof dirs / sizeof dirs[0]; i++) {
		look.dir = dirs[i];
		if (spool_each(spool, spool->dir[dirs[i]], count_one, &look, err) == -1)
			return -1;
	}
	return 0;
}
