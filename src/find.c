#include "find.h"

#include <stdio.h>
#include <string.h>
#include <sysexits.h>

#define SHOWN 3 /* of several messages that it could be */
#define LOOKS 4 /* before it is believed that there is none, or several */

struct search {
	const char *id; /* as it was asked for, perhaps a whole name */
	size_t len;	/* of the id in it */
	enum spool_dir dir;
	struct found *found;
	size_t whole; /* messages whose id it is */
	size_t begun; /* messages whose id starts with it */
	char shown[SHOWN][ENTRY_NAME_MAX + 1];
};

static void take(const struct search *search, const char *name)
{
	search->found->dir = search->dir;
	(void)snprintf(search->found->name, sizeof search->found->name, "%s", name);
}

static int look(void *context, const char *name, unsigned char type)
{
	struct search *search = context;
	struct entry entry;

	(void)type;
	if (!entry_parse(name, &entry) || strncmp(name, search->id, search->len) != 0)
		return 0;
	if (strcmp(name, search->id) == 0) {
		take(search, name);
		return 1;
	}
	if (entry.unique_len == search->len) {
		search->whole++;
		take(search, name);
	} else if (entry.unique_len > search->len) {
		if (search->begun < SHOWN)
			(void)snprintf(search->shown[search->begun], sizeof search->shown[0],
			    "%.*s", (int)entry.unique_len, name);
		search->begun++;
		if (search->whole == 0)
			take(search, name);
	}
	return 0;
}

static int say_several(const struct search *search, struct error *err)
{
	const size_t count = search->whole > 1 ? search->whole : search->begun;

	if (search->whole > 1)
		error_set(err, EX_DATAERR, "%zu messages have the id %.*s: name one by its file",
		    count, (int)search->len, search->id);
	else
		error_set(err, EX_DATAERR,
		    "%zu messages have an id that starts with %s: %s, %s%s%s%s", count, search->id,
		    search->shown[0], search->shown[1], count > 2 ? ", " : "",
		    count > 2 ? search->shown[2] : "", count > SHOWN ? " …" : "");
	return -1;
}

static int look_once(
    const struct spool *spool, const char *id, struct found *found, struct error *err)
{
	static const enum spool_dir dirs[] = {SPOOL_NEW, SPOOL_FAILED, SPOOL_CUR};
	struct search search = {.id = id, .found = found, .len = strcspn(id, ",:")};
	int result;

	for (size_t i = 0; i < sizeof dirs / sizeof dirs[0] && search.len > 0; i++) {
		search.dir = dirs[i];
		result = spool_each(spool, spool->dir[dirs[i]], look, &search, err);
		if (result != 0)
			return result == 1 ? 0 : -1;
	}
	if (search.whole == 1 || (search.whole == 0 && search.begun == 1))
		return 0;
	if (search.whole + search.begun > 0)
		return say_several(&search, err);
	error_set(err, EX_DATAERR, "there is no message %s in %s; see \"maildrain list --all\"", id,
	    spool->path);
	return -1;
}

/* A name that changes while its directory is read may be missed, or met twice. */
int find_message(const struct spool *spool, const char *id, struct found *found, struct error *err)
{
	int result = -1;

	for (int looks = 0; looks < LOOKS && result == -1; looks++) {
		result = look_once(spool, id, found, err);
		if (result == -1 && err->status != EX_DATAERR)
			break;
	}
	return result;
}
