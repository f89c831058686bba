#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sysexits.h>

#include "address.h"
#include "confparse.h"
#include "confvalue.h"
#include "slurp.h"
#include "units.h"

#define VALUE_MAX	1024 /* bytes of any one value */
#define SHOWN_MAX	80   /* bytes of a value that a message repeats */
#define PASSWORD_MAX	1024 /* bytes, without its newline */
#define CONNECTIONS_MAX 100
#define PIPELINE_MAX	1000
#define TIMEOUT_MAX	3600 /* seconds */
#define CLAIM_MIN	10   /* seconds */
#define CLAIM_MAX	86400
#define NOTIFY_MAX	10000 /* mails in a run or an hour */
#define COUNT(array)	(sizeof(array) / sizeof(array)[0])

static const char NOT_ABSOLUTE[] = "must be an absolute path, starting with '/'";

static bool is_given(const struct confparse_section *section, const char *name)
{
	return cfg_getstr(section->cfg, name) != NULL;
}

static const char *control_character(const char *text)
{
	for (; *text; text++)
		if ((unsigned char)*text < ' ' || *text == 0x7f)
			return text;
	return NULL;
}

/* What is wrong with a value of any kind, now that variables have been put in. */
static const char *value_fault(const char *value)
{
	if (!*value)
		return "is empty; write a value, or remove it to get the default";
	if (strlen(value) > VALUE_MAX)
		return "is longer than 1024 bytes";
	if (control_character(value))
		return "holds a control character, from a variable of the environment";
	return NULL;
}

static int check_values(const struct confparse_section *section)
{
	cfg_opt_t *option = section->cfg->opts;

	for (; option->name; option++) {
		unsigned i, count = option->type == CFGT_STR ? cfg_opt_size(option) : 0;

		/* Its variables may be unset then, so it means nothing. */
		if (section->parse->use == CONFIG_INSPECT &&
		    strcmp(option->name, "password_file") == 0)
			continue;
		for (i = 0; i < count; i++) {
			const char *value = cfg_opt_getnstr(option, i);
			const char *fault = value ? value_fault(value) : NULL;

			if (fault)
				return confparse_fail(section->parse,
				    confparse_line(section, option->name), "%s %s", option->name,
				    fault);
		}
	}
	return 0;
}

/* Reports that an option's value is not what it MUST be. */
static int fail_value(
    const struct confparse_section *section, const char *name, unsigned i, const char *must)
{
	return confparse_fail(section->parse, confparse_line(section, name), "%s = \"%.*s\": %s",
	    name, SHOWN_MAX, cfg_getnstr(section->cfg, name, i), must);
}

/* Copies the value of an option that has one. */
static int copy_value(const struct confparse_section *section, const char *name, char **copy)
{
	const char *value = cfg_getstr(section->cfg, name);

	if (!value)
		return 0;
	*copy = strdup(value);
	return *copy ? 0 : confparse_fail_memory(section->parse);
}

/* As copy_value, for the path of a file. */
static int copy_path(const struct confparse_section *section, const char *name, char **copy)
{
	const char *value = cfg_getstr(section->cfg, name);

	if (value && value[0] != '/')
		return fail_value(section, name, 0, NOT_ABSOLUTE);
	return copy_value(section, name, copy);
}

/* Sets CHOICE to the index of an option's value in WORDS, of which the last is NULL. */
static int choose(const struct confparse_section *section, const char *name,
    const char *const *words, unsigned *choice)
{
	const char *value = cfg_getstr(section->cfg, name);
	char must[128] = "must be ";
	unsigned i;

	for (i = 0; words[i]; i++) {
		size_t len = strlen(must);

		if (strcmp(words[i], value) == 0) {
			*choice = i;
			return 0;
		}
		(void)snprintf(
		    must + len, sizeof must - len, "%s\"%s\"", i ? " or " : "", words[i]);
	}
	return fail_value(section, name, 0, must);
}

/* Reports that the file an option names can't be used, for the reason in FAULT and errno. */
static int fail_file(const struct confparse_section *section, const char *name, const char *fault)
{
	bool forbidden = errno == EACCES || errno == EPERM;

	(void)fail_value(section, name, 0, fault);
	if (forbidden)
		section->parse->err->status = EX_NOPERM;
	return -1;
}

static int fill_spool(const struct confparse_section *top, struct config *config)
{
	if (copy_path(top, "spool", &config->spool))
		return -1;
	if (config->spool[strspn(config->spool, "/")] == '\0')
		return fail_value(top, "spool", 0, "must be a folder of its own");
	return 0;
}

static int fill_domain(const struct confparse_section *top, struct config *config)
{
	const char *domain = cfg_getstr(top->cfg, "domain");
	const char *fault = domain ? confvalue_helo(domain) : NULL;

	if (fault)
		return fail_value(top, "domain", 0, fault);
	return copy_value(top, "domain", &config->domain);
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
			return fail_value(top, "retry", i,
			    "each delay must be a duration of 1s to 36500d, such as \"90s\", "
			    "\"5m\", \"1h\" or \"7d\"");
	retry->count = count;
	return 0;
}

static int fill_sharing(const struct confparse_section *top, struct config *config)
{
	static const char *const answers[] = {"false", "true", NULL};
	unsigned shared = 0;

	if (choose(top, "shared_spool", answers, &shared))
		return -1;
	config->shared_spool = shared == 1;
	if (!units_duration(cfg_getstr(top->cfg, "claim"), &config->claim) ||
	    config->claim < CLAIM_MIN || config->claim > CLAIM_MAX)
		return fail_value(
		    top, "claim", 0, "must be a duration of 10s to 1d, such as \"10m\" or \"1h\"");
	return 0;
}

/* Sets NUMBER to the value of an option, from 1 to MAX; MUST says so. */
static int fill_number(const struct confparse_section *section, const char *name, int64_t max,
    const char *must, unsigned *number)
{
	int64_t value;

	if (!units_number(cfg_getstr(section->cfg, name), max, &value) || value < 1)
		return fail_value(section, name, 0, must);
	*number = (unsigned)value;
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
		return fail_value(top, "notify", i, must);
	}
	if (notify->address_count == CONFIG_NOTIFY_MAX)
		return fail_value(top, "notify", i, "is the 17th address; write 16 at most");
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
	return fault ? fail_value(top, "notify_from", 0, must)
		     : copy_value(top, "notify_from", &notify->from);
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
		return fail_value(top, "delay_warning", 0,
		    "must be a duration of 1s to 36500d, such as \"4h\"; remove it to warn nobody");
	if (fill_notify_from(top, notify) ||
	    fill_number(top, "notify_per_run", NOTIFY_MAX, NUMBER, &notify->per_run))
		return -1;
	return fill_number(top, "notify_per_hour", NOTIFY_MAX, NUMBER, &notify->per_hour);
}

/* What watches the queue. */
static int fill_watch(const struct confparse_section *top, struct config *config)
{
	unsigned i, count = cfg_size(top->cfg, "alert_command");

	if (copy_path(top, "metrics_file", &config->metrics_file))
		return -1;
	if (count == 0)
		return 0;
	if (count > CONFIG_ALERT_MAX)
		return confparse_fail(top->parse, confparse_line(top, "alert_command"),
		    "alert_command has %u words; write %d at most", count, CONFIG_ALERT_MAX);
	if (cfg_getnstr(top->cfg, "alert_command", 0)[0] != '/')
		return fail_value(top, "alert_command", 0, NOT_ABSOLUTE);
	config->alert_command = calloc(count + 1, sizeof *config->alert_command);
	for (i = 0; config->alert_command && i < count; i++) {
		config->alert_command[i] = strdup(cfg_getnstr(top->cfg, "alert_command", i));
		if (!config->alert_command[i])
			return confparse_fail_memory(top->parse);
	}
	return config->alert_command ? 0 : confparse_fail_memory(top->parse);
}

static int fill_top(const struct confparse_section *top, struct config *config)
{
	if (check_values(top) || fill_spool(top, config) || fill_domain(top, config) ||
	    fill_retry(top, &config->retry))
		return -1;
	if (!units_duration(cfg_getstr(top->cfg, "keep_sent"), &config->keep_sent))
		return fail_value(top, "keep_sent", 0,
		    "must be a duration up to 36500d, such as \"12h\" or \"7d\", or \"0\" to "
		    "remove a message once it is sent");
	return fill_sharing(top, config) || fill_notify(top, &config->notify) ||
		       fill_watch(top, config)
		   ? -1
		   : 0;
}

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
	return copy_value(section, "url", &relay->url);
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

	if (choose(section, "tls", modes, &mode) ||
	    choose(section, "tls_min_version", versions, &version))
		return -1;
	relay->tls = (enum relay_tls)mode;
	relay->tls_min = (enum relay_tls_version)version;
	if (smtps && relay->tls != RELAY_TLS_REQUIRED)
		return fail_value(section, "tls", 0,
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
	return fail_file(section, name, fault);
}

static int fill_files(const struct confparse_section *section, struct relay_config *relay)
{
	if (copy_path(section, "ca_file", &relay->ca_file) ||
	    copy_path(section, "cert_file", &relay->cert_file) ||
	    copy_path(section, "key_file", &relay->key_file))
		return -1;
	if (relay->key_file && !relay->cert_file)
		return confparse_fail(section->parse, confparse_line(section, "key_file"),
		    "key_file without cert_file; name the certificate that the key is for");
	if (check_file(section, "ca_file") || check_file(section, "cert_file") ||
	    check_file(section, "key_file"))
		return -1;
	return 0;
}

/* The password in the LEN bytes of TEXT, which loses its newline. NULL, or why it can't be one. */
static const char *trim_password(char *text, size_t len)
{
	if (len > 0 && text[len - 1] == '\n')
		len -= len > 1 && text[len - 2] == '\r' ? 2 : 1;
	text[len] = '\0';
	if (len == 0)
		return "holds no password; write it there, on one line";
	if (len > PASSWORD_MAX)
		return "is longer than 1024 bytes; is it the right file?";
	if (strlen(text) != len || control_character(text))
		return "holds a control character or a second line; leave only the password";
	return NULL;
}

/* Makes a password of the LEN bytes of TEXT, read from a file with MODE. */
static int take_password(
    const struct confparse_section *section, char *text, size_t len, mode_t mode, char **password)
{
	const char *path = cfg_getstr(section->cfg, "password_file"), *fault;

	if (mode & S_IRWXO)
		return confparse_fail(section->parse, confparse_line(section, "password_file"),
		    "password_file %s is open to everybody (mode %04o); run: chmod 0640 %s", path,
		    mode & 07777U, path);
	fault = trim_password(text, len);
	if (fault)
		return confparse_fail(section->parse, confparse_line(section, "password_file"),
		    "password_file %s %s", path, fault);
	*password = strdup(text);
	return *password ? 0 : confparse_fail_memory(section->parse);
}

static int load_password(const struct confparse_section *section, char **password)
{
	char text[PASSWORD_MAX + sizeof "\r\n" + 1];
	const char *path = cfg_getstr(section->cfg, "password_file"), *fault;
	struct stat st;
	ssize_t len;
	int result;

	if (path[0] != '/')
		return fail_value(section, "password_file", 0, NOT_ABSOLUTE);
	len = slurp(path, text, sizeof text - 1, &st, &fault);
	result = len < 0 ? fail_file(section, "password_file", fault)
			 : take_password(section, text, (size_t)len, st.st_mode, password);
	explicit_bzero(text, sizeof text);
	return result;
}

static int fill_login(
    const struct confparse_section *section, struct relay_config *relay, const char *host)
{
	bool user = is_given(section, "user"), file = is_given(section, "password_file");

	if (user != file)
		return confparse_fail(section->parse,
		    confparse_line(section, user ? "user" : "password_file"),
		    user ? "user without password_file; add the file that holds the password"
			 : "password_file without user; add the user whose password it is");
	if (!user)
		return 0;
	if (relay->tls != RELAY_TLS_REQUIRED && !confvalue_is_loopback(host))
		return confparse_fail(section->parse, confparse_line(section, "user"),
		    "with this tls the password could go to %s unencrypted; write tls = "
		    "\"required\", or remove user and password_file",
		    host);
	if (copy_value(section, "user", &relay->user))
		return -1;
	return section->parse->use == CONFIG_SEND ? load_password(section, &relay->password) : 0;
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
			return fail_value(section, phases[i].name, 0,
			    "must be a duration of 1s to 1h, such as \"90s\" or \"5m\"");
	return 0;
}

static int fill_helo(const struct confparse_section *section, struct relay_config *relay)
{
	const char *helo = cfg_getstr(section->cfg, "helo");
	const char *fault = helo ? confvalue_helo(helo) : NULL;

	if (fault)
		return fail_value(section, "helo", 0, fault);
	return copy_value(section, "helo", &relay->helo);
}

/* How many sessions there may be, and what each of them may have under way. */
static int fill_load(const struct confparse_section *section, struct relay_config *relay)
{
	static const char *const chunking[] = {"never", "auto", NULL};
	unsigned chosen = 0;

	if (fill_number(section, "connections", CONNECTIONS_MAX,
		"must be a number from 1 to 100, without leading zeros", &relay->connections) ||
	    fill_number(section, "pipeline", PIPELINE_MAX,
		"must be a number from 1 to 1000, without leading zeros", &relay->pipeline))
		return -1;
	if (choose(section, "chunking", chunking, &chosen))
		return -1;
	relay->chunking = chosen == 1;
	return 0;
}

static int fill_relay(const struct confparse_section *section, struct relay_config *relay)
{
	struct confvalue_url url = {.smtps = false};

	relay->name = strdup(cfg_title(section->cfg));
	if (!relay->name)
		return confparse_fail_memory(section->parse);
	if (section->parse->use == CONFIG_SPOOL)
		return 0;
	if (check_values(section) || fill_url(section, relay, &url) ||
	    fill_tls(section, relay, url.smtps) || fill_helo(section, relay) ||
	    fill_files(section, relay) || fill_timeouts(section, &relay->timeout))
		return -1;
	if (fill_load(section, relay))
		return -1;
	return fill_login(section, relay, url.host);
}

static int fill_relays(const struct confparse *parse, struct config *config)
{
	size_t i;

	if (parse->relays == 0 && parse->use == CONFIG_SEND)
		return confparse_fail(parse, 0,
		    "no relay to send to; add a section such as relay \"main\" { url = "
		    "\"smtp://smtp.example.com:587\" }");
	config->relay = calloc(parse->relays + 1, sizeof *config->relay);
	if (!config->relay)
		return confparse_fail_memory(parse);
	for (i = 0; i < parse->relays; i++) {
		struct confparse_section section = confparse_relay(parse, i);

		config->relay_count++;
		if (fill_relay(&section, &config->relay[i]))
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

static void free_relay(struct relay_config *relay)
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

void config_free(struct config *config)
{
	size_t i;

	for (i = 0; i < config->relay_count; i++)
		free_relay(&config->relay[i]);
	free(config->relay);
	free_notify(&config->notify);
	free(config->path);
	free(config->spool);
	free(config->domain);
	free(config->metrics_file);
	for (i = 0; config->alert_command && config->alert_command[i]; i++)
		free(config->alert_command[i]);
	free(config->alert_command);
	memset(config, 0, sizeof *config);
}
