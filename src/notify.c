#include "notify.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sysexits.h>
#include <unistd.h>

#include "clock.h"
#include "confvalue.h"
#include "digest.h"
#include "dsn.h"
#include "hash.h"
#include "message.h"
#include "origin.h"
#include "queue.h"
#include "skip.h"
#include "state.h"

#define RECORD	   "notify" /* in state/: H the hour's start, N how many mails it has had, U */
#define HOUR	   3600
#define TO_MAX	   (CONFIG_NOTIFY_MAX + 1)
#define COUNT_BITS 42 /* of the hash in a name: what the queue takes for a count */

struct notify {
	const struct config *config;
	struct spool *spool;
	struct log *log;
	struct trouble *trouble;
	int64_t since;
	struct queue queue; /* names with N, of both directories; the first of them */
	size_t outstanding; /* all of them */
	struct message message;
	char host[CONFVALUE_HOST_MAX + 1];
	char from[CONFVALUE_HOST_MAX + 16];
	const char *to[TO_MAX]; /* who is told of the message at hand */
	size_t to_count;
	size_t waiting; /* messages that are left to a later run */
};

enum told {
	TOLD,	    /* or nobody is to be told */
	TOLD_LATER, /* the limit of the hour is reached */
	TOLD_FAILED /* the spool fails; it is said */
};

/* ---- who tells ---- */

/* The name that the first relay is greeted with, or that of this host. */
static void set_host(struct notify *notify)
{
	const struct config *config = notify->config;
	const char *helo = config->relay_count > 0 ? config->relay[0].helo : NULL;

	if (helo != NULL && helo[0] != '[') {
		(void)snprintf(notify->host, sizeof notify->host, "%s", helo);
		return;
	}
	origin_host(notify->host);
	if (notify->host[0] == '[')
		(void)snprintf(notify->host, sizeof notify->host, "localhost");
}

static void set_names(struct notify *notify)
{
	const char *domain = notify->config->domain;

	set_host(notify);
	(void)snprintf(notify->from, sizeof notify->from, "MAILER-DAEMON@%s",
	    domain != NULL ? domain : notify->host);
}

static struct notice make_notice(const struct notify *notify, const char *key)
{
	const char *from = notify->config->notify.from;

	return (struct notice){.host = notify->host,
	    .from = from != NULL ? from : notify->from,
	    .to = notify->to,
	    .to_count = notify->to_count,
	    .key = key,
	    .date = clock_now()};
}

/* ---- who is told ---- */

static void add_to(struct notify *notify, const char *address)
{
	for (size_t i = 0; i < notify->to_count; i++)
		if (strcasecmp(notify->to[i], address) == 0)
			return;
	notify->to[notify->to_count++] = address;
}

static void add_configured(struct notify *notify)
{
	const struct config_notify *config = &notify->config->notify;

	for (size_t i = 0; i < config->address_count; i++)
		add_to(notify, config->address[i]);
}

static bool is_delay(const struct entry *entry)
{
	return entry_has_class(entry, '4');
}

/*
 * Sets who is told of the message at hand; false for nobody. Without a usable envelope, when LOADED
 * is MESSAGE_INVALID or MESSAGE_FOREIGN, it has no sender to tell.
 */
static bool set_addressees(struct notify *notify, enum message_loaded loaded)
{
	const struct envelope *envelope = &notify->message.envelope;

	notify->to_count = 0;
	if (loaded == MESSAGE_LOADED) {
		if (envelope->sender[0] == '\0' ||
		    dsn_count(envelope, is_delay(&notify->message.entry)) == 0)
			return false;
		if (notify->config->notify.sender)
			add_to(notify, envelope->sender);
	}
	add_configured(notify);
	return notify->to_count > 0;
}

/* ---- the limits ---- */

struct grant {
	int64_t hour;
	int64_t most;
	bool granted;
};

static void take_one(struct state *state, void *context)
{
	struct grant *grant = context;
	int64_t *used = state_value(state, 'N');

	if (*state_value(state, 'H') != grant->hour) {
		*state_value(state, 'H') = grant->hour;
		*used = 0;
	}
	grant->granted = *used < grant->most;
	*used += grant->granted;
}

static int64_t this_hour(void)
{
	const int64_t now = clock_now();

	return now - now % HOUR;
}

/*
 * Counts one more mail of this hour, before it is written: a crash may then waste one of them, and
 * not make one too many.
 */
static enum told take_grant(const struct notify *notify)
{
	struct grant grant = {.hour = this_hour(), .most = notify->config->notify.per_hour};

	if (state_update(notify->spool, RECORD, take_one, &grant, &notify->trouble->err) == -1) {
		trouble_note(notify->trouble);
		return TOLD_FAILED;
	}
	return grant.granted ? TOLD : TOLD_LATER;
}

/* How many mails this run may write. 0, or -1 with all said. */
static int find_limit(const struct notify *notify, size_t *limit)
{
	const struct config_notify *config = &notify->config->notify;
	struct state state;
	int64_t used;

	if (state_load(notify->spool, RECORD, &state, &notify->trouble->err) == -1) {
		trouble_note(notify->trouble);
		return -1;
	}
	used = *state_value(&state, 'H') == this_hour() ? *state_value(&state, 'N') : 0;
	*limit = used < config->per_hour ? config->per_hour - (size_t)used : 0;
	if (*limit > config->per_run)
		*limit = config->per_run;
	return 0;
}

/* ---- a mail ---- */

/* Writes the mail WHAT to OUT. 0, or -1 with errno. */
typedef int writer(FILE *out, const void *what);

static int write_draft(const struct spool_draft *draft, writer *write, const void *what)
{
	/* The draft's own descriptor is needed for its fsync. */
	const int fd = fcntl(draft->fd, F_DUPFD_CLOEXEC, 0);
	FILE *out = fd == -1 ? NULL : fdopen(fd, "w");
	bool well;

	if (out == NULL) {
		if (fd != -1)
			(void)close(fd);
		return -1;
	}
	well = write(out, what) == 0 && ferror(out) == 0;
	return fclose(out) == 0 && well ? 0 : -1;
}

/* Puts the mail WHAT into new/ as TARGET; durable on return. 0, or -1 with all said. */
static int put_mail(
    const struct notify *notify, const char *target, writer *write, const void *what)
{
	struct spool *spool = notify->spool;
	struct error *err = &notify->trouble->err;
	struct spool_draft draft;
	int result = spool_draft_open(spool, &draft, err);

	if (result == 0) {
		(void)snprintf(draft.target, sizeof draft.target, "%s", target);
		result = write_draft(&draft, write, what);
		if (result == 0) {
			result = spool_draft_commit(spool, &draft, err);
		} else {
			error_set_errno(err, "can't write %s/tmp/%s", spool->path, draft.name);
			spool_draft_abandon(spool, &draft);
		}
	}
	if (result == -1)
		trouble_note(notify->trouble);
	return result;
}

static enum spool_dir dir_of(const struct entry *entry)
{
	return is_delay(entry) ? SPOOL_NEW : SPOOL_FAILED;
}

/* Somebody has been told of ENTRY, or nobody is to be. */
static enum told drop(const struct notify *notify, const struct entry *entry)
{
	char to[ENTRY_NAME_MAX + 1];

	if (spool_told(notify->spool, dir_of(entry), entry, to, &notify->trouble->err) !=
	    SPOOL_ERROR)
		return TOLD;
	trouble_note(notify->trouble);
	return TOLD_FAILED;
}

static void log_told(const struct notify *notify, const char *id)
{
	char to[TO_MAX * (NOTICE_ADDRESS_MAX + 1)];
	size_t len = 0;

	for (size_t i = 0; i < notify->to_count; i++)
		len += (size_t)snprintf(to + len, sizeof to - len, "%s%.*s", i > 0 ? "," : "",
		    NOTICE_ADDRESS_MAX, notify->to[i]);
	log_begin(notify->log, LOG_LEVEL_INFO, "notified");
	log_text(notify->log, "id", id);
	log_text(notify->log, "to", to);
}

/* ---- one message ---- */

/* Opens NAME, of one of the two directories, as the message at hand. */
static enum message_loaded open_name(
    struct notify *notify, const char *name, struct envelope_fault *fault)
{
	struct entry entry;
	enum message_loaded loaded;

	fault->text = "";
	/* It was one when it was put into the queue. */
	if (!entry_parse(name, &entry))
		return MESSAGE_GONE;
	loaded = message_open(&notify->message, notify->spool->dir[dir_of(&entry)], name, fault);
	message_close(&notify->message);
	if (loaded == MESSAGE_ERROR)
		trouble_fault(notify->trouble, notify->message.name, fault->text);
	return loaded;
}

/* The UNIQUE of the notification about ENTRY: whoever makes it gives it the same. */
static void name_mail(const struct entry *entry, char unique[ENTRY_NAME_MAX + 1])
{
	const uint64_t hash = hash_bytes(0, entry->name, entry->unique_len);

	(void)snprintf(unique, ENTRY_NAME_MAX + 1, "%" PRId64 ".M000000P%" PRIu64 "Q%" PRIu64 ".%s",
	    entry->notify, hash >> COUNT_BITS, hash & ((UINT64_C(1) << COUNT_BITS) - 1),
	    is_delay(entry) ? "delay" : "failure");
}

/*
 * Whether the mail UNIQUE about ENTRY is there, and only the rename is missing that says so. What
 * this run itself has decided can't have been told, unless others work beside it. 1, 0 or -1.
 */
static int has_mail(const struct notify *notify, const struct entry *entry, const char *unique)
{
	int found;

	if (!notify->config->shared_spool && entry->notify > notify->since &&
	    entry->notify <= clock_now())
		return 0;
	found = spool_has_unique(notify->spool, unique, &notify->trouble->err);
	if (found == -1)
		trouble_note(notify->trouble);
	return found;
}

static int write_report(FILE *out, const void *what)
{
	return dsn_write(out, what);
}

/* Reports on the message at hand, which has an envelope. */
static int put_report(struct notify *notify, const char *target)
{
	const struct message *message = &notify->message;
	const struct entry *entry = &message->entry;
	const int64_t last = retry_last(&notify->config->retry, entry->attempts, entry->not_before);
	char id[ENTRY_NAME_MAX + 1];
	struct dsn dsn = {.notice = make_notice(notify, target),
	    .delayed = is_delay(entry),
	    .id = id,
	    .envelope = &message->envelope,
	    .status = entry->status,
	    .attempts = entry->attempts,
	    .arrival = entry_birth(entry),
	    .last = entry->notify,
	    .until = entry->expires > 0 && entry->expires < last ? entry->expires : last,
	    .header = message->buf + message->buf_pos};

	dsn.header_len = envelope_head_len(dsn.header, message->buf_len - message->buf_pos);
	if (dsn.header_len == 0)
		dsn.header_len = message->buf_len - message->buf_pos;
	(void)snprintf(id, sizeof id, "%.*s", (int)entry->unique_len, entry->name);
	return put_mail(notify, target, write_report, &dsn);
}

struct digest_mail {
	const struct digest *digest;
	const struct notice *notice;
	const char *list;
};

static int write_digest(FILE *out, const void *what)
{
	const struct digest_mail *mail = what;

	return digest_write(out, mail->digest, mail->notice, mail->list);
}

static int put_digest(
    struct notify *notify, const struct digest *digest, const char *list, const char *target)
{
	const struct notice notice = make_notice(notify, target);
	const struct digest_mail mail = {.digest = digest, .notice = &notice, .list = list};

	return put_mail(notify, target, write_digest, &mail);
}

/* Ends what open_memstream has begun, or not. 0, or -1 with all said. */
static int close_list(const struct notify *notify, FILE *memory)
{
	if (memory != NULL && fclose(memory) == 0)
		return 0;
	error_set(&notify->trouble->err, EX_OSERR, "out of memory for a digest");
	trouble_note(notify->trouble);
	return -1;
}

/*
 * Tells of the message at hand that it has no usable envelope, because WHY: in plain text, as there
 * is no recipient to give the status of.
 */
static int put_note(struct notify *notify, const char *why, const char *target)
{
	struct digest digest = {0};
	char *list = NULL;
	size_t len = 0;
	FILE *memory = open_memstream(&list, &len);
	int result;

	(void)digest_add(&digest, notify->message.entry.status);
	if (memory != NULL)
		digest_list(memory, &notify->message.entry, NULL, why);
	result = close_list(notify, memory);
	if (result == 0)
		result = put_digest(notify, &digest, list, target);
	free(list);
	return result;
}

static void log_one(const struct notify *notify, const char *target)
{
	const struct entry *entry = &notify->message.entry;

	log_told(notify, target);
	log_text_n(notify->log, "of", entry->name, entry->unique_len);
	log_end(notify->log);
}

/* Tells of the message at hand, as it was LOADED, and drops its N. */
static enum told tell(struct notify *notify, enum message_loaded loaded, const char *why)
{
	const struct entry *entry = &notify->message.entry;
	char target[ENTRY_NAME_MAX + 1];
	enum told granted;
	int result;

	name_mail(entry, target);
	result = has_mail(notify, entry, target);
	if (result != 0)
		return result == 1 ? drop(notify, entry) : TOLD_FAILED;
	granted = take_grant(notify);
	if (granted != TOLD)
		return granted;
	result =
	    loaded == MESSAGE_LOADED ? put_report(notify, target) : put_note(notify, why, target);
	if (result == -1)
		return TOLD_FAILED;
	log_one(notify, target);
	return drop(notify, entry);
}

static enum told tell_name(struct notify *notify, const char *name)
{
	struct envelope_fault fault;
	const enum message_loaded loaded = open_name(notify, name, &fault);

	if (loaded == MESSAGE_GONE || loaded == MESSAGE_ERROR)
		return TOLD;
	if (!set_addressees(notify, loaded))
		return drop(notify, &notify->message.entry);
	return tell(notify, loaded, fault.text);
}

static void tell_each(struct notify *notify)
{
	for (size_t i = 0; i < notify->queue.count; i++) {
		switch (tell_name(notify, queue_at(&notify->queue, i))) {
		case TOLD:
			break;
		case TOLD_LATER:
			notify->waiting++;
			break;
		case TOLD_FAILED:
			return;
		}
	}
}

/* ---- more than the limits allow ---- */

#define NO_GROUP   UINT16_MAX	    /* nothing is to be told of it any more */
#define LATE_GROUP (UINT16_MAX - 1) /* it waits for a later run */

/* Messages that one digest tells of. */
struct group {
	const char *sender; /* whom it tells; NULL: the configured addresses */
	size_t messages;
};

struct flood {
	struct notify *notify;
	size_t limit; /* of groups */
	struct group *group;
	size_t groups;
	uint16_t *of; /* the group of each message, in the queue's order */
	struct arena arena;
};

/* The group of SENDER's messages; LATE_GROUP when there may be no more groups. */
static uint16_t find_group(struct flood *flood, const char *sender)
{
	const bool alone = flood->notify->config->notify.address_count > 0;
	struct group *group = flood->group;

	for (size_t i = 0; i < flood->groups; i++)
		if (alone || strcmp(group[i].sender, sender) == 0)
			return (uint16_t)i;
	if (flood->groups == flood->limit)
		return LATE_GROUP;
	if (!alone) {
		sender = arena_copy(&flood->arena, sender, strlen(sender));
		if (sender == NULL)
			return LATE_GROUP;
		group[flood->groups].sender = sender;
	}
	return (uint16_t)flood->groups++;
}

/* Puts message I into its group. */
static enum told sort_in(struct flood *flood, size_t i)
{
	struct notify *notify = flood->notify;
	struct envelope_fault fault;
	const enum message_loaded loaded = open_name(notify, queue_at(&notify->queue, i), &fault);

	flood->of[i] = NO_GROUP;
	if (loaded == MESSAGE_GONE || loaded == MESSAGE_ERROR)
		return TOLD;
	if (!set_addressees(notify, loaded))
		return drop(notify, &notify->message.entry);
	flood->of[i] = find_group(flood, notify->message.envelope.sender);
	if (flood->of[i] == LATE_GROUP)
		notify->waiting++;
	else
		flood->group[flood->of[i]].messages++;
	return TOLD;
}

/* The next message of GROUP from I on; the number of them all when there is none. */
static size_t next_of(const struct flood *flood, uint16_t group, size_t i)
{
	while (i < flood->notify->queue.count && flood->of[i] != group)
		i++;
	return i;
}

/* Counts the messages of GROUP, and writes about the first of them to LIST. */
static void collect_group(struct flood *flood, uint16_t group, struct digest *digest, FILE *list)
{
	struct notify *notify = flood->notify;
	struct envelope_fault fault;
	struct entry entry;

	for (size_t i = next_of(flood, group, 0); i < notify->queue.count;
	     i = next_of(flood, group, i + 1)) {
		const char *name = queue_at(&notify->queue, i);
		enum message_loaded loaded;

		if (!entry_parse(name, &entry) || !digest_add(digest, entry.status))
			continue;
		loaded = open_name(notify, name, &fault);
		digest_list(list, &notify->message.entry,
		    loaded == MESSAGE_LOADED ? &notify->message.envelope : NULL, fault.text);
	}
}

/* Its N goes from each message of GROUP. */
static enum told drop_group(struct flood *flood, uint16_t group)
{
	struct queue *queue = &flood->notify->queue;
	struct entry entry;

	for (size_t i = next_of(flood, group, 0); i < queue->count;
	     i = next_of(flood, group, i + 1))
		if (entry_parse(queue_at(queue, i), &entry) &&
		    drop(flood->notify, &entry) == TOLD_FAILED)
			return TOLD_FAILED;
	return TOLD;
}

/* Writes the digest about GROUP, to those who are told of it, as TARGET. */
static int put_group(struct flood *flood, uint16_t group, struct digest *digest, const char *target)
{
	struct notify *notify = flood->notify;
	char *list = NULL;
	size_t len = 0;
	FILE *memory = open_memstream(&list, &len);
	int result;

	if (memory != NULL)
		collect_group(flood, group, digest, memory);
	result = close_list(notify, memory);
	notify->to_count = 0;
	if (flood->group[group].sender != NULL)
		add_to(notify, flood->group[group].sender);
	else
		add_configured(notify);
	if (result == 0)
		result = put_digest(notify, digest, list, target);
	free(list);
	return result;
}

static enum told tell_digest(struct flood *flood, uint16_t group)
{
	const struct notify *notify = flood->notify;
	const int64_t now_us = clock_now_us();
	struct digest digest = {0};
	char target[ENTRY_NAME_MAX + 1];

	(void)snprintf(target, sizeof target, "%" PRId64 ".M%06" PRId64 "P%ldQ%u.digest",
	    now_us / 1000000, now_us % 1000000, (long)notify->spool->pid, group + 1u);
	if (put_group(flood, group, &digest, target) == -1)
		return TOLD_FAILED;
	log_told(notify, target);
	log_number(notify->log, "messages", (int64_t)digest.messages);
	log_end(notify->log);
	return drop_group(flood, group);
}

static enum told tell_group(struct flood *flood, uint16_t group)
{
	struct notify *notify = flood->notify;
	const char *sender = flood->group[group].sender;
	enum told granted;

	/* The only one of its sender: a report says more than a digest. */
	if (sender != NULL && flood->group[group].messages == 1)
		return tell_name(notify, queue_at(&notify->queue, next_of(flood, group, 0)));
	granted = take_grant(notify);
	return granted == TOLD ? tell_digest(flood, group) : granted;
}

static void tell_groups(struct flood *flood)
{
	for (size_t i = 0; i < flood->notify->queue.count; i++)
		if (sort_in(flood, i) == TOLD_FAILED)
			return;
	for (size_t group = 0; group < flood->groups; group++) {
		switch (tell_group(flood, (uint16_t)group)) {
		case TOLD:
			break;
		case TOLD_LATER:
			flood->notify->waiting += flood->group[group].messages;
			break;
		case TOLD_FAILED:
			return;
		}
	}
}

static void tell_flood(struct notify *notify, size_t limit)
{
	struct flood flood = {.notify = notify,
	    .limit = limit,
	    .group = calloc(limit, sizeof *flood.group),
	    .of = calloc(notify->queue.count, sizeof *flood.of)};

	if (flood.group != NULL && flood.of != NULL) {
		tell_groups(&flood);
	} else {
		error_set(&notify->trouble->err, EX_OSERR, "out of memory for a digest");
		trouble_note(notify->trouble);
	}
	free(flood.group);
	free(flood.of);
	arena_free(&flood.arena);
}

/* ---- of several runs one at a time ---- */

#define TURN 600 /* seconds; much longer than the telling takes, as a crash keeps the turn */

struct turn {
	int64_t now;
	int64_t until; /* U in the record */
	bool taken;
};

static void take_turn(struct state *state, void *context)
{
	struct turn *turn = context;
	int64_t *until = state_value(state, 'U');

	/* One that ends far ahead was taken under a wrong clock. */
	turn->taken = *until <= turn->now || *until > turn->now + 2 * (int64_t)TURN;
	if (turn->taken)
		*until = turn->until;
}

static void end_turn(struct state *state, void *context)
{
	const struct turn *turn = context;
	int64_t *until = state_value(state, 'U');

	if (*until == turn->until)
		*until = 0;
}

static bool change_turn(const struct notify *notify, state_change *change, struct turn *turn)
{
	if (state_update(notify->spool, RECORD, change, turn, &notify->trouble->err) == 0)
		return true;
	trouble_note(notify->trouble);
	return false;
}

/* ---- all of them ---- */

struct collection {
	struct notify *notify;
	char class; /* of the status that such a message has in this directory */
};

static int collect(void *context, const char *name, unsigned char type)
{
	const struct collection *collection = context;
	struct notify *notify = collection->notify;
	struct entry entry;

	/* What is claimed is decided anew; what a person has moved elsewhere begins anew. */
	if ((type != DT_REG && type != DT_UNKNOWN) || !entry_parse(name, &entry) ||
	    entry.notify == 0 || entry.claim != NULL ||
	    !entry_has_class(&entry, collection->class) || skip_has(&notify->trouble->skip, name))
		return 0;
	notify->outstanding++;
	if (queue_add(&notify->queue, &entry))
		return 0;
	error_set(&notify->trouble->err, EX_OSERR, "out of memory for the names to be told of");
	return -1;
}

static int collect_all(struct notify *notify)
{
	struct spool *spool = notify->spool;
	struct error *err = &notify->trouble->err;
	struct collection failed = {.notify = notify, .class = '5'};
	struct collection late = {.notify = notify, .class = '4'};

	if (spool_each(spool, spool->dir[SPOOL_FAILED], collect, &failed, err) == 0 &&
	    spool_each(spool, spool->dir[SPOOL_NEW], collect, &late, err) == 0)
		return 0;
	trouble_note(notify->trouble);
	return -1;
}

static void log_waiting(const struct notify *notify)
{
	const size_t waiting = notify->waiting + notify->outstanding - notify->queue.count;

	if (waiting == 0)
		return;
	log_begin(notify->log, LOG_LEVEL_NOTICE, "notify-waiting");
	log_number(notify->log, "messages", (int64_t)waiting);
	log_text(notify->log, "text", "a later run tells of these: this one has reached a limit");
	log_end(notify->log);
}

static void tell_all(struct notify *notify)
{
	size_t limit;

	if (find_limit(notify, &limit) == -1)
		return;
	if (notify->queue.count <= limit)
		tell_each(notify);
	else if (limit > 0)
		tell_flood(notify, limit);
	else
		notify->waiting = notify->queue.count;
	log_waiting(notify);
}

static bool has_some(struct notify *notify)
{
	queue_clear(&notify->queue);
	notify->outstanding = 0;
	return collect_all(notify) == 0 && notify->queue.count > 0;
}

/*
 * Runs beside this one would tell of the same in digests of their own. The names are read again:
 * whoever had the turn may have told of them.
 */
static void tell_in_turn(struct notify *notify)
{
	const int64_t now = clock_now();
	struct turn turn = {.now = now, .until = now + TURN};

	if (!change_turn(notify, take_turn, &turn) || !turn.taken)
		return;
	if (has_some(notify))
		tell_all(notify);
	(void)change_turn(notify, end_turn, &turn);
}

void notify_all(const struct config *config, struct spool *spool, struct log *log,
    struct trouble *trouble, int64_t since)
{
	struct notify notify = {
	    .config = config, .spool = spool, .log = log, .trouble = trouble, .since = since};

	if (!config_tells(config))
		return;
	message_init(&notify.message);
	set_names(&notify);
	if (has_some(&notify)) {
		if (config->shared_spool)
			tell_in_turn(&notify);
		else
			tell_all(&notify);
	}
	message_free(&notify.message);
	queue_free(&notify.queue);
}
