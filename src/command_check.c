#include <stdbool.h>
#include <stdio.h>
#include <sysexits.h>

#include "check.h"
#include "command.h"
#include "units.h"

#define FAILED_MAX 1000000000

static int unknown(const char *why)
{
	check_write_unknown(stdout, why);
	return CHECK_UNKNOWN;
}

/* Takes one option; NULL, or what is wrong with it. */
static const char *take(int option, struct check_limits *limits)
{
	switch (option) {
	case 'w':
		return units_duration(optarg, &limits->warning)
			   ? NULL
			   : "--warning takes a duration such as 90s, 15m or 1h";
	case 'k':
		return units_duration(optarg, &limits->critical)
			   ? NULL
			   : "--critical takes a duration such as 90s, 15m or 1h";
	case 'f':
		return units_number(optarg, FAILED_MAX, &limits->failed_warning)
			   ? NULL
			   : "--failed-warning takes a number";
	default:
		return units_number(optarg, FAILED_MAX, &limits->failed_critical)
			   ? NULL
			   : "--failed-critical takes a number";
	}
}

static int judge(const struct call_spool *opened, const struct check_limits *limits)
{
	enum check_state state;
	struct history history;
	struct survey survey;
	struct error err;

	if (survey_take(&opened->spool, &survey, &err) == -1 ||
	    history_load(&opened->spool, &opened->config, &history, &err) == -1)
		return unknown(err.text);
	state = check_judge(limits, &survey, &history);
	check_write(stdout, state, limits, &survey, &history);
	return (int)state;
}

static int check(const struct call *call, const struct check_limits *limits)
{
	struct call_spool opened;
	struct error err;
	int status;

	if (call_try_open(call, &opened, &err) == -1)
		return unknown(err.text);
	status = judge(&opened, limits);
	call_close(&opened);
	return status;
}

static int run(struct call *call)
{
	static const struct option known[] = {{"warning", required_argument, NULL, 'w'},
	    {"critical", required_argument, NULL, 'k'},
	    {"failed-warning", required_argument, NULL, 'f'},
	    {"failed-critical", required_argument, NULL, 'g'}, CALL_OPTIONS};
	struct check_limits limits = {900, 3600, -1, -1};
	const char *fault = NULL;
	int option;
	int status;

	while ((option = call_option(call, known, 0)) >= 0 && fault == NULL)
		fault = take(option, &limits);
	if (option == CALL_HELPED)
		return EX_OK;
	if (option == CALL_WRONG)
		return unknown("that is not how it is called; see \"maildrain check --help\"");
	if (fault == NULL)
		fault = check_limits_fault(&limits);
	status = fault != NULL ? unknown(fault) : check(call, &limits);
	/* A monitor knows nothing but 0 to 3. */
	return fflush(stdout) == 0 ? status : CHECK_UNKNOWN;
}

const struct command command_check = {
    .name = "check",
    .words = "[--warning AGE] [--critical AGE] [OPTION]",
    .summary = "Judge the queue, for Nagios and its like",
    .help = "  --warning AGE          for how long a message may be due (15m)\n"
	    "  --critical AGE         the same (1h)\n"
	    "  --failed-warning N     how many may have failed (any number)\n"
	    "  --failed-critical N    the same\n"
	    "\n"
	    "Exit status: 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN.\n",
    .run = run,
};
