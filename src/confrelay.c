#include "confrelay.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "confcheck.h"
#include "conflogin.h"
#include "confvalue.h"
#include "slurp.h"
#include "units.h"

#define CONNECTIONS_MAX 100
#define PIPELINE_MAX	1000
#define TIMEOUT_MAX	3600 /* seconds */
#define COUNT(array)	(sizeof(array) / sizeof(array)[0])

static int fill_url(
    const struct confparse_section *section, struct relay_config *relay, struct confvalue_url *url)
{
	const char *text = cfg_getstr(section->cfg, "url");
	const char *fault;

	if (!text)
		return confparse_fail(section->parse, section->lines->self,
		    "relay \"%s\" has no url; add one such as url = "
		    "\"smtp://smtp.example.com:587\"",
		    relay->name);
	fault = confvalue_url(text, url);
	/* The value is not repeated: it may hold a password where none belongs. */
	if (fault)
		return confparse_fail(section->parse, confparse_line(section, "url"),
		    "url %s, as in \"smtp://smtp.example.com:587\"", fault);
	return confcheck_copy(section, "url", &relay->url);
}

static int fill_tls(const struct confparse_section *section, struct relay_config *relay, bool smtps)
{
	static const char *const modes[] = {
	    [RELAY_TLS_REQUIRED] = "required",
	    [RELAY_TLS_OPPORTUNISTIC] = "opportunistic",
	    [RELAY_TLS_NONE] = "none",
	    NULL,
	};
	static const char *const versions[] = {
	    [RELAY_TLS_1_2] = "1.2", [RELAY_TLS_1_3] = "1.3", NULL};
	unsigned mode, version;

	if (confcheck_choose(section, "tls", modes, &mode) ||
	    confcheck_choose(section, "tls_min_version", versions, &version))
		return -1;
	relay->tls = (enum relay_tls)mode;
	relay->tls_min = (enum relay_tls_version)version;
	if (smtps && relay->tls != RELAY_TLS_REQUIRED)
		return confcheck_fail(section, "tls", 0,
		    "an smtps:// url is TLS from the first byte; remove this line, or write "
		    "smtp:// in the url");
	return 0;
}

/* Whether a file could be read. What is in it is for the TLS library to judge. */
static int check_file(const struct confparse_section *section, const char *name)
{
	const char *path = cfg_getstr(section->cfg, name), *fault;
	struct stat st;

	if (!path || section->parse->use != CONFIG_SEND || slurp(path, NULL, 0, &st, &fault) == 0)
		return 0;
	return confcheck_fail_file(section, name, fault);
}

static int fill_files(const struct confparse_section *section, struct relay_config *relay)
{
	if (confcheck_path(section, "ca_file", &relay->ca_file) ||
	    confcheck_path(section, "cert_file", &relay->cert_file) ||
	    confcheck_path(section, "key_file", &relay->key_file))
		return -1;
	if (relay->key_file && !relay->cert_file)
		return confparse_fail(section->parse, confparse_line(section, "key_file"),
		    "key_file without cert_file; name the certificate that the key is for");
	if (check_file(section, "ca_file") || check_file(section, "cert_file") ||
	    check_file(section, "key_file"))
		return -1;
	return 0;
}

static int fill_timeouts(const struct confparse_section *section, struct relay_timeouts *timeout)
{
	const struct {
		const char *name;
		int64_t *seconds;
	} phases[] = {
	    {"timeout_connect", &timeout->connect},
	    {"timeout_greeting", &timeout->greeting},
	    {"timeout_command", &timeout->command},
	    {"timeout_data", &timeout->data},
	    {"timeout_block", &timeout->block},
	    {"timeout_dot", &timeout->dot},
	};
	size_t i;

	for (i = 0; i < COUNT(phases); i++)
		if (!units_duration(cfg_getstr(section->cfg, phases[i].name), phases[i].seconds) ||
		    *phases[i].seconds < 1 || *phases[i].seconds > TIMEOUT_MAX)
			return confcheck_fail(section, phases[i].name, 0,
			    "must be a duration of 1s to 1h, such as \"90s\" or \"5m\"");
	return 0;
}

static int fill_helo(const struct confparse_section *section, struct relay_config *relay)
{
	const char *helo = cfg_getstr(section->cfg, "helo");
	const char *fault = helo ? confvalue_helo(helo) : NULL;

	if (fault)
		return confcheck_fail(section, "helo", 0, fault);
	return confcheck_copy(section, "helo", &relay->helo);
}

/* How many sessions there may be, and what each of them may have under way. */
static int fill_load(const struct confparse_section *section, struct relay_config *relay)
{
	static const char *const chunking[] = {"never", "auto", NULL};
	unsigned chosen = 0;

	if (confcheck_number(section, "connections", CONNECTIONS_MAX,
		"must be a number from 1 to 100, without leading zeros", &relay->connections) ||
	    confcheck_number(section, "pipeline", PIPELINE_MAX,
		"must be a number from 1 to 1000, without leading zeros", &relay->pipeline))
		return -1;
	if (confcheck_choose(section, "chunking", chunking, &chosen))
		return -1;
	relay->chunking = chosen == 1;
	return 0;
}

int confrelay_fill(const struct confparse_section *section, struct relay_config *relay)
{
	struct confvalue_url url = {.smtps = false};

	relay->name = strdup(cfg_title(section->cfg));
	if (!relay->name)
		return confparse_fail_memory(section->parse);
	if (section->parse->use == CONFIG_SPOOL)
		return 0;
	if (confcheck_values(section) || fill_url(section, relay, &url) ||
	    fill_tls(section, relay, url.smtps) || fill_helo(section, relay) ||
	    fill_files(section, relay) || fill_timeouts(section, &relay->timeout))
		return -1;
	if (fill_load(section, relay))
		return -1;
	return conflogin_fill(section, relay, url.host);
}

void confrelay_free(struct relay_config *relay)
{
	if (relay->password)
		explicit_bzero(relay->password, strlen(relay->password));
	free(relay->password);
	free(relay->name);
	free(relay->url);
	free(relay->helo);
	free(relay->user);
	free(relay->ca_file);
	free(relay->cert_file);
	free(relay->key_file);
}
