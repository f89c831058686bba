#include <stdbool.h>
#include <sysexits.h>

#include "command.h"
#include "dry.h"
#include "log.h"
#include "privilege.h"
#include "run.h"

static int say_only(const struct call *call)
{
	struct call_spool opened;
	struct error err;
	const int status = call_open(call, &opened);

	if (status != EX_OK)
		return status;
	return call_end(&opened, dry_run(&opened.spool, &opened.config.retry, &err), &err);
}

static int drain(const struct call *call, bool verbose)
{
	struct config config;
	struct error err;
	struct log log;
	int status;

	if (config_load(call->config_path, CONFIG_SEND, &config, &err) == -1)
		return call_complain(&err);
	log_open(&log, verbose);
	if (privilege_drop(config.spool, &err) == -1)
		status = call_complain(&err);
	else
		status = run_spool(&config, &log);
	log_close(&log);
	config_free(&config);
	return status;
}

static int run(struct call *call)
{
	static const struct option known[] = {
	    {"dry-run", no_argument, NULL, 'd'}, {"verbose", no_argument, NULL, 'v'}, CALL_OPTIONS};
	bool dry = false;
	bool verbose = false;
	int option;

	while ((option = call_option(call, known, 0)) >= 0) {
		dry = dry || option == 'd';
		verbose = verbose || option == 'v';
	}
	if (option != CALL_WORDS)
		return call_status(option);
	return dry ? say_only(call) : drain(call, verbose);
}

const struct command command_run = {
    .name = "run",
    .words = "[--dry-run] [--verbose]",
    .summary = "Send what is due",
    .help = "  --dry-run    only say what would be sent\n"
	    "  --verbose    on a terminal, show each message\n",
    .run = run,
};
