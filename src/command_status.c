#include <sysexits.h>

#include "command.h"
#include "status.h"

static int run(struct call *call)
{
	struct call_spool opened;
	struct error err;
	int status = call_plain(call, 0);

	if (status != CALL_WORDS)
		return call_status(status);
	status = call_open(call, &opened);
	if (status != EX_OK)
		return status;
	if (status_show(&opened.spool, &err) == -1)
		status = call_complain(&err);
	call_close(&opened);
	return status;
}

const struct command command_status = {
    .name = "status",
    .words = "",
    .summary = "Count what waits, is deferred, failed or sent",
    .help = "",
    .run = run,
};
