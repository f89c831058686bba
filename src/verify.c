#include "verify.h"

#include <stdio.h>
#include <sysexits.h>

#include "spool.h"
#include "transport.h"

static int tell(int status, const struct error *err)
{
	(void)printf("  PROBLEM: %s\n", err->text);
	return status != EX_OK ? status : err->status;
}

static int verify_spool(const char *path, int status)
{
	struct spool spool;
	struct error err;

	(void)printf("spool %s\n", path);
	if (spool_open(&spool, path, &err) == -1)
		return tell(status, &err);
	if (spool_check(&spool, &err) == -1 || spool_movable(&spool, &err) == -1)
		status = tell(status, &err);
	else
		(void)printf("  ok\n");
	spool_close(&spool);
	return status;
}

static int verify_relay(const struct relay_config *relay, int status)
{
	const struct transport_kind *kind;
	struct error err;

	(void)printf("relay \"%s\" %s\n", relay->name, relay->url);
	kind = transport_load(relay, &err);
	if (kind == NULL || kind->probe(relay, stdout, &err) == -1)
		return tell(status, &err);
	(void)printf("  ok\n");
	return status;
}

int verify_all(const struct config *config)
{
	int status = EX_OK;

	(void)printf("config %s\n  ok\n", config->path);
	status = verify_spool(config->spool, status);
	for (size_t i = 0; i < config->relay_count; i++)
		status = verify_relay(&config->relay[i], status);
	return status;
}
