#include "dry.h"

#include <stdio.h>
#include <sysexits.h>

#include "clock.h"
#include "message.h"
#include "queue.h"
#include "scan.h"

struct collection {
	struct queue queue;
	const struct retry *retry;
	int64_t now;
	struct error *err;
};

static int collect(void *context, const char *name, unsigned char type)
{
	struct collection *collection = context;
	struct entry entry;

	if (scan_foreign(name, type) != NULL || !entry_parse(name, &entry))
		return 0;
	if (entry_has_class(&entry, '2') || scan_has_expired(&entry) ||
	    !scan_is_due(collection->retry, &entry, collection->now))
		return 0;
	if (queue_add(&collection->queue, &entry))
		return 0;
	error_set(collection->err, EX_OSERR, "out of memory for the names of new/");
	return -1;
}

static void say(const struct spool *spool, struct message *message, const char *name)
{
	struct envelope_fault fault;
	const struct envelope *envelope = &message->envelope;

	switch (message_load(message, spool->dir[SPOOL_NEW], name, &fault)) {
	case MESSAGE_GONE:
		return;
	case MESSAGE_LOADED:
		break;
	case MESSAGE_INVALID:
		(void)printf("would fail   %s: %s\n", name, fault.text);
		return;
	case MESSAGE_FOREIGN:
	case MESSAGE_ERROR:
		(void)printf("would ignore %s: %s\n", name, fault.text);
		return;
	}
	/* Whose address is refused may hold what a terminal would obey. */
	envelope_refuse_faulty(&message->envelope);
	(void)printf("would send   %s from <%s> to", name, envelope->sender);
	for (size_t i = 0; i < envelope->count; i++) {
		const struct recipient *recipient = &envelope->recipient[i];

		if (recipient->state == RECIPIENT_TODO)
			(void)printf(" <%s>", recipient->address);
		else if (recipient->tried)
			(void)printf(" (not: %s)", recipient->reply);
	}
	(void)printf("\n");
}

int dry_run(const struct spool *spool, const struct retry *retry, struct error *err)
{
	struct collection collection = {.retry = retry, .now = clock_now(), .err = err};
	struct message message;
	const char *name;
	const int result = spool_each(spool, spool->dir[SPOOL_NEW], collect, &collection, err);

	message_init(&message);
	while (result == 0 && (name = queue_next(&collection.queue)) != NULL)
		say(spool, &message, name);
	if (collection.queue.truncated)
		(void)printf("… and more\n");
	message_free(&message);
	queue_free(&collection.queue);
	return result;
}
