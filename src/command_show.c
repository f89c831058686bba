#include <stdbool.h>
#include <sysexits.h>

#include "command.h"
#include "show.h"

static int show(const struct call *call, bool body, bool json)
{
	const char *id = call->argv[0];
	struct call_spool opened;
	struct error err;
	const int status = call_open(call, &opened);
	int shown;

	if (status != EX_OK)
		return status;
	if (json)
		shown = show_json(&opened.spool, id, body, &err);
	else
		shown = show_message(&opened.spool, &opened.config, id, body, &err);
	return call_end(&opened, shown, &err);
}

static int run(struct call *call)
{
	static const struct option known[] = {
	    {"body", no_argument, NULL, 'b'}, {"json", no_argument, NULL, 'j'}, CALL_OPTIONS};
	bool body = false;
	bool json = false;
	int option;

	while ((option = call_option(call, known, 1)) >= 0) {
		body = body || option == 'b';
		json = json || option == 'j';
	}
	if (option != CALL_WORDS)
		return call_status(option);
	if (call->argc == 0)
		return call_usage_error("which message? ", "show takes an ID");
	return show(call, body, json);
}

const struct command command_show = {
    .name = "show",
    .words = "[--body] [--json] ID",
    .summary = "Show one message: its state, envelope and header",
    .help = "  ID        as \"maildrain list\" shows it, or the start of it\n"
	    "  --body    the rest of the message too\n"
	    "  --json    for programs\n",
    .run = run,
};
