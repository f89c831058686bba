#include "walk.h"

#include <stdio.h>
#include <sysexits.h>

#include "queue.h"

static const struct {
	enum spool_dir dir;
	unsigned states; /* that can be found there */
} places[] = {
    {SPOOL_NEW, WALK_ALL & ~WALK_STATE(SURVEY_FAILED)},
    {SPOOL_FAILED, WALK_STATE(SURVEY_FAILED)},
    {SPOOL_CUR, WALK_STATE(SURVEY_SENT)},
};

#define PLACES (sizeof places / sizeof places[0])

struct filter {
	unsigned states;
	int64_t now;
	enum spool_dir dir;
	spool_visit *visit;
	void *context;
};

struct walk {
	const struct spool *spool;
	struct filter filter;
	struct queue queue;
	struct view view;
	char last[ENTRY_NAME_MAX + 1]; /* visited in the rounds before; "" in the first */
	struct error *err;
};

static int pass_wanted(void *context, const char *name, unsigned char type)
{
	const struct filter *filter = context;
	struct entry entry;

	if (!entry_parse(name, &entry) ||
	    !(filter->states & WALK_STATE(survey_state_of(&entry, filter->dir, filter->now))))
		return 0;
	return filter->visit(filter->context, name, type);
}

int walk_names(const struct spool *spool, unsigned states, int64_t now, spool_visit *visit,
    void *context, struct error *err)
{
	struct filter filter = {.states = states, .now = now, .visit = visit, .context = context};
	int result = 0;

	for (size_t i = 0; i < PLACES && result == 0; i++) {
		filter.dir = places[i].dir;
		if (states & places[i].states)
			result =
			    spool_each(spool, spool->dir[filter.dir], pass_wanted, &filter, err);
	}
	return result;
}

/* Queues what comes behind the last round. */
static int collect(void *context, const char *name, unsigned char type)
{
	struct walk *walk = context;
	struct entry entry, last;

	(void)type;
	if (!entry_parse(name, &entry))
		return 0;
	if (entry_parse(walk->last, &last) && entry_compare(&entry, &last) <= 0)
		return 0;
	if (queue_add(&walk->queue, &entry))
		return 0;
	error_set(walk->err, EX_OSERR, "out of memory for the names of %s/%s", walk->spool->path,
	    spool_dir_name(walk->filter.dir));
	return -1;
}

/* Visits as many as the queue keeps; 1 when there are more. */
static int walk_round(struct walk *walk, walk_visit *visit, void *context)
{
	const int fd = walk->spool->dir[walk->filter.dir];
	const char *name;

	queue_clear(&walk->queue);
	if (spool_each(walk->spool, fd, pass_wanted, &walk->filter, walk->err) == -1)
		return -1;
	while ((name = queue_next(&walk->queue)) != NULL) {
		(void)snprintf(walk->last, sizeof walk->last, "%s", name);
		if (view_open(&walk->view, walk->filter.dir, name, walk->filter.now) &&
		    visit(context, &walk->view) == -1)
			return -1;
	}
	return walk->queue.truncated;
}

int walk_messages(const struct spool *spool, unsigned states, int64_t now, walk_visit *visit,
    void *context, struct error *err)
{
	struct walk walk = {.spool = spool, .err = err};
	int result = 0;

	walk.filter =
	    (struct filter){.states = states, .now = now, .visit = collect, .context = &walk};
	view_init(&walk.view, spool);
	for (size_t i = 0; i < PLACES && result == 0; i++) {
		walk.filter.dir = places[i].dir;
		walk.last[0] = '\0';
		do
			result =
			    (states & places[i].states) ? walk_round(&walk, visit, context) : 0;
		while (result == 1);
	}
	view_free(&walk.view);
	queue_free(&walk.queue);
	return result;
}
