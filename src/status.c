#include "status.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>

#include "clock.h"
#include "message.h"
#include "queue.h"
#include "utf8.h"

enum state { WAITING, IN_FLIGHT, DEFERRED, FAILED, SENT, STATES };

static const char *const state_name[STATES] = {
    "waiting", "in flight", "deferred", "failed", "sent"};

struct tally {
	size_t count;
	int64_t oldest; /* epoch seconds; INT64_MAX: none is known */
};

struct survey {
	int64_t now;
	enum spool_dir dir;
	struct tally state[STATES];
	struct tally due;
	int64_t next; /* the earliest T in the future */
};

static enum state state_of(const struct entry *entry, enum spool_dir dir, int64_t now)
{
	if (dir == SPOOL_CUR || (dir == SPOOL_NEW && entry_has_class(entry, '2')))
		return SENT; /* or sent, and only the move to cur/ is missing */
	if (dir == SPOOL_FAILED)
		return FAILED;
	if (entry->claim != NULL && entry->not_before > now)
		return IN_FLIGHT;
	return entry->attempts > 0 ? DEFERRED : WAITING;
}

static void tally_add(struct tally *tally, const struct entry *entry)
{
	const int64_t birth = entry_birth(entry);

	tally->count++;
	if (birth != -1 && birth < tally->oldest)
		tally->oldest = birth;
}

static int survey_one(void *context, const char *name, unsigned char type)
{
	struct survey *survey = context;
	struct entry entry;
	enum state state;

	if ((type != DT_REG && type != DT_UNKNOWN) || !entry_parse(name, &entry))
		return 0;
	state = state_of(&entry, survey->dir, survey->now);
	tally_add(&survey->state[state], &entry);
	if (survey->dir != SPOOL_NEW || state == IN_FLIGHT || state == SENT)
		return 0;
	if (entry.not_before <= survey->now)
		tally_add(&survey->due, &entry);
	else if (entry.not_before < survey->next)
		survey->next = entry.not_before;
	return 0;
}

/* "45s", "3m", "2h 5m", "4d 3h": the two largest units. */
static const char *duration(int64_t seconds, char *buf, size_t size)
{
	if (seconds < 0)
		seconds = 0;
	if (seconds < 60)
		(void)snprintf(buf, size, "%" PRId64 "s", seconds);
	else if (seconds < 3600)
		(void)snprintf(buf, size, "%" PRId64 "m", seconds / 60);
	else if (seconds < 86400)
		(void)snprintf(
		    buf, size, "%" PRId64 "h %" PRId64 "m", seconds / 3600, seconds % 3600 / 60);
	else
		(void)snprintf(buf, size, "%" PRId64 "d %" PRId64 "h", seconds / 86400,
		    seconds % 86400 / 3600);
	return buf;
}

static void print_tally(const char *name, const struct tally *tally, int64_t now)
{
	char age[32] = "-";

	if (tally->count > 0 && tally->oldest != INT64_MAX)
		(void)duration(now - tally->oldest, age, sizeof age);
	(void)printf("%-10s %8zu   %s\n", name, tally->count, age);
}

static void survey_print(const struct survey *survey, const char *path)
{
	char wait[32];

	(void)printf("spool %s\n\n%-10s %8s   %s\n", path, "state", "messages", "oldest");
	print_tally(state_name[WAITING], &survey->state[WAITING], survey->now);
	print_tally(state_name[IN_FLIGHT], &survey->state[IN_FLIGHT], survey->now);
	print_tally(state_name[DEFERRED], &survey->state[DEFERRED], survey->now);
	print_tally(state_name[FAILED], &survey->state[FAILED], survey->now);
	print_tally(state_name[SENT], &survey->state[SENT], survey->now);
	(void)printf("\n");
	print_tally("due now", &survey->due, survey->now);
	if (survey->next != INT64_MAX)
		(void)printf("next attempt in %s\n",
		    duration(survey->next - survey->now, wait, sizeof wait));
}

int status_show(const struct spool *spool, struct error *err)
{
	static const enum spool_dir dirs[] = {SPOOL_NEW, SPOOL_CUR, SPOOL_FAILED};
	struct survey survey = {.now = clock_now(), .next = INT64_MAX, .due.oldest = INT64_MAX};

	for (int state = 0; state < STATES; state++)
		survey.state[state].oldest = INT64_MAX;
	for (size_t i = 0; i < sizeof dirs / sizeof dirs[0]; i++) {
		survey.dir = dirs[i];
		if (spool_each(spool, spool->dir[dirs[i]], survey_one, &survey, err) == -1)
			return -1;
	}
	survey_print(&survey, spool->path);
	return 0;
}

static int collect(void *context, const char *name, unsigned char type)
{
	struct entry entry;

	(void)type;
	return !entry_parse(name, &entry) || queue_add(context, &entry) ? 0 : -1;
}

static void print_when(const struct entry *entry, enum state state, int64_t now)
{
	char wait[32];

	if (state != WAITING && state != DEFERRED)
		(void)printf("%-9s ", "-");
	else if (entry->not_before <= now)
		(void)printf("%-9s ", "now");
	else
		(void)printf("in %-6s ", duration(entry->not_before - now, wait, sizeof wait));
}

/* What a terminal would obey is not for it. */
static void print_clean(const char *text)
{
	size_t len = strlen(text);

	while (len > 0) {
		const size_t shown = utf8_printable_len(text, len);
		const size_t step = shown > 0 ? shown : 1;

		(void)fwrite(shown > 0 ? text : "?", 1, step, stdout);
		text += step;
		len -= step;
	}
}

static void print_envelope(const struct envelope *envelope)
{
	(void)printf("<");
	print_clean(envelope->sender);
	(void)printf("> ->");
	for (size_t i = 0; i < envelope->count; i++) {
		(void)printf(" <");
		print_clean(envelope->recipient[i].address);
		(void)printf(
		    ">%s", envelope->recipient[i].state == RECIPIENT_DONE ? " (sent)" : "");
	}
	(void)printf("\n");
}

static void list_one(
    struct message *message, const struct spool *spool, enum spool_dir dir, const char *name)
{
	const int64_t now = clock_now();
	struct envelope_fault fault;
	enum message_loaded opened;
	struct entry entry;
	enum state state;

	opened = message_open(message, spool->dir[dir], name, &fault);
	if (opened == MESSAGE_GONE || !entry_parse(name, &entry))
		return;
	state = state_of(&entry, dir, now);
	(void)printf("%-9s %2u ", state_name[state], entry.attempts);
	print_when(&entry, state, now);
	(void)printf("%-6s %.*s ", entry.status[0] != '\0' ? entry.status : "-",
	    (int)entry.unique_len, entry.name);
	if (opened == MESSAGE_LOADED)
		print_envelope(&message->envelope);
	else
		(void)printf("(%s)\n", fault.text);
}

static int list_dir(const struct spool *spool, enum spool_dir dir, struct error *err)
{
	struct queue queue = {0};
	struct message message;
	const char *name;
	int result;

	message_init(&message);
	result = spool_each(spool, spool->dir[dir], collect, &queue, err);
	while (result == 0 && (name = queue_next(&queue)) != NULL)
		list_one(&message, spool, dir, name);
	if (queue.truncated)
		(void)printf("… and more in %s/%s\n", spool->path, spool_dir_name(dir));
	message_free(&message);
	queue_free(&queue);
	return result;
}

int status_list(const struct spool *spool, bool sent, struct error *err)
{
	(void)printf(
	    "%-9s %2s %-9s %-6s %s\n", "state", "A", "next", "status", "id, sender, recipients");
	if (list_dir(spool, SPOOL_NEW, err) == -1 || list_dir(spool, SPOOL_FAILED, err) == -1)
		return -1;
	return sent ? list_dir(spool, SPOOL_CUR, err) : 0;
}
