#include "confrelay.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "confcheck.h"
#include "conflogin.h"
#include "confurl.h"
#include "confvalue.h"
#include "meter.h"
#include "slurp.h"
#include "units.h"

#define CONNECTIONS_MAX 100
#define PIPELINE_MAX	1000
#define WEIGHT_MAX	1000
#define MESSAGES_MAX	1000000 /* on a connection */
#define RECIPIENTS_MAX	10000	/* of a message */
#define REGION_MAX	32
#define REGION_LETTERS	"abcdefghijklmnopqrstuvwxyz0123456789-"
#define TIMEOUT_MAX	3600 /* seconds */
#define COUNT(array)	(sizeof(array) / sizeof(array)[0])

#define BIT(kind) (1U << (kind))
#define API_KINDS                                                                                  \
	(BIT(RELAY_HTTP) | BIT(RELAY_SES) | BIT(RELAY_MAILGUN) | BIT(RELAY_GMAIL) |                \
	    BIT(RELAY_GRAPH))
#define MTA_KINDS (BIT(RELAY_SMTP) | BIT(RELAY_LMTP))
#define ALL_KINDS (MTA_KINDS | BIT(RELAY_COMMAND) | BIT(RELAY_MAILDIR) | API_KINDS)

/* Options that mean something for relays of some kinds only. */
static const struct meaning {
	const char *option;
	unsigned kinds;
} meanings[] = {
    {"tls", MTA_KINDS},
    {"tls_min_version", BIT(RELAY_SMTP) | API_KINDS},
    {"helo", MTA_KINDS},
    {"user", BIT(RELAY_SMTP) | API_KINDS},
    {"password_file", BIT(RELAY_SMTP) | BIT(RELAY_HTTP) | BIT(RELAY_SES) | BIT(RELAY_MAILGUN)},
    {"password_command", BIT(RELAY_SMTP) | BIT(RELAY_HTTP) | BIT(RELAY_SES) | BIT(RELAY_MAILGUN)},
    {"auth", BIT(RELAY_SMTP)},
    {"token_command", BIT(RELAY_SMTP) | BIT(RELAY_HTTP) | BIT(RELAY_GMAIL) | BIT(RELAY_GRAPH)},
    {"session_token_file", BIT(RELAY_SES)},
    {"region", BIT(RELAY_SES)},
    {"arguments", BIT(RELAY_COMMAND)},
    {"ca_file", BIT(RELAY_SMTP) | API_KINDS},
    {"cert_file", BIT(RELAY_SMTP) | API_KINDS},
    {"key_file", BIT(RELAY_SMTP) | API_KINDS},
    {"connections", ALL_KINDS & ~BIT(RELAY_MAILDIR)},
    {"messages_per_connection", MTA_KINDS},
    /* Where the header says who gets a message, no part of it can be for some of them. */
    {"recipients_per_message",
	ALL_KINDS & ~(BIT(RELAY_MAILDIR) | BIT(RELAY_GMAIL) | BIT(RELAY_GRAPH))},
    {"chunking", MTA_KINDS},
    {"pipeline", MTA_KINDS | API_KINDS},
    {"timeout_connect", MTA_KINDS | API_KINDS},
    {"timeout_greeting", MTA_KINDS},
    {"timeout_command", MTA_KINDS},
    {"timeout_data", MTA_KINDS},
    {"timeout_block", MTA_KINDS | API_KINDS},
    {"timeout_dot", ALL_KINDS & ~BIT(RELAY_MAILDIR)},
};

static int fail_meaning(const struct confparse_section *section, const struct relay_config *relay,
    const struct meaning *meaning)
{
	char starts[160] = "";
	int kind;

	for (kind = 0; ALL_KINDS >> kind; kind++) {
		const size_t len = strlen(starts);

		if (meaning->kinds & BIT(kind))
			(void)snprintf(starts + len, sizeof starts - len, "%s%s", len ? ", " : "",
			    confurl_start((enum relay_kind)kind));
	}
	return confparse_fail(section->parse, confparse_line(section, meaning->option),
	    "%s means nothing for a relay with %s in its url; remove it: it is for %s",
	    meaning->option, confurl_start(relay->kind), starts);
}

static int check_meanings(const struct confparse_section *section, const struct relay_config *relay)
{
	size_t i;

	for (i = 0; i < COUNT(meanings); i++)
		if (confparse_is_set(section, meanings[i].option) &&
		    !(meanings[i].kinds & BIT(relay->kind)))
			return fail_meaning(section, relay, &meanings[i]);
	return 0;
}

/* The path in a url, without the slashes that a folder may have at its end. */
static int copy_url_path(const struct confparse_section *section, const char *path, char **copy)
{
	size_t len = strlen(path);

	while (path[len - 1] == '/')
		len--;
	*copy = strndup(path, len);
	return *copy ? 0 : confparse_fail_memory(section->parse);
}

static int fill_url(
    const struct confparse_section *section, struct relay_config *relay, struct confurl *url)
{
	const char *text = cfg_getstr(section->cfg, "url");
	const char *fault;

	if (!text)
		return confparse_fail(section->parse, section->lines->self,
		    "relay \"%s\" has no url; add one such as url = \"%s\"", relay->name,
		    confurl_example(RELAY_SMTP));
	fault = confurl_parse(text, url);
	/* The value is not repeated: it may hold a password where none belongs. */
	if (fault)
		return confparse_fail(section->parse, confparse_line(section, "url"),
		    "url %s, as in \"%s\"", fault, confurl_example(url->kind));
	relay->kind = url->kind;
	if (confcheck_copy(section, "url", &relay->url) ||
	    (url->path && copy_url_path(section, url->path, &relay->path)))
		return -1;
	if (!url->endpoint)
		return 0;
	relay->endpoint = strdup(url->endpoint);
	return relay->endpoint ? 0 : confparse_fail_memory(section->parse);
}

/* LMTP knows no encryption here. That is said by who sends it to another host. */
static int fill_lmtp_tls(const struct confparse_section *section, struct relay_config *relay,
    const struct confurl *url, bool given)
{
	if (given && relay->tls != RELAY_TLS_NONE)
		return confcheck_fail(section, "tls", 0,
		    "LMTP is never encrypted here; write \"none\", or remove this line");
	if (!given && !url->path && !confvalue_is_loopback(url->host))
		return confparse_fail(section->parse, confparse_line(section, "url"),
		    "mail would go to %s unencrypted; add tls = \"none\" if that is a network "
		    "you trust",
		    url->host);
	relay->tls = RELAY_TLS_NONE;
	return 0;
}

static int fill_tls(
    const struct confparse_section *section, struct relay_config *relay, const struct confurl *url)
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
	if (relay->kind == RELAY_LMTP)
		return fill_lmtp_tls(section, relay, url, confparse_is_set(section, "tls"));
	if (relay->kind != RELAY_SMTP)
		relay->tls = url->encrypted ? RELAY_TLS_REQUIRED : RELAY_TLS_NONE;
	else if (url->encrypted && relay->tls != RELAY_TLS_REQUIRED)
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

/* So many in a time, up to MAX: "14/s". UNITS are the letters that may stand behind the slash. */
static int fill_limit(const struct confparse_section *section, const char *name, int64_t max,
    const char *units, const char *must, struct relay_limit *limit)
{
	const char *text = cfg_getstr(section->cfg, name);

	if (!text)
		return 0;
	if (units_rate(text, max, &limit->count, &limit->seconds) && limit->count > 0 &&
	    strchr(units, text[strlen(text) - 1]))
		return 0;
	*limit = (struct relay_limit){0};
	return section->parse->use == CONFIG_SPOOL ? 0 : confcheck_fail(section, name, 0, must);
}

/* Also for those who look at the spool, where variables may be unset and faults mean no limit. */
static int fill_pace(const struct confparse_section *section, struct relay_config *relay)
{
	if (fill_limit(section, "rate", METER_RATE_MAX, "smh",
		"must be up to 1000000 recipients in a second, minute or hour, such as \"14/s\", "
		"\"200/m\" or \"2000/h\"; for a day there is quota",
		&relay->rate))
		return -1;
	return fill_limit(section, "quota", METER_QUOTA_MAX, "d",
	    "must be up to 9999999 recipients in a day, such as \"50000/d\"; for a second, minute "
	    "or "
	    "hour there is rate",
	    &relay->quota);
}

static int fill_limits(const struct confparse_section *section, struct relay_config *relay)
{
	if (confcheck_number(section, "weight", 1, WEIGHT_MAX, &relay->weight) ||
	    confcheck_number(section, "messages_per_connection", 0, MESSAGES_MAX,
		&relay->messages_per_connection) ||
	    confcheck_number(section, "recipients_per_message", 0, RECIPIENTS_MAX,
		&relay->recipients_per_message) ||
	    confcheck_size(section, "message_size", &relay->message_size))
		return -1;
	return fill_pace(section, relay);
}

/* How many sessions there may be, and what each of them may have under way. */
static int fill_load(const struct confparse_section *section, struct relay_config *relay)
{
	static const char *const chunking[] = {"never", "auto", NULL};
	unsigned chosen = 0;

	if (confcheck_number(section, "connections", 1, CONNECTIONS_MAX, &relay->connections) ||
	    confcheck_number(section, "pipeline", 1, PIPELINE_MAX, &relay->pipeline) ||
	    confcheck_choose(section, "chunking", chunking, &chosen))
		return -1;
	relay->chunking = chosen == 1;
	return fill_limits(section, relay);
}

/* The part of Amazon's cloud, which signatures are made for. */
static int fill_region(
    const struct confparse_section *section, struct relay_config *relay, const char *host)
{
	const char *text = cfg_getstr(section->cfg, "region"), *found;
	size_t len = 0;

	if (relay->kind != RELAY_SES)
		return 0;
	if (text && (strlen(text) > REGION_MAX || text[strspn(text, REGION_LETTERS)]))
		return confcheck_fail(
		    section, "region", 0, "must be a region such as \"eu-west-1\"");
	if (text)
		return confcheck_copy(section, "region", &relay->region);
	found = confurl_region(host, &len);
	if (!found)
		return confparse_fail(section->parse, confparse_line(section, "url"),
		    "the name %s tells no region; add one such as region = \"eu-west-1\"", host);
	relay->region = strndup(found, len);
	return relay->region ? 0 : confparse_fail_memory(section->parse);
}

/* Exim drops the recipients that it is called with for those in the header, others add them. */
static int fill_arguments(const struct confparse_section *section, struct relay_config *relay)
{
	static const char *const from_header[] = {"-t", "-ti", "-it", "--read-recipients"};
	unsigned i, count = cfg_size(section->cfg, "arguments");
	size_t j;

	for (i = 0; i < count; i++)
		for (j = 0; j < COUNT(from_header); j++)
			if (strcmp(cfg_getnstr(section->cfg, "arguments", i), from_header[j]) == 0)
				return confcheck_fail(section, "arguments", i,
				    "would send to those in the header; remove it: the program "
				    "is told who gets the message");
	return confcheck_words(section, "arguments", CONFIG_WORDS_MAX, &relay->arguments);
}

int confrelay_fill(const struct confparse_section *section, struct relay_config *relay)
{
	struct confurl url = {.host = ""};

	relay->name = strdup(cfg_title(section->cfg));
	if (!relay->name)
		return confparse_fail_memory(section->parse);
	if (section->parse->use == CONFIG_SPOOL)
		return fill_pace(section, relay);
	if (confcheck_values(section) || fill_url(section, relay, &url) ||
	    check_meanings(section, relay) || fill_tls(section, relay, &url) ||
	    fill_helo(section, relay) || fill_files(section, relay) ||
	    fill_timeouts(section, &relay->timeout))
		return -1;
	if (fill_load(section, relay) || fill_region(section, relay, url.host) ||
	    fill_arguments(section, relay))
		return -1;
	return conflogin_fill(section, relay, url.host);
}

void confrelay_free(struct relay_config *relay)
{
	conflogin_free(relay);
	confcheck_free_words(relay->arguments);
	free(relay->name);
	free(relay->url);
	free(relay->path);
	free(relay->endpoint);
	free(relay->region);
	free(relay->helo);
	free(relay->ca_file);
	free(relay->cert_file);
	free(relay->key_file);
}
