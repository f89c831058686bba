#include <inttypes.h>
#include <stdio.h>
#include <sysexits.h>

#include "clock.h"
#include "command.h"
#include "plain.h"

struct purging {
	bool failed;
	bool dry;
	int64_t older_than; /* seconds; -1: as the configuration says */
	int64_t now;
	size_t messages; /* that would go */
	uint64_t bytes;
};

/* A dry run lets nothing go. */
static bool show(void *context, const char *name, const struct stat *st)
{
	struct purging *purging = context;
	const int64_t moved =
	    (int64_t)(st->st_ctim.tv_sec > st->st_mtim.tv_sec ? st->st_ctim.tv_sec
							      : st->st_mtim.tv_sec);
	char age[PLAIN_DURATION_MAX];

	purging->messages++;
	purging->bytes += (uint64_t)st->st_size;
	plain_text(stdout, name);
	(void)printf(" %s ago, %" PRIu64 " bytes\n", plain_duration(purging->now - moved, age),
	    (uint64_t)st->st_size);
	return false;
}

static int remove_old(struct purging *purging, struct call_spool *opened)
{
	const int64_t age =
	    purging->older_than != -1 ? purging->older_than : opened->config.keep_sent;
	struct spool_purge purge = {.dir = purging->failed ? SPOOL_FAILED : SPOOL_CUR,
	    .older_than = purging->now - age + 1,
	    .may_go = purging->dry ? show : NULL,
	    .context = purging};
	struct error err;
	const int result = spool_purge(&opened->spool, &purge, &err);

	if (!purging->dry) {
		purging->messages = purge.messages;
		purging->bytes = purge.bytes;
	}
	(void)printf("%s%zu %s, %" PRIu64 " bytes, removed from %s/%s\n",
	    purging->dry ? "dry run, nothing is changed: " : "", purging->messages,
	    purging->messages == 1 ? "message" : "messages", purging->bytes, opened->spool.path,
	    spool_dir_name(purge.dir));
	return result == 0 ? EX_OK : call_complain(&err);
}

static int purge(const struct call *call, struct purging *purging)
{
	struct call_spool opened;
	int status = call_open_owned(call, purging->dry, &opened);

	if (status != EX_OK)
		return status;
	purging->now = clock_now();
	status = remove_old(purging, &opened);
	call_close(&opened);
	return status;
}

static int run(struct call *call)
{
	static const struct option known[] = {{"older-than", required_argument, NULL, 'o'},
	    {"failed", no_argument, NULL, 'F'}, {"dry-run", no_argument, NULL, 'd'}, CALL_OPTIONS};
	struct purging purging = {.older_than = -1};
	int option;

	while ((option = call_option(call, known, 0)) >= 0) {
		purging.failed = purging.failed || option == 'F';
		purging.dry = purging.dry || option == 'd';
		if (option == 'o' && !call_duration(optarg, &purging.older_than))
			return EX_USAGE;
	}
	if (option != CALL_WORDS)
		return call_status(option);
	if (purging.failed && purging.older_than == -1)
		return call_usage_error("--failed needs --older-than: nobody has these", "");
	return purge(call, &purging);
}

const struct command command_purge = {
    .name = "purge",
    .words = "[--older-than TIME] [--failed] [--dry-run]",
    .summary = "Remove old sent mail",
    .help = "  --older-than TIME  since it was sent, as 12h or 7d; else keep_sent\n"
	    "  --failed           failed mail instead; needs --older-than\n"
	    "  --dry-run          only say what would be removed\n",
    .run = run,
};
