#include "verify.h"

#include <glob.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "credential.h"
#include "plain.h"
#include "spool.h"
#include "transport.h"
#include "verify_route.h"

/* ERR says what is wrong and where, and behind MARK what to do, in lines of its own or not. */
static int tell(int status, const struct error *err, const char *mark)
{
	const char *advice = strstr(err->text, mark);
	const char *start = "  to do: ";

	if (advice == NULL)
		advice = err->text + strlen(err->text);
	(void)printf("  PROBLEM: ");
	plain_text_n(stdout, err->text, (size_t)(advice - err->text));
	(void)printf("\n");
	if (*advice != '\0')
		advice += strlen(mark);
	while (*advice != '\0') {
		const size_t len = strcspn(advice, "\n");

		(void)printf("%s", start);
		plain_text_n(stdout, advice, len);
		(void)printf("\n");
		start = "         ";
		advice += len + (advice[len] != '\0');
	}
	return status != EX_OK ? status : err->status;
}

static int verify_spool(const char *path, int status)
{
	struct spool spool;
	struct error err;

	(void)printf("spool %s\n", path);
	if (spool_open(&spool, path, &err) == -1)
		return tell(status, &err, "; ");
	if (spool_check(&spool, &err) == -1 || spool_movable(&spool, &err) == -1)
		status = tell(status, &err, "; ");
	else
		(void)printf("  ok\n");
	spool_close(&spool);
	return status;
}

static int probe(
    const struct transport_kind *kind, const struct relay_config *relay, struct error *err)
{
	struct credential credential;
	int result = credential_get(&credential, relay, err);

	if (result == 0)
		result = kind->probe(relay, &credential, stdout, err);
	credential_free(&credential);
	return result;
}

static int verify_relay(const struct relay_config *relay, int status)
{
	const struct transport_kind *kind;
	struct error err;

	(void)printf("relay \"%s\" %s\n", relay->name, relay->url);
	kind = transport_load(relay, &err);
	if (kind == NULL || probe(kind, relay, &err) == -1)
		return tell(status, &err, "\n");
	(void)printf("  ok\n");
	return status;
}

/* A hint and no more: something else may start the runs. */
static void hint_timer(void)
{
	glob_t found;

	if (access("/run/systemd/system", F_OK) == -1)
		return;
	if (glob("/etc/systemd/system/timers.target.wants/maildrain*.timer", 0, NULL, &found) ==
	    GLOB_NOMATCH)
		(void)printf("note: no timer is enabled, so nothing starts a run:\n"
			     "  systemctl enable --now maildrain.timer\n");
	globfree(&found);
}

int verify_all(const struct config *config)
{
	int status = EX_OK;

	(void)printf("config %s\n  ok\n", config->path);
	status = verify_spool(config->spool, status);
	for (size_t i = 0; i < config->relay_count; i++)
		status = verify_relay(&config->relay[i], status);
	verify_routes(config);
	hint_timer();
	return status;
}
