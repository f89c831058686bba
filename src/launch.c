#include "launch.h"

#include <sysexits.h>

#include "child.h"
#include "waits.h"

/* 0 when CHILD has come to its end; -1 with ERR when there is no way to wait for it. */
static int await(struct child *child, struct child_end *end, struct error *err)
{
	struct waits waits = {0};
	int result = 0;

	while (result == 0 && !child_ended(child, end)) {
		waits_begin(&waits, INT64_MAX);
		child_prepare(child, &waits);
		result = waits_wait(&waits, err);
		if (result == 0)
			child_work(child, &waits);
	}
	waits_free(&waits);
	return result;
}

int launch_run(char *const argv[], char *const envp[], const struct child_limits *limits,
    struct child_end *end, struct error *err)
{
	const struct child_plan plan = {
	    .argv = argv, .envp = envp, .input = -1, .shared = true, .limits = *limits};
	struct child *child = child_start(&plan, err);
	int result = child != NULL ? await(child, end, err) : -1;

	child_close(child);
	if (result == 0 && end->status == -1 && end->signal == 0) {
		error_set(err, EX_UNAVAILABLE, "%s does not end", argv[0]);
		result = -1;
	}
	return result;
}
