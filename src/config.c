#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "address.h"
#include "confcheck.h"
#include "confparse.h"
#include "confrelay.h"
#include "confroute.h"
#include "confurl.h"
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
	    confcheck_number(top, "notify_per_run", 1, NOTIFY_MAX, &notify->per_run))
		return -1;
	return confcheck_number(top, "notify_per_hour", 1, NOTIFY_MAX, &notify->per_hour);
}

/* What watches the queue. */
static int fill_watch(const struct confparse_section *top, struct config *config)
{
	if (confcheck_path(top, "metrics_file", &config->metrics_file))
		return -1;
	return confcheck_command(top, "alert_command", &config->alert_command);
}

/* For staging: who gets mail, whomever it is for. */
static int fill_staging(const struct confparse_section *top, struct config *config)
{
	const char *value = cfg_getstr(top->cfg, "redirect_to");
	const char *fault = value ? address_fault(value, strlen(value)) : NULL;
	char must[160];

	(void)snprintf(must, sizeof must, "must be an address: %s", fault ? fault : "");
	if (fault)
		return confcheck_fail(top, "redirect_to", 0, must);
	if (confcheck_copy(top, "redirect_to", &config->redirect_to) ||
	    confcheck_patterns(top, "allow_recipients", &config->allow))
		return -1;
	config->allow_count = cfg_size(top->cfg, "allow_recipients");
	if (config->allow_count == 0 && confparse_is_set(top, "allow_recipients"))
		return confparse_fail(top->parse, confparse_line(top, "allow_recipients"),
		    "allow_recipients is an empty list, which would hold all mail; write who may "
		    "get it");
	return 0;
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
	if (fill_sharing(top, config) || fill_notify(top, &config->notify) ||
	    fill_watch(top, config))
		return -1;
	return fill_staging(top, config);
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

static int fill_routes(const struct confparse *parse, struct config *config)
{
	size_t i, count = parse->count[CONFPARSE_ROUTE];

	config->route = calloc(count + 1, sizeof *config->route);
	if (!config->route)
		return confparse_fail_memory(parse);
	for (i = 0; i < count; i++) {
		struct confparse_section section = confparse_nth(parse, CONFPARSE_ROUTE, i);

		config->route_count++;
		if (confroute_fill(&section, config, &config->route[i]))
			return -1;
	}
	return confroute_fill_plain(parse, config);
}

/* Whether PATH is FOLDER, which may end in slashes, or in it. */
static bool is_within(const char *path, const char *folder)
{
	size_t len = strlen(folder);

	while (len > 1 && folder[len - 1] == '/')
		len--;
	return strncmp(path, folder, len) == 0 && (path[len] == '\0' || path[len] == '/');
}

/* What a relay may not be where the rest of the configuration is as it is. */
static int check_relay(const struct confparse *parse, const struct config *config, size_t i)
{
	struct confparse_section top = confparse_top(parse);
	struct confparse_section section = confparse_nth(parse, CONFPARSE_RELAY, i);
	const struct relay_config *relay = &config->relay[i];
	const char *staging = config->redirect_to ? "redirect_to" : "allow_recipients";

	if (relay->kind == RELAY_MAILDIR && is_within(relay->path, config->spool))
		return confparse_fail(parse, confparse_line(&section, "url"),
		    "url leads into the spool, and what is delivered there would be sent again; "
		    "name another folder");
	if ((config->redirect_to || config->allow_count > 0) &&
	    (relay->kind == RELAY_GMAIL || relay->kind == RELAY_GRAPH))
		return confparse_fail(parse, confparse_line(&top, staging),
		    "%s can't be kept with relay \"%s\": its API sends to whom the header names; "
		    "remove one of them",
		    staging, relay->name);
	return 0;
}

static int check_relays(const struct confparse *parse, const struct config *config)
{
	size_t i;

	for (i = 0; parse->use != CONFIG_SPOOL && i < config->relay_count; i++)
		if (check_relay(parse, config, i))
			return -1;
	return 0;
}

static int fill_config(const struct confparse *parse, struct config *config)
{
	struct confparse_section top = confparse_top(parse);

	config->path = strdup(parse->path);
	if (!config->path)
		return confparse_fail_memory(parse);
	if (fill_top(&top, config) || fill_relays(parse, config) || check_relays(parse, config))
		return -1;
	for (size_t i = 0; i < config->relay_count; i++)
		config->relay[i].others = (unsigned)config->relay_count - 1;
	return fill_routes(parse, config);
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

static bool is_example_host(const char *host)
{
	const size_t len = strlen(host);
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
		struct confurl url;

		if (confurl_parse(config->relay[i].url, &url) || !is_example_host(url.host))
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

	confroute_free_plain(config);
	for (i = 0; i < config->route_count; i++)
		confroute_free(&config->route[i]);
	free(config->route);
	for (i = 0; i < config->relay_count; i++)
		confrelay_free(&config->relay[i]);
	free(config->relay);
	free_notify(&config->notify);
	free(config->path);
	free(config->spool);
	free(config->domain);
	free(config->metrics_file);
	free(config->redirect_to);
	confcheck_free_words(config->allow);
	confcheck_free_words(config->alert_command);
	memset(config, 0, sizeof *config);
}
