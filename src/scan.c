#include "scan.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

#include "clock.h"
#include "dump.h"

const char *scan_foreign(const char *name, unsigned char type)
{
	uint64_t offset;

	if (name[0] == '.')
		return "its name starts with a dot";
	if (type == DT_DIR)
		return "a directory";
	if (type == DT_LNK)
		return "a symbolic link";
	if (type != DT_REG && type != DT_UNKNOWN)
		return "not a regular file";
	if (dump_name_parse(name, &offset) != DUMP_NAME_OTHER)
		return "a dump of Django, not one message; it belongs into the spool itself";
	return NULL;
}

bool scan_has_expired(const struct entry *entry)
{
	return entry->expires > 0 && entry->expires <= clock_now();
}

bool scan_has_attempts(const struct scan *scan, const struct entry *entry)
{
	return !retry_exhausted(&scan->record->config->retry, entry->attempts);
}

bool scan_is_settled(struct scan *scan, const struct entry *entry)
{
	struct trouble *trouble = scan->trouble;
	const int found = spool_settle_twin(scan->record->spool, entry, &trouble->err);

	if (found == -1)
		trouble_fault(trouble, entry->name, trouble->err.text);
	return found != 0;
}

/* What speaks against the file of ENTRY, which has ST; NULL: nothing. */
static const char *file_fault(
    const struct scan *scan, const struct entry *entry, const struct stat *st)
{
	if (!S_ISREG(st->st_mode))
		return "not a regular file";
	if (st->st_nlink != 1)
		return "a file with several hard links";
	if (st->st_size == 0)
		return "an empty file";
	if (faccessat(scan->record->spool->dir[SPOOL_NEW], entry->name, R_OK, AT_EACCESS) == -1)
		return errno == EACCES ? "not readable for this user" : strerror(errno);
	return NULL;
}

/* Whether ENTRY's file, which nobody has opened, is one of ours; reports what is not. */
static bool is_message(struct scan *scan, const struct entry *entry)
{
	const int fd = scan->record->spool->dir[SPOOL_NEW];
	const char *why;
	struct stat st;

	if (fstatat(fd, entry->name, &st, AT_SYMLINK_NOFOLLOW) == -1) {
		if (errno != ENOENT)
			trouble_fault(scan->trouble, entry->name, strerror(errno));
		return false;
	}
	if (st.st_nlink != 1 && scan_is_settled(scan, entry))
		return false;
	why = file_fault(scan, entry, &st);
	if (why != NULL)
		trouble_file(scan->trouble, entry->name, why);
	return why == NULL;
}

void scan_give_up(
    struct scan *scan, const struct entry *entry, const char *status, const char *text)
{
	struct trouble *trouble = scan->trouble;
	const enum spool_moved moved =
	    record_unsendable(scan->record, entry, status, text, &trouble->err);

	/* A failed/ that has no room must not hold up what can be sent. */
	if (moved == SPOOL_ERROR && trouble->err.status != EX_NOPERM)
		trouble_fault(trouble, entry->name, trouble->err.text);
	else
		trouble_move(trouble, entry->name, moved);
}

/*
 * Ends a claim that a dead run of this host has left, or that has run out: the attempt stays
 * charged, so a message that crashes its sender can't do so for ever. TO gets the new name; false
 * when there is nothing left to send.
 */
static bool end_claim(struct scan *scan, const struct entry *entry, char *to)
{
	struct trouble *trouble = scan->trouble;
	enum spool_moved moved;

	if (!is_message(scan, entry))
		return false;
	if (!scan_has_attempts(scan, entry)) {
		scan_give_up(
		    scan, entry, "5.4.7", "its last attempt was cut short, it may have been sent");
		return false;
	}
	moved = spool_release(scan->record->spool, entry, true, to, &trouble->err);
	trouble_move(trouble, entry->name, moved);
	return moved == SPOOL_MOVED;
}

/*
 * A deferred message whose T no attempt of ours can have named was deferred under a wrong clock.
 */
bool scan_is_due(const struct retry *retry, const struct entry *entry, int64_t now)
{
	if (entry->not_before <= now)
		return true;
	return entry->attempts > 0 && entry_has_class(entry, '4') &&
	       entry->not_before - CLOCK_SLACK > retry_latest(retry, now);
}

/* A message that is sent, and only has to be moved. */
static void move_on(struct scan *scan, const struct entry *entry)
{
	struct trouble *trouble = scan->trouble;

	if (is_message(scan, entry) && record_moved(scan->record, entry, &trouble->err) == -1)
		trouble_stop(trouble);
}

/* Sees to what needs no relay; whether ENTRY is to be sent now. */
static bool is_to_send(struct scan *scan, const struct entry *entry)
{
	if (entry_has_class(entry, '2')) {
		move_on(scan, entry);
		return false;
	}
	if (!scan_has_expired(entry))
		return scan_is_due(&scan->record->config->retry, entry, scan->now);
	if (is_message(scan, entry))
		scan_give_up(scan, entry, "5.4.7", "it expired before it could be sent");
	return false;
}

static int visit(void *context, const char *name, unsigned char type)
{
	struct scan *scan = context;
	struct trouble *trouble = scan->trouble;
	const char *foreign = scan_foreign(name, type);
	char released[ENTRY_NAME_MAX + 1];
	struct entry entry;

	if (foreign == NULL && !entry_parse(name, &entry))
		foreign = "its name is none that maildrain can use";
	if (foreign != NULL) {
		trouble_file(trouble, name, foreign);
		return 0;
	}
	if (skip_has(&trouble->skip, name))
		return 0;
	if (entry.claim != NULL &&
	    (!claims_over(scan->claims, &entry, scan->now, scan->again) ||
		!end_claim(scan, &entry, released) || !entry_parse(released, &entry)))
		return 0;
	if (!is_to_send(scan, &entry))
		return 0;
	if (scan->is_known != NULL && scan->is_known(scan->context, &entry)) {
		scan->left_out = true;
		return 0;
	}
	if (queue_add(&scan->queue, &entry))
		return 0;
	error_set(&trouble->err, EX_OSERR, "out of memory for the names of new/");
	return -1;
}

void scan_read(struct scan *scan)
{
	const struct spool *spool = scan->record->spool;

	scan->now = clock_now();
	scan->left_out = false;
	queue_clear(&scan->queue);
	if (spool_each(spool, spool->dir[SPOOL_NEW], visit, scan, &scan->trouble->err) == -1)
		trouble_stop(scan->trouble);
	scan->again = true;
}

void scan_skip_foreign(struct scan *scan)
{
	const char *name;

	while ((name = queue_next(&scan->queue)) != NULL) {
		struct entry entry;

		if (entry_parse(name, &entry) && is_message(scan, &entry)) {
			queue_put_back(&scan->queue);
			return;
		}
	}
}
