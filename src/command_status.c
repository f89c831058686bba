#include <stdbool.h>
#include <sysexits.h>

#include "command.h"
#include "status.h"

static int run(struct call *call)
{
	static const struct option known[] = {
	    {"json", no_argument, NULL, 'j'}, {"prometheus", no_argument, NULL, 'p'}, CALL_OPTIONS};
	status_writer *write = status_show;
	struct call_spool opened;
	struct error err;
	int status;

	while ((status = call_option(call, known, 0)) >= 0)
		write = status == 'j' ? status_json : status_prometheus;
	if (status != CALL_WORDS)
		return call_status(status);
	status = call_open(call, &opened);
	if (status != EX_OK)
		return status;
	return call_end(&opened, write(&opened.spool, &opened.config, &err), &err);
}

const struct command command_status = {
    .name = "status",
    .words = "[--json | --prometheus]",
    .summary = "Count what waits, is deferred, failed or sent",
    .help = "  --json          for programs\n"
	    "  --prometheus    as metrics in the text format of Prometheus\n",
    .run = run,
};
