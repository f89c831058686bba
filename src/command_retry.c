#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sysexits.h>

#include "clock.h"
#include "command.h"
#include "dump.h"
#include "filter.h"
#include "find.h"
#include "message.h"
#include "plain.h"
#include "record.h"
#include "survey.h"

#define RECIPIENTS_SHOWN 3
#define TRIES_MAX	 5 /* to catch up with messages that others are moving */

struct retrying {
	struct call_spool opened;
	struct filter filter;
	bool all; /* or those that the filter means; else by their ids */
	bool dry;
	bool by_id; /* what is in hand was named by its id */
	int64_t now;
	enum spool_dir dir; /* where it stands */
	bool again;	    /* that is read once more: what is left alone is said already */
	size_t gone;	    /* messages of it that others have moved in the meantime */
	struct message message;
	size_t requeued;
	size_t made_due;
	size_t left;
	int status;
	struct error err;
};

/* ---- what is said ---- */

/* The first trouble makes the exit status. */
static void complain(struct retrying *retrying)
{
	const int status = call_complain(&retrying->err);

	if (retrying->status == EX_OK)
		retrying->status = status;
}

/* Of a message that was named: why it can't be retried. */
static void refuse(struct retrying *retrying, const struct entry *entry, const char *why)
{
	error_set(&retrying->err, EX_DATAERR, "%s %s", entry->name, why);
	complain(retrying);
}

static const char *state_name(const struct retrying *retrying, const struct entry *entry)
{
	return survey_state_name(retrying->dir == SPOOL_NEW && entry->claim != NULL
				     ? SURVEY_IN_FLIGHT
				     : survey_state_of(entry, retrying->dir, retrying->now));
}

/* "ID failed 5.1.1" */
static void print_message(const struct retrying *retrying, const struct entry *entry)
{
	plain_text_n(stdout, entry->name, entry->unique_len);
	(void)printf(" %s%s%s", state_name(retrying, entry), entry->status[0] != '\0' ? " " : "",
	    entry->status);
}

static void leave(struct retrying *retrying, const struct entry *entry, const char *why)
{
	if (retrying->again)
		return;
	retrying->left++;
	print_message(retrying, entry);
	(void)printf(", left alone: %s\n", why);
}

/* Those who do not have the message. */
static void print_recipients(const struct envelope *envelope)
{
	size_t count = 0;

	(void)printf(" ->");
	for (size_t i = 0; i < envelope->count; i++) {
		if (envelope->recipient[i].state == RECIPIENT_DONE || count++ >= RECIPIENTS_SHOWN)
			continue;
		(void)printf(" <");
		plain_text(stdout, envelope->recipient[i].address);
		(void)printf(">");
	}
	if (count > RECIPIENTS_SHOWN)
		(void)printf(" and %zu more", count - RECIPIENTS_SHOWN);
	(void)printf("\n");
}

static void print_counts(const struct retrying *retrying)
{
	(void)printf("%s%zu queued again, %zu made due, %zu left alone\n",
	    retrying->dry ? "dry run, nothing is changed: " : "", retrying->requeued,
	    retrying->made_due, retrying->left);
}

/* ---- one message ---- */

static enum spool_moved move(struct retrying *retrying, const struct entry *entry)
{
	char to[ENTRY_NAME_MAX + 1];

	if (retrying->dry)
		return SPOOL_MOVED;
	return retrying->dir == SPOOL_FAILED
		   ? spool_requeue(&retrying->opened.spool, entry, to, &retrying->err)
		   : spool_make_due(&retrying->opened.spool, entry, to, &retrying->err);
}

static void say_moved(struct retrying *retrying, const struct entry *entry, const char *fault)
{
	if (retrying->dir == SPOOL_FAILED)
		retrying->requeued++;
	else
		retrying->made_due++;
	print_message(retrying, entry);
	if (fault == NULL)
		print_recipients(&retrying->message.envelope);
	else
		(void)printf(" (%s)\n", fault);
}

/* FAULT is what makes the file no message, or NULL. */
static enum spool_moved retry_one(
    struct retrying *retrying, const struct entry *entry, const char *fault)
{
	const enum spool_moved moved = move(retrying, entry);

	if (moved == SPOOL_MOVED)
		say_moved(retrying, entry, fault);
	else if (moved == SPOOL_TOO_LONG)
		leave(retrying, entry, "its name has no room for another field");
	else if (moved == SPOOL_ERROR)
		complain(retrying);
	return moved;
}

static bool is_dump(const struct entry *entry)
{
	uint64_t offset;

	return dump_name_parse(entry->name, &offset) != DUMP_NAME_OTHER;
}

/* What a run has failed with 5.6.0 before it has tried it: it may be a part of a damaged dump. */
static bool is_unfit(const struct retrying *retrying, const struct entry *entry)
{
	return retrying->dir == SPOOL_FAILED && entry->attempts == 0 &&
	       strcmp(entry->status, "5.6.0") == 0;
}

/*
 * Of those whom its file still has as to be served some have it: that could not be recorded. What
 * the relay has refused with this status is recorded in the file.
 */
static bool is_served(const struct retrying *retrying, const struct entry *entry)
{
	return retrying->dir == SPOOL_FAILED && strcmp(entry->status, RECORD_UNRECORDED) == 0 &&
	       envelope_count(&retrying->message.envelope, RECIPIENT_TODO) > 0;
}

static const char LOOK_FIRST[] =
    "it was not fit to be sent; look at it, and name it by its id to send it";

static const char SERVED[] =
    "some have it already: look in the log who, take them out, and name it by its id to send it";

/* A file that was opened. FAULT says why it is no message; NULL: it is one. */
static enum spool_moved retry_opened(struct retrying *retrying, const struct entry *entry,
    enum message_loaded opened, const char *fault)
{
	if (opened == MESSAGE_ERROR) {
		error_set(&retrying->err, EX_IOERR, "can't read %s/%s/%s: %s",
		    retrying->opened.spool.path, spool_dir_name(retrying->dir), entry->name, fault);
		complain(retrying);
	} else if (opened == MESSAGE_FOREIGN && retrying->by_id) {
		error_set(&retrying->err, EX_DATAERR, "%s is left alone: %s", entry->name, fault);
		complain(retrying);
	} else if (fault != NULL && !retrying->by_id) {
		leave(retrying, entry, fault);
	} else if (entry->claim != NULL && retrying->dir == SPOOL_NEW) {
		leave(retrying, entry, "a run has it in its hands");
	} else if (is_unfit(retrying, entry) && !retrying->by_id) {
		leave(retrying, entry, LOOK_FIRST);
	} else if (is_served(retrying, entry) && !retrying->by_id) {
		leave(retrying, entry, SERVED);
	} else {
		return retry_one(retrying, entry, fault);
	}
	return SPOOL_MOVED;
}

static enum spool_moved retry_entry(struct retrying *retrying, const struct entry *entry)
{
	struct envelope_fault fault;
	const enum message_loaded opened = message_open(
	    &retrying->message, retrying->opened.spool.dir[retrying->dir], entry->name, &fault);
	const bool meant =
	    opened == MESSAGE_LOADED
		? filter_matches_envelope(&retrying->filter, &retrying->message.envelope)
		: opened == MESSAGE_ERROR || !filter_asks_envelope(&retrying->filter);
	enum spool_moved moved = SPOOL_MOVED;

	if (opened == MESSAGE_GONE)
		return SPOOL_GONE;
	if (meant)
		moved = retry_opened(
		    retrying, entry, opened, opened == MESSAGE_LOADED ? NULL : fault.text);
	message_close(&retrying->message);
	return moved;
}

/* ---- those that a filter means ---- */

/* In new/, only what was tried before or held and waits, or is being tried again. */
static bool is_put_off(const struct entry *entry, int64_t now)
{
	if (entry_has_class(entry, '2'))
		return false;
	if (entry->claim != NULL)
		return entry->attempts > 1;
	return (entry->attempts > 0 || entry_has_class(entry, '4')) && entry->not_before > now;
}

/* From when ENTRY's message is: by its name, or else by its file; -1 when that is gone. */
static int64_t since(const struct retrying *retrying, const struct entry *entry)
{
	const int64_t birth = entry_birth(entry);
	struct stat st;

	if (birth != -1)
		return birth;
	return fstatat(retrying->opened.spool.dir[retrying->dir], entry->name, &st,
		   AT_SYMLINK_NOFOLLOW) == 0
		   ? (int64_t)st.st_mtim.tv_sec
		   : -1;
}

static bool is_meant(const struct retrying *retrying, const struct entry *entry)
{
	const struct filter *filter = &retrying->filter;
	int64_t from;

	if (retrying->dir == SPOOL_NEW && !is_put_off(entry, retrying->now))
		return false;
	if (!filter_matches_entry(filter, entry, retrying->dir == SPOOL_FAILED))
		return false;
	if (!filter_asks_age(filter))
		return true;
	from = since(retrying, entry);
	return from != -1 && filter_matches_age(filter, from, retrying->now);
}

/* Ends the walk where going on makes no sense. */
static int visit(void *context, const char *name, unsigned char type)
{
	struct retrying *retrying = context;
	struct entry entry;
	enum spool_moved moved = SPOOL_MOVED;

	if (type == DT_DIR || !entry_parse(name, &entry) || !is_meant(retrying, &entry))
		return 0;
	if (retrying->dir != SPOOL_FAILED || !is_dump(&entry))
		moved = retry_entry(retrying, &entry);
	else if (!filter_asks_envelope(&retrying->filter))
		leave(retrying, &entry, "a dump of Django; see maildrain-spool(5)");
	if (moved == SPOOL_GONE)
		retrying->gone++;
	return moved == SPOOL_ERROR && retrying->err.status != EX_NOPERM;
}

/* A message may only have got another name there: while some are gone it is read again. */
static void retry_dir(struct retrying *retrying, enum spool_dir dir)
{
	const struct spool *spool = &retrying->opened.spool;
	int result = 0;

	retrying->dir = dir;
	for (int tries = 0; tries < TRIES_MAX && result == 0; tries++) {
		retrying->again = tries > 0;
		retrying->gone = 0;
		result = spool_each(spool, spool->dir[dir], visit, retrying, &retrying->err);
		if (retrying->gone == 0)
			break;
	}
	if (result == -1)
		complain(retrying);
}

/* ---- those that are named ---- */

static enum spool_moved retry_found(struct retrying *retrying, const struct entry *entry)
{
	if (retrying->dir == SPOOL_CUR || entry_has_class(entry, '2')) {
		refuse(retrying, entry, "is sent; to send it once more see maildrain-spool(5)");
		return SPOOL_MOVED;
	}
	if (retrying->dir == SPOOL_FAILED && is_dump(entry)) {
		refuse(retrying, entry,
		    "is a dump of Django: move it back into the spool itself, with its O= and "
		    "without E=; see maildrain-spool(5)");
		return SPOOL_MOVED;
	}
	if (retrying->dir == SPOOL_NEW && entry->claim == NULL &&
	    entry->not_before <= retrying->now) {
		leave(retrying, entry, "it is due");
		return SPOOL_MOVED;
	}
	return retry_entry(retrying, entry);
}

static void retry_id(struct retrying *retrying, const char *id)
{
	struct found found;
	struct entry entry;

	for (int tries = 0; tries < TRIES_MAX; tries++) {
		if (find_message(&retrying->opened.spool, id, &found, &retrying->err) == -1) {
			complain(retrying);
			return;
		}
		retrying->dir = found.dir;
		if (entry_parse(found.name, &entry) && retry_found(retrying, &entry) != SPOOL_GONE)
			return;
	}
	error_set(&retrying->err, EX_DATAERR, "others keep moving %s; try again", id);
	complain(retrying);
}

/* ---- the call ---- */

static void retry_all(struct retrying *retrying)
{
	/* In this order: what comes from failed/ is not met again. */
	retry_dir(retrying, SPOOL_NEW);
	if (retrying->status == EX_OK || retrying->status == EX_NOPERM)
		retry_dir(retrying, SPOOL_FAILED);
}

static int retry(const struct call *call, struct retrying *retrying)
{
	const int status = call_open_owned(call, retrying->dry, &retrying->opened);

	if (status != EX_OK)
		return status;
	/* A reader of the output that leaves must not end the work half-way. */
	(void)signal(SIGPIPE, SIG_IGN);
	retrying->now = clock_now();
	retrying->by_id = call->argc > 0;
	message_init(&retrying->message);
	for (int i = 0; i < call->argc; i++)
		retry_id(retrying, call->argv[i]);
	if (!retrying->by_id)
		retry_all(retrying);
	if (!retrying->dry && spool_sync(&retrying->opened.spool, &retrying->err) == -1)
		complain(retrying);
	print_counts(retrying);
	message_free(&retrying->message);
	call_close(&retrying->opened);
	return retrying->status;
}

static bool read_status(const char *text, struct filter *filter)
{
	filter->status = text;
	if (filter_status_is_valid(text))
		return true;
	(void)call_usage_error("a status is written as 4, 5.1 or 5.1.1, and not ", text);
	return false;
}

/* Takes an option, with optarg; false when its value is wrong, and that is said. */
static bool take_option(struct retrying *retrying, int option)
{
	struct filter *filter = &retrying->filter;

	switch (option) {
	case 'd':
		retrying->dry = true;
		return true;
	case 'a':
		retrying->all = true;
		return true;
	case 'F':
		filter->failed = true;
		return true;
	case 'D':
		filter->deferred = true;
		return true;
	case 'S':
		return read_status(optarg, filter);
	case 's':
		filter->sender = optarg;
		return true;
	case 'r':
		filter->recipient = optarg;
		return true;
	case 'R':
		filter->relay = optarg;
		return true;
	case 'o':
		return call_duration(optarg, &filter->older_than);
	default:
		return call_duration(optarg, &filter->newer_than);
	}
}

/* Either ids, or all, or a filter. */
static bool is_clear(const struct call *call, const struct retrying *retrying)
{
	const bool wide = retrying->all || filter_asks(&retrying->filter);

	if (wide != (call->argc > 0))
		return true;
	if (wide)
		(void)call_usage_error("either ids or filters, not both: ", call->argv[0]);
	else
		(void)call_usage_error("which messages? Name them, or say --all or a filter", "");
	return false;
}

static int run(struct call *call)
{
	static const struct option known[] = {{"dry-run", no_argument, NULL, 'd'},
	    {"all", no_argument, NULL, 'a'}, {"failed", no_argument, NULL, 'F'},
	    {"deferred", no_argument, NULL, 'D'}, {"status", required_argument, NULL, 'S'},
	    {"sender", required_argument, NULL, 's'}, {"recipient", required_argument, NULL, 'r'},
	    {"relay", required_argument, NULL, 'R'}, {"older-than", required_argument, NULL, 'o'},
	    {"newer-than", required_argument, NULL, 'n'}, CALL_OPTIONS};
	struct retrying retrying = {.filter = FILTER_ALL, .status = EX_OK};
	int option;

	while ((option = call_option(call, known, INT_MAX)) >= 0)
		if (!take_option(&retrying, option))
			return EX_USAGE;
	if (option != CALL_WORDS)
		return call_status(option);
	return is_clear(call, &retrying) ? retry(call, &retrying) : EX_USAGE;
}

const struct command command_retry = {
    .name = "retry",
    .words = "[--dry-run] ID... | --all | FILTER...",
    .summary = "Queue failed mail again, make deferred mail due",
    .help = "  ID                    a message, by its id or the start of it\n"
	    "  --all                 all failed and deferred messages\n"
	    "  --dry-run             only say what would be done\n"
	    "\n"
	    "Filters, of which all must hold:\n"
	    "  --failed, --deferred  only these\n"
	    "  --status CODE         as 5.1.1, 5.1 or 4\n"
	    "  --sender PATTERN      as '*@example.com'; '<>' for none\n"
	    "  --recipient PATTERN   of one who does not have the message\n"
	    "  --relay NAME          that the message asks for\n"
	    "  --older-than TIME     since it was made, as 90s, 5m, 2h or 7d\n"
	    "  --newer-than TIME\n",
    .run = run,
};
