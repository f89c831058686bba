#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "clock.h"
#include "dump.h"
#include "import.h"
#include "io.h"

#define CHUNK_SIZE 65536
#define TEXT_MAX   1536 /* the text of a struct error and more */

struct import {
	struct spool *spool;
	const struct claims *claims;
	int64_t now;
	import_note *note;
	void *context;
	struct import_counts *counts;
	struct error *err;
};

/* A dump that is being read. */
struct source {
	int fd;
	char name[ENTRY_NAME_MAX + 1]; /* its present one */
	struct entry entry;	       /* parsed from name; its offset says what is imported */
	bool claimed;		       /* by this run */
	bool cut_short;		       /* a run has died over its next record */
	struct stat st;
	struct dump dump;
};

enum step {
	STEP_ON,
	STEP_SKIP,  /* nothing more from this dump in this run */
	STEP_FAILED /* ERR */
};

__attribute__((format(printf, 3, 4))) static void tell(
    const struct import *import, const char *dump, const char *format, ...)
{
	char text[TEXT_MAX];
	va_list args;

	va_start(args, format);
	(void)vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	import->note(import->context, dump, text);
}

static bool import_full(const struct import *import)
{
	return import->counts->imported + import->counts->failed >= IMPORT_RECORDS_MAX;
}

static uint64_t source_recorded(const struct source *source)
{
	return (uint64_t)source->entry.offset;
}

static uint64_t source_size(const struct source *source)
{
	return (uint64_t)source->st.st_size;
}

/* Whether nobody has written for SECONDS. A date in the future says nothing: wait for it. */
static bool source_idle(const struct import *import, const struct source *source, int seconds)
{
	return import->now - (int64_t)source->st.st_mtim.tv_sec >= seconds;
}

/* Whether the last record may be taken as whole. A date of a wrong clock is nobody's who writes
 * now. */
static bool source_settled(const struct import *import, const struct source *source)
{
	return source_idle(import, source, IMPORT_SETTLE_SECONDS) ||
	       (int64_t)source->st.st_mtim.tv_sec - import->now > CLOCK_SLACK;
}

/* Takes over NAME; false when it is none for an entry, which no dump of Django's has. */
static bool source_named(struct source *source, const char *name)
{
	(void)snprintf(source->name, sizeof(source->name), "%s", name);
	return entry_parse(source->name, &source->entry);
}

/* What came of a rename of the dump to TO. */
static enum step renamed(struct source *source, enum spool_moved moved, const char *to)
{
	switch (moved) {
	case SPOOL_MOVED:
		return source_named(source, to) ? STEP_ON : STEP_SKIP;
	case SPOOL_GONE:
		source->claimed = false;
		return STEP_SKIP;
	default:
		return STEP_FAILED;
	}
}

/* Records that all up to OFFSET is imported, under a claim of this run. */
static enum step advance(struct import *import, struct source *source, uint64_t offset)
{
	char to[ENTRY_NAME_MAX + 1];
	const enum spool_moved moved = spool_dump_advance(import->spool, &source->entry,
	    (int64_t)offset, claims_until(import->claims), to, import->err);

	source->claimed = source->claimed || moved == SPOOL_MOVED;
	return renamed(source, moved, to);
}

/* What the spool refuses for this one dump must not hold up the others. */
static enum step refused(const struct import *import, const struct source *source)
{
	tell(import, source->name, "is left alone: %s", import->err->text);
	return STEP_SKIP;
}

/*
 * The claim stands before the first message of the dump is in new/: where the rename is not
 * permitted, each run would import that message anew.
 */
static enum step claim(struct import *import, struct source *source)
{
	enum step step = STEP_ON;

	if (!source->claimed)
		step = advance(import, source, source_recorded(source));
	return step == STEP_FAILED ? refused(import, source) : step;
}

/*
 * Ends the claim, if there is one. Where a record may be imported and not noted it stays, for the
 * next run to see that.
 */
static enum step rest(struct import *import, struct source *source, enum step step)
{
	char to[ENTRY_NAME_MAX + 1];

	if (!source->claimed || step == STEP_FAILED)
		return step;
	if (spool_dump_rest(import->spool, &source->entry, 0, to, import->err) == SPOOL_ERROR)
		return refused(import, source);
	return step;
}

static enum step copy_failed(const struct import *import, const struct source *source, int error)
{
	errno = error;
	if (error == EIO) {
		tell(import, source->name, "can't be read (%s); it is left alone", strerror(error));
		return STEP_SKIP;
	}
	error_set_errno(import->err, "can't copy a message of %s/%s to tmp/", import->spool->path,
	    source->name);
	return STEP_FAILED;
}

/* The UNIQUE of the message at START: whenever it is imported, it gets the same. */
static void name_record(
    const struct source *source, uint64_t start, char unique[ENTRY_NAME_MAX + 1])
{
	(void)snprintf(unique, ENTRY_NAME_MAX + 1,
	    "%" PRId64 ".M000000P%" PRIu64 "Q%012" PRIu64 ".dump", dump_name_time(source->name),
	    (uint64_t)source->st.st_ino, start);
}

/*
 * Whether the record at START is imported, and only the rename of the dump is missing that says so.
 * Unless a run has died over it, it can't be.
 */
static int is_imported(struct import *import, struct source *source, uint64_t start)
{
	char unique[ENTRY_NAME_MAX + 1];

	if (!source->cut_short)
		return 0;
	source->cut_short = false;
	name_record(source, start, unique);
	return spool_has_unique(import->spool, unique, import->err);
}

/* Puts a draft with the message of RECORD where it belongs. */
static enum step file_record(
    struct import *import, struct source *source, const struct dump_record *record)
{
	struct spool_draft draft;
	const int found = is_imported(import, source, record->start);

	if (found != 0)
		return found == 1 ? STEP_ON : STEP_FAILED;
	if (spool_draft_open(import->spool, &draft, import->err) != 0)
		return STEP_FAILED;
	name_record(source, record->start, draft.target);
	if (io_copy(source->fd, record->start, record->end, draft.fd) != 0) {
		int error = errno;

		spool_draft_abandon(import->spool, &draft);
		return copy_failed(import, source, error);
	}
	if (record->doubt == DUMP_CLEAR) {
		if (spool_draft_commit(import->spool, &draft, import->err) != 0)
			return STEP_FAILED;
		import->counts->imported++;
		return STEP_ON;
	}
	if (spool_draft_fail(import->spool, &draft, "5.6.0", import->err) != 0)
		return STEP_FAILED;
	import->counts->failed++;
	tell(import, source->name,
	    "bytes %" PRIu64 " to %" PRIu64 " are not sent but kept as failed/%s…: the record %s",
	    record->start, record->end, draft.target, dump_doubt_text(record->doubt));
	return STEP_ON;
}

static enum step take_record(
    struct import *import, struct source *source, const struct dump_record *record)
{
	enum step step = claim(import, source);

	if (step == STEP_ON)
		step = file_record(import, source, record);
	if (step == STEP_ON)
		step = advance(import, source, record->next);
	if (step == STEP_ON && import_full(import))
		step = STEP_SKIP;
	return step;
}

static enum step take_chunk(
    struct import *import, struct source *source, const char *at, const char *end)
{
	struct dump_record record;
	enum step step = STEP_ON;

	while (step == STEP_ON && dump_next(&source->dump, &at, end, &record))
		step = take_record(import, source, &record);
	return step;
}

/* Reads up to the size that the file had when it was opened: what is written now can wait. */
static enum step take_records(struct import *import, struct source *source)
{
	char chunk[CHUNK_SIZE];
	enum step step = STEP_ON;

	while (step == STEP_ON && source->dump.offset < source_size(source)) {
		uint64_t left = source_size(source) - source->dump.offset;
		ssize_t len = io_pread(source->fd, chunk,
		    left < sizeof(chunk) ? (size_t)left : sizeof(chunk), source->dump.offset);

		if (len <= 0)
			return copy_failed(import, source, EIO);
		step = take_chunk(import, source, chunk, chunk + len);
	}
	return step;
}

/* Whether the end that was read is still the end. */
static bool has_grown(const struct source *source)
{
	struct stat st;

	return fstat(source->fd, &st) != 0 || st.st_size != source->st.st_size;
}

static enum step take_last(struct import *import, struct source *source)
{
	struct dump_record record;

	if (!source_settled(import, source) || has_grown(source))
		return STEP_SKIP;
	if (dump_last(&source->dump, &record))
		return take_record(import, source, &record);
	return STEP_ON;
}

/* What is left is no whole record, and nobody will complete it. */
static enum step give_up(struct import *import, struct source *source)
{
	const enum spool_moved moved =
	    spool_dump_give_up(import->spool, &source->entry, import->err);

	source->claimed = false;
	if (moved == SPOOL_GONE)
		return STEP_SKIP;
	if (moved != SPOOL_MOVED)
		return refused(import, source);
	import->counts->failed++;
	tell(import, source->name,
	    "has not grown for %d hours and what follows byte %" PRIu64
	    " is no whole record; it is moved to failed/",
	    SPOOL_STALE_SECONDS / 3600, source->dump.start);
	return STEP_ON;
}

static enum step finish(struct import *import, struct source *source)
{
	if (dump_between(&source->dump)) {
		if (source_recorded(source) == source->dump.start ||
		    advance(import, source, source->dump.start) != STEP_FAILED)
			return STEP_ON;
		return refused(import, source);
	}
	if (source_idle(import, source, SPOOL_STALE_SECONDS))
		return give_up(import, source);
	return STEP_ON;
}

static enum step read_source(struct import *import, struct source *source)
{
	enum step step;

	dump_init(&source->dump, source_recorded(source));
	step = take_records(import, source);
	if (step == STEP_ON)
		step = take_last(import, source);
	if (step == STEP_ON)
		step = finish(import, source);
	return rest(import, source, step);
}

/* Why the file is nothing that Django has written here, or NULL. */
static const char *fault_of(const struct source *source)
{
	if (S_ISLNK(source->st.st_mode))
		return "is a symbolic link; it is left alone, move the file itself here";
	if (!S_ISREG(source->st.st_mode))
		return "is no regular file; it is left alone";
	if (source->st.st_nlink > 1)
		return "has more than one name (hard links); it is left alone until one is left";
	if (source_size(source) < source_recorded(source))
		return "is shorter than the O= in its name says; it is left alone, correct the "
		       "name";
	return NULL;
}

static enum step inspect(struct import *import, const struct source *source)
{
	const char *fault = fault_of(source);

	if (fault == NULL)
		return STEP_ON;
	tell(import, source->name, "%s", fault);
	return STEP_SKIP;
}

/* A file that vanishes meanwhile is somebody's repair, no fault. */
static enum step cannot(const struct import *import, const char *name, const char *verb)
{
	int error = errno;

	if (error == EACCES)
		tell(import, name,
		    "can't be %s: give this program's group the right to read it (umask 027 for "
		    "the "
		    "web service)",
		    verb);
	else if (error != ENOENT)
		tell(import, name, "can't be %s: %s", verb, strerror(error));
	return STEP_SKIP;
}

static enum step open_source(struct import *import, struct source *source)
{
	enum step step = STEP_SKIP;

	source->fd = openat(import->spool->root, source->name,
	    O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (source->fd == -1)
		return cannot(import, source->name, "opened");
	if (fstat(source->fd, &source->st) != 0)
		(void)cannot(import, source->name, "inspected");
	else
		step = inspect(import, source);
	if (step == STEP_ON)
		step = read_source(import, source);
	(void)close(source->fd); /* it was only read */
	return step;
}

/*
 * A dump that is fully imported goes when nobody has written for SPOOL_STALE_SECONDS, and a run has
 * said so that long ago: one look at a clock that may be wrong is not enough, Django may still have
 * it open.
 */
static enum step retire(struct import *import, struct source *source)
{
	const int64_t until = import->now + (int64_t)SPOOL_STALE_SECONDS;
	const int64_t doomed = source->entry.claim == NULL ? source->entry.not_before : 0;
	char to[ENTRY_NAME_MAX + 1];

	if (!source_idle(import, source, SPOOL_STALE_SECONDS))
		return STEP_ON;
	if (doomed == 0 || doomed > until) {
		if (spool_dump_rest(import->spool, &source->entry, until, to, import->err) ==
		    SPOOL_ERROR)
			return refused(import, source);
		return STEP_ON;
	}
	if (doomed <= import->now &&
	    spool_dump_remove(import->spool, source->name, import->err) != 0)
		return refused(import, source);
	return STEP_ON;
}

/* Most dumps are fully imported and wait for their end: one look at the size, and no open. */
static enum step import_source(struct import *import, struct source *source)
{
	enum step step;

	if (fstatat(import->spool->root, source->name, &source->st, AT_SYMLINK_NOFOLLOW) != 0)
		return cannot(import, source->name, "inspected");
	step = inspect(import, source);
	if (step != STEP_ON)
		return step;
	if (source_size(source) > source_recorded(source))
		return open_source(import, source);
	return retire(import, source);
}

static enum step import_name(struct import *import, const char *name)
{
	struct source source = {.fd = -1};
	uint64_t offset;

	switch (dump_name_parse(name, &offset)) {
	case DUMP_NAME_OTHER:
		return STEP_ON;
	case DUMP_NAME_BAD:
		tell(import, name,
		    "has an O= that is no offset; it is left alone, correct the name");
		return STEP_ON;
	case DUMP_NAME_GOOD:
		break;
	}
	if (!source_named(&source, name) ||
	    (source.entry.claim != NULL &&
		!claims_over(import->claims, &source.entry, import->now, false)))
		return STEP_ON;
	source.cut_short = source.entry.claim != NULL;
	return import_source(import, &source);
}

static enum step import_all(struct import *import, DIR *dir)
{
	enum step step = STEP_ON;

	while (step != STEP_FAILED && !import_full(import)) {
		const struct dirent *entry;

		errno = 0;
		entry = readdir(dir);
		if (entry == NULL && errno == 0)
			return STEP_ON;
		if (entry == NULL) {
			error_set_errno(import->err, "can't list %s", import->spool->path);
			return STEP_FAILED;
		}
		step = import_name(import, entry->d_name);
	}
	return step;
}

int import_dumps(struct spool *spool, const struct claims *claims, import_note *note, void *context,
    struct import_counts *counts, struct error *err)
{
	struct import import = {spool, claims, clock_now(), note, context, counts, err};
	int fd = openat(spool->root, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd == -1 ? NULL : fdopendir(fd);
	enum step step;

	memset(counts, 0, sizeof(*counts));
	if (dir == NULL) {
		error_set_errno(err, "can't list %s", spool->path);
		if (fd != -1)
			(void)close(fd);
		return -1;
	}
	step = import_all(&import, dir);
	(void)closedir(dir);
	return step == STEP_FAILED ? -1 : 0;
}
