#include <stdbool.h>
#include <sysexits.h>

#include "command.h"
#include "status.h"

static int run(struct call *call)
{
	static const struct option known[] = {{"json", no_argument, NULL, 'j'}, CALL_OPTIONS};
	struct call_spool opened;
	struct error err;
	bool json = false;
	int status;

	while ((status = call_option(call, known, 0)) >= 0)
		json = true;
	if (status != CALL_WORDS)
		return call_status(status);
	status = call_open(call, &opened);
	if (status != EX_OK)
		return status;
	if ((json ? status_json : status_show)(&opened.spool, &err) == -1)
		status = call_complain(&err);
	call_close(&opened);
	return status;
}

const struct command command_status = {
    .name = "status",
    .words = "[--json]",
    .summary = "Count what waits, is deferred, failed or sent",
    .help = "  --json    for programs\n",
    .run = run,
};
