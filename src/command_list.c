#include <stdbool.h>
#include <string.h>
#include <sysexits.h>

#include "command.h"
#include "list.h"

/* The set of the states that the words of CALL name; 0 with all said when one is none. */
static unsigned read_states(const struct call *call)
{
	unsigned states = 0;

	for (int i = 0; i < call->argc; i++) {
		enum survey_state state;

		if (!survey_state_parse(call->argv[i], &state)) {
			(void)call_usage_error("there is no state ", call->argv[i]);
			return 0;
		}
		states |= WALK_STATE(state);
	}
	return states;
}

static int list(const struct call *call, unsigned states, bool json)
{
	struct call_spool opened;
	struct error err;
	const int status = call_open(call, &opened);
	int shown;

	if (status != EX_OK)
		return status;
	if (json)
		shown = list_json(&opened.spool, states, &err);
	else
		shown = list_show(&opened.spool, states, &err);
	return call_end(&opened, shown, &err);
}

static int run(struct call *call)
{
	static const struct option known[] = {
	    {"all", no_argument, NULL, 'a'}, {"json", no_argument, NULL, 'j'}, CALL_OPTIONS};
	unsigned states = WALK_UNSENT;
	bool json = false;
	int option;

	while ((option = call_option(call, known, SURVEY_STATES)) >= 0) {
		if (option == 'a')
			states = WALK_ALL;
		json = json || option == 'j';
	}
	if (option != CALL_WORDS)
		return call_status(option);
	if (call->argc > 0 && states != WALK_ALL)
		states = read_states(call);
	return states != 0 ? list(call, states, json) : EX_USAGE;
}

const struct command command_list = {
    .name = "list",
    .words = "[--all] [--json] [STATE...]",
    .summary = "Show a line for each message that is not sent",
    .help = "  STATE     only those that are waiting, in-flight, deferred, failed or sent\n"
	    "  --all     the sent ones too\n"
	    "  --json    for programs\n",
    .run = run,
};
