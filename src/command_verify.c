#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "command.h"
#include "privilege.h"
#include "route.h"
#include "units.h"
#include "verify.h"
#include "verify_route.h"

#define FIELDS_MAX 64 /* that --header may tell */

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
	/* What it finds has to be so for a run, and the programs that it starts are the run's. */
	if (privilege_drop(config.spool, &err) == -1)
		status = call_complain(&err);
	else
		status = verify_all(&config);
	config_free(&config);
	return status;
}

static int tell_route(const char *path, struct verify_letter *letter)
{
	struct config config;
	struct error err;
	int result;

	if (config_load(path, CONFIG_INSPECT, &config, &err) == -1)
		return call_complain(&err);
	result = verify_route(&config, letter, &err);
	config_free(&config);
	return result == -1 ? call_complain(&err) : EX_OK;
}

/* What verify is asked for. */
struct asked {
	bool configured;
	bool route;
	bool letter; /* something of one is told */
	const char *header[FIELDS_MAX];
	struct verify_letter known;
};

/* Whether TEXT is "NAME: VALUE". */
static bool is_field(const char *text)
{
	const size_t len = strcspn(text, ": \t");

	return len > 0 && text[len] == ':';
}

static bool take_field(struct asked *asked, const char *text)
{
	if (!is_field(text)) {
		(void)call_usage_error(
		    "a header field is written as 'NAME: VALUE', and not ", text);
		return false;
	}
	if (asked->known.header_count == FIELDS_MAX) {
		(void)call_usage_error("more than 64 times --header: ", text);
		return false;
	}
	asked->header[asked->known.header_count++] = text;
	asked->known.header = asked->header;
	return true;
}

static bool take_size(struct asked *asked, const char *text)
{
	if (units_size(text, &asked->known.size))
		return true;
	(void)call_usage_error("a size is written as 500, 64K, 25M or 1G, and not ", text);
	return false;
}

/* Takes an option, with optarg; false when its value is wrong, and that is said. */
static bool take_option(struct asked *asked, int option)
{
	if (option == 'o') {
		asked->configured = true;
		return true;
	}
	if (option == 'r') {
		asked->route = true;
		return true;
	}
	asked->letter = true;
	if (option == 'H')
		return take_field(asked, optarg);
	if (option == 's')
		return take_size(asked, optarg);
	asked->known.wish = optarg;
	return true;
}

/* Whether options and words go together; if not, that is said. */
static bool is_clear(const struct call *call, const struct asked *asked)
{
	if (asked->route && asked->configured)
		(void)call_usage_error("either --configured or --route", "");
	else if (asked->letter && !asked->route)
		(void)call_usage_error("--size, --header and --relay are for --route FROM TO", "");
	else if (asked->route && call->argc != 2)
		(void)call_usage_error("from whom, and to whom? --route FROM TO", "");
	else if (!asked->route && call->argc > 0)
		(void)call_usage_error("too many words: ", call->argv[0]);
	else
		return true;
	return false;
}

static int check(const struct call *call, bool only)
{
	if (!is_configured(call->config_path) || (only && is_missing(call->config_path)))
		return complain_example(call->config_path);
	return only ? EX_OK : verify(call->config_path);
}

static int run(struct call *call)
{
	static const struct option known[] = {{"configured", no_argument, NULL, 'o'},
	    {"route", no_argument, NULL, 'r'}, {"size", required_argument, NULL, 's'},
	    {"header", required_argument, NULL, 'H'}, {"relay", required_argument, NULL, 'R'},
	    CALL_OPTIONS};
	struct asked asked = {.known = {.size = ROUTE_SIZE_UNKNOWN}};
	int option;

	while ((option = call_option(call, known, 2)) >= 0)
		if (!take_option(&asked, option))
			return EX_USAGE;
	if (option != CALL_WORDS)
		return call_status(option);
	if (!is_clear(call, &asked))
		return EX_USAGE;
	if (!asked.route)
		return check(call, asked.configured);
	asked.known.sender = call->argv[0];
	asked.known.recipient = call->argv[1];
	return tell_route(call->config_path, &asked.known);
}

const struct command command_verify = {
    .name = "verify",
    .words = "[--configured | --route FROM TO]",
    .summary = "Check the config, the spool and each relay",
    .help = "  --configured     only tell whether the config is more than the example\n"
	    "  --route FROM TO  only tell which relays mail would go to, and why\n"
	    "\n"
	    "More of that mail, for routes that ask for it:\n"
	    "  --size SIZE      as 500, 64K, 25M or 1G\n"
	    "  --header FIELD   as 'List-Id: news', once for each field\n"
	    "  --relay NAME     the route or relay that it asks for\n",
    .run = run,
};
