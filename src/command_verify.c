#include "command.h"
#include "verify.h"

static int run(struct call *call)
{
	struct config config;
	struct error err;
	int status = call_plain(call, 0);

	if (status != CALL_WORDS)
		return call_status(status);
	if (config_load(call->config_path, CONFIG_SEND, &config, &err) == -1)
		return call_complain(&err);
	status = verify_all(&config);
	config_free(&config);
	return status;
}

const struct command command_verify = {
    .name = "verify",
    .words = "",
    .summary = "Check the config, the spool and each relay",
    .help = "",
    .run = run,
};
