#include <stdio.h>
#include <sysexits.h>

#include "command.h"
#include "privilege.h"

static int init_at(const char *path)
{
	struct spool_owner owner;
	struct error err;

	if (spool_init(path, privilege_owner(&owner) ? &owner : NULL, &err) == -1)
		return call_complain(&err);
	(void)printf("the spool %s is ready\n", path);
	return EX_OK;
}

static int run(struct call *call)
{
	struct config config;
	struct error err;
	int status = call_plain(call, 1);

	if (status != CALL_WORDS)
		return call_status(status);
	if (call->argc == 1)
		return init_at(call->argv[0]);
	if (config_load(call->config_path, CONFIG_SPOOL, &config, &err) == -1)
		return call_complain(&err);
	status = init_at(config.spool);
	config_free(&config);
	return status;
}

const struct command command_init = {
    .name = "init",
    .words = "[DIR]",
    .summary = "Make the spool, or mend its modes",
    .help = "",
    .run = run,
};
