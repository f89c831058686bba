#include <stdbool.h>
#include <sysexits.h>

#include "command.h"
#include "list.h"

static int run(struct call *call)
{
	static const struct option known[] = {{"all", no_argument, NULL, 'a'}, CALL_OPTIONS};
	struct call_spool opened;
	struct error err;
	bool sent = false;
	int status;

	while ((status = call_option(call, known, 0)) >= 0)
		sent = true;
	if (status != CALL_WORDS)
		return call_status(status);
	status = call_open(call, &opened);
	if (status != EX_OK)
		return status;
	if (list_show(&opened.spool, sent, &err) == -1)
		status = call_complain(&err);
	call_close(&opened);
	return status;
}

const struct command command_list = {
    .name = "list",
    .words = "[--all]",
    .summary = "Show a line for each message that is not sent",
    .help = "  --all    the sent ones too\n",
    .run = run,
};
