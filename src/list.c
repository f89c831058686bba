#include "list.h"

#include <stdio.h>

#include "clock.h"
#include "message.h"
#include "plain.h"
#include "queue.h"
#include "survey.h"

static int collect(void *context, const char *name, unsigned char type)
{
	struct entry entry;

	(void)type;
	return !entry_parse(name, &entry) || queue_add(context, &entry) ? 0 : -1;
}

static void print_when(const struct entry *entry, enum survey_state state, int64_t now)
{
	char wait[PLAIN_DURATION_MAX];

	if (state != SURVEY_WAITING && state != SURVEY_DEFERRED)
		(void)printf("%-9s ", "-");
	else if (entry->not_before <= now)
		(void)printf("%-9s ", "now");
	else
		(void)printf("in %-6s ", plain_duration(entry->not_before - now, wait));
}

static void print_envelope(const struct envelope *envelope)
{
	(void)printf("<");
	plain_text(stdout, envelope->sender);
	(void)printf("> ->");
	for (size_t i = 0; i < envelope->count; i++) {
		(void)printf(" <");
		plain_text(stdout, envelope->recipient[i].address);
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
	enum survey_state state;

	opened = message_open(message, spool->dir[dir], name, &fault);
	if (opened == MESSAGE_GONE || !entry_parse(name, &entry))
		return;
	state = survey_state_of(&entry, dir, now);
	(void)printf("%-9s %2u ", survey_state_name(state), entry.attempts);
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

int list_show(const struct spool *spool, bool sent, struct error *err)
{
	(void)printf(
	    "%-9s %2s %-9s %-6s %s\n", "state", "A", "next", "status", "id, sender, recipients");
	if (list_dir(spool, SPOOL_NEW, err) == -1 || list_dir(spool, SPOOL_FAILED, err) == -1)
		return -1;
	return sent ? list_dir(spool, SPOOL_CUR, err) : 0;
}
