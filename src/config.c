#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "address.h"
#include "confcheck.h"
#include "confparse.h"
#include "confrelay.h"
#include "confvalue.h"
#include "units.h"

#define CLAIM_MIN    10 /* seconds */
#define CLAIM_MAX    86400
#define NOTIFY_MAX   10000 /* mails in a run or an hour */
#define COUNT(array) (sizeof(array) / sizeof(array)[0])

static int fill_spool(const struct confparse_section *top, struct config *config)
{
	if (confcheck_path(top, "spool", &config->spool))
		return -1;
	if (config->spool[strspn(config->spool, "/")] == '\0')
		return confcheck_fail(top, "spool", 0, "must be a folder of its own");
	return 0;
}

static int fill_domain(const struct confparse_section *top, struct config *config)
{
	const char *domain = cfg_getstr(top->cfg, "domain");
	const char *fault = domain ? confvalue_helo(domain) : NULL;

	if (fault)
		return confcheck_fail(top, "domain", 0, fault);
	return confcheck_copy(top, "domain", &config->domain);
}

static int fill_retry(const struct confparse_section *top, struct retry *retry)
{
	unsigned i, count = cfg_size(top->cfg, "retry");

	if (count < 1 || count > RETRY_DELAYS_MAX)
		return confparse_fail(top->parse, confparse_line(top, "retry"),
		    "retry has %u delays; write 1 to %d of them", count, RETRY_DELAYS_MAX);
	for (i = 0; i < count; i++)
		if (!units_duration(cfg_getnstr(top->cfg, "retry", i), &retry->delay[i]) ||
		    retry->delay[i] < 1)
			return confcheck_fail(top, "retry", i,
			    "each delay must be a duration of 1s to 36500d, such as \"90s\", "
			    "\"5m\", \"1h\" or \"7d\"");
	retry->count = count;
	return 0;
}

static int fill_sharing(const struct confparse_section *top, struct config *config)
{
	static const char *const answers[] = {"false", "true", NULL};
	unsigned shared = 0;

	if (confcheck_choose(top, "shared_spool", answers, &shared))
		return -1;
	config->shared_spool = shared == 1;
	if (!units_duration(cfg_getstr(top->cfg, "claim"), &config->claim) ||
	    config->claim < CLAIM_MIN || config->claim > CLAIM_MAX)
		return confcheck_fail(
		    top, "claim", 0, "must be a duration of 10s to 1d, such as \"10m\" or \"1h\"");
	return 0;
}

/* Takes over member I of the option notify. */
static int fill_told(const struct confparse_section *top, unsigned i, struct config_notify *notify)
{
	const char *value = cfg_getnstr(top->cfg, "notify", i);
	char must[160];
	const char *fault;

	if (strcmp(value, "sender") == 0) {
		notify->sender = true;
		return 0;
	}
	fault = address_fault(value, strlen(value));
	if (fault) {
		(void)snprintf(must, sizeof must,
		    "must be the word sender or an address, and this is none: %s", fault);
		return confcheck_fail(top, "notify", i, must);
	}
	if (notify->address_count == CONFIG_NOTIFY_MAX)
		return confcheck_fail(top, "notify", i, "is the 17th address; write 16 at most");
	notify->address[notify->address_count] = strdup(value);
	return notify->address[notify->address_count++] ? 0 : confparse_fail_memory(top->parse);
}

/* The address in From: in ASCII, as there is no other way to write it that all can read. */
static int fill_notify_from(const struct confparse_section *top, struct config_notify *notify)
{
	const char *value = cfg_getstr(top->cfg, "notify_from");
	const char *fault = value ? address_fault(value, strlen(value)) : NULL;
	char must[160];

	if (value && !fault && !address_is_ascii(value, strlen(value)))
		fault = "not in ASCII (a domain: xn--)";
	(void)snprintf(must, sizeof must, "must be an address: %s", fault ? fault : "");
	return fault ? confcheck_fail(top, "notify_from", 0, must)
		     : confcheck_copy(top, "notify_from", &notify->from);
}

static int fill_notify(const struct confparse_section *top, struct config_notify *notify)
{
	static const char NUMBER[] = "must be a number from 1 to 10000, without leading zeros";
	const char *late = cfg_getstr(top->cfg, "delay_warning");
	unsigned i;

	notify->address = calloc(CONFIG_NOTIFY_MAX, sizeof *notify->address);
	if (!notify->address)
		return confparse_fail_memory(top->parse);
	for (i = 0; i < cfg_size(top->cfg, "notify"); i++)
		if (fill_told(top, i, notify))
			return -1;
	if (late && (!units_duration(late, &notify->delay_warning) || notify->delay_warning < 1))
		return confcheck_fail(top, "delay_warning", 0,
		    "must be a duration of 1s to 36500d, such as \"4h\"; remove it to warn nobody");
	if (fill_notify_from(top, notify) ||
	    confcheck_number(top, "notify_per_run", NOTIFY_MAX, NUMBER, &notify->per_run))
		return -1;
	return confcheck_number(top, "notify_per_hour", NOTIFY_MAX, NUMBER, &notify->per_hour);
}

/* What watches the queue. */
static int fill_watch(const struct confparse_section *top, struct config *config)
{
	if (confcheck_path(top, "metrics_file", &config->metrics_file))
		return -1;
	return confcheck_command(top, "alert_command", CONFIG_ALERT_MAX, &config->alert_command);
}

static int fill_top(const struct confparse_section *top, struct config *config)
{
	if (confcheck_values(top) || fill_spool(top, config) || fill_domain(top, config) ||
	    fill_retry(top, &config->retry))
		return -1;
	if (!units_duration(cfg_getstr(top->cfg, "keep_sent"), &config->keep_sent))
		return confcheck_fail(top, "keep_sent", 0,
		    "must be a duration up to 36500d, such as \"12h\" or \"7d\", or \"0\" to "
		    "remove a message once it is sent");
	return fill_sharing(top, config) || fill_notify(top, &config->notify) ||
		       fill_watch(top, config)
		   ? -1
		   : 0;
}

static int fill_relays(const struct confparse *parse, struct config *config)
{
	size_t i;

	if (parse->count[CONFPARSE_RELAY] == 0 && parse->use == CONFIG_SEND)
		return confparse_fail(parse, 0,
		    "no relay to send to; add a section such as relay \"main\" { url = "
		    "\"smtp://smtp.example.com:587\" }");
	config->relay = calloc(parse->count[CONFPARSE_RELAY] + 1, sizeof *config->relay);
	if (!config->relay)
		return confparse_fail_memory(parse);
	for (i = 0; i < parse->count[CONFPARSE_RELAY]; i++) {
		struct confparse_section section = confparse_nth(parse, CONFPARSE_RELAY, i);

		config->relay_count++;
		if (confrelay_fill(&section, &config->relay[i]))
			return -1;
	}
	return 0;
}

static int fill_config(const struct confparse *parse, struct config *config)
{
	struct confparse_section top = confparse_top(parse);

	config->path = strdup(parse->path);
	if (!config->path)
		return confparse_fail_memory(parse);
	return fill_top(&top, config) || fill_relays(parse, config) ? -1 : 0;
}

int config_load(const char *path, enum config_use use, struct config *config, struct error *err)
{
	struct confparse parse;
	int result;

	memset(config, 0, sizeof *config);
	if (confparse_load(&parse, path, use, err))
		return -1;
	result = fill_config(&parse, config);
	confparse_free(&parse);
	if (result)
		config_free(config);
	return result;
}

/* The host in a URL of the form that is allowed; *LEN gets its length. */
static const char *url_host(const char *url, size_t *len)
{
	const char *host = strstr(url, "://");

	host = host ? host + 3 : url;
	*len = strcspn(host, ":/");
	return host;
}

static bool is_example_host(const char *host, size_t len)
{
	static const char *const domains[] = {"example.com", "example.net", "example.org"};
	size_t i;

	for (i = 0; i < COUNT(domains); i++) {
		size_t size = strlen(domains[i]);

		if (len >= size && strncasecmp(host + len - size, domains[i], size) == 0 &&
		    (len == size || host[len - size - 1] == '.'))
			return true;
	}
	return false;
}

bool config_is_example(const struct config *config)
{
	size_t i;

	for (i = 0; i < config->relay_count; i++) {
		size_t len;
		const char *host = url_host(config->relay[i].url, &len);

		if (!is_example_host(host, len))
			return false;
	}
	return config->relay_count > 0;
}

bool config_tells(const struct config *config)
{
	return config->notify.sender || config->notify.address_count > 0;
}

static void free_notify(struct config_notify *notify)
{
	size_t i;

	for (i = 0; i < notify->address_count; i++)
		free(notify->address[i]);
	free(notify->address);
	free(notify->from);
}

void config_free(struct config *config)
{
	size_t i;

	for (i = 0; i < config->relay_count; i++)
		confrelay_free(&config->relay[i]);
	free(config->relay);
	free_notify(&config->notify);
	free(config->path);
	free(config->spool);
	free(config->domain);
	free(config->metrics_file);
	confcheck_free_words(config->alert_command);
	memset(config, 0, sizeof *config);
}
