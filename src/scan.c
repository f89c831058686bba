#include "scan.h"

#include <dirent.h>
#include <fcntl.h>
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

/* Whether NAME, which nobody has opened, is a file of ours; reports what is not. */
static bool is_message(struct scan *scan, const char *name)
{
	const int fd = scan->record->spool->dir[SPOOL_NEW];
	const char *why = NULL;
	struct stat st;

	if (fstatat(fd, name, &st, AT_SYMLINK_NOFOLLOW) == -1)
		return false;
	if (!S_ISREG(st.st_mode))
		why = "not a regular file";
	else if (st.st_nlink != 1)
		why = "a file with several hard links";
	else if (st.st_size == 0)
		why = "an empty file";
	else if (faccessat(fd, name, R_OK, AT_EACCESS) == -1)
		why = "not readable for this user";
	if (why != NULL)
		trouble_file(scan->trouble, name, why);
	return why == NULL;
}

void scan_give_up(
    struct scan *scan, const struct entry *entry, const char *status, const char *text)
{
	struct trouble *trouble = scan->trouble;

	trouble_move(trouble, entry->name,
	    record_unsendable(scan->record, entry, status, text, &trouble->err));
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

	if (!is_message(scan, entry->name))
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

/* Whether the claim in ENTRY is over: its run is dead, or its time is past. */
static bool claim_is_over(const struct scan *scan, const struct entry *entry)
{
	long pid;

	/* We hold the lock, so no other run of this host lives; later claims are our own. */
	if (entry_claimed_by_host(entry, scan->record->spool->host, &pid))
		return !scan->again;
	return entry->not_before <= scan->now;
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
	    (!claim_is_over(scan, &entry) || !end_claim(scan, &entry, released) ||
		!entry_parse(released, &entry)))
		return 0;
	if (scan_has_expired(&entry)) {
		if (is_message(scan, entry.name))
			scan_give_up(scan, &entry, "5.4.7", "it expired before it could be sent");
		return 0;
	}
	if (entry.not_before > scan->now || queue_add(&scan->queue, &entry))
		return 0;
	error_set(&trouble->err, EX_OSERR, "out of memory for the names of new/");
	return -1;
}

void scan_read(struct scan *scan)
{
	const struct spool *spool = scan->record->spool;

	scan->now = clock_now();
	queue_clear(&scan->queue);
	if (spool_each(spool, spool->dir[SPOOL_NEW], visit, scan, &scan->trouble->err) == -1)
		trouble_stop(scan->trouble);
	scan->again = true;
}

void scan_skip_foreign(struct scan *scan)
{
	const char *name;

	while ((name = queue_next(&scan->queue)) != NULL) {
		if (is_message(scan, name)) {
			queue_put_back(&scan->queue);
			return;
		}
	}
}
