#include <errno.h>
#include <stdio.h>
#include <sysexits.h>
#include <unistd.h>

#include "command.h"
#include "verify.h"

/*
 * Whether the config has been made the user's own. One that has a fault has: that is for a run, or
 * for the rest of verify, to report.
 */
static bool is_configured(const char *path)
{
	struct config config;
	struct error err;
	bool example;

	if (config_load(path, CONFIG_INSPECT, &config, &err) == -1)
		return true;
	example = config_is_example(&config);
	config_free(&config);
	return !example;
}

static bool is_missing(const char *path)
{
	return access(path, F_OK) == -1 && errno == ENOENT;
}

static int complain_example(const char *path)
{
	(void)fprintf(stderr,
	    "maildrain: %s is not configured yet, and no mail is sent: put your own values where "
	    "it says \"<--\"; see maildrain.conf(5)\n",
	    path);
	return EX_CONFIG;
}

static int verify(const char *path)
{
	struct config config;
	struct error err;
	int status;

	if (config_load(path, CONFIG_SEND, &config, &err) == -1)
		return call_complain(&err);
	status = verify_all(&config);
	config_free(&config);
	return status;
}

static int run(struct call *call)
{
	static const struct option known[] = {{"configured", no_argument, NULL, 'o'}, CALL_OPTIONS};
	bool only = false;
	int option;

	while ((option = call_option(call, known, 0)) >= 0)
		only = true;
	if (option != CALL_WORDS)
		return call_status(option);
	if (!is_configured(call->config_path) || (only && is_missing(call->config_path)))
		return complain_example(call->config_path);
	return only ? EX_OK : verify(call->config_path);
}

const struct command command_verify = {
    .name = "verify",
    .words = "[--configured]",
    .summary = "Check the config, the spool and each relay",
    .help = "  --configured    only tell whether the config is more than the example\n",
    .run = run,
};
