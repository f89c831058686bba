/* config: a whole configuration, as config_load gets it from a file. libconfuse takes part. */
#include <stdio.h>
#include <sys/mman.h>
#include <sysexits.h>
#include <unistd.h>

#include "config.h"
#include "fuzz.h"
#include "units.h"

static void check_retry(const struct retry *retry)
{
	assert(retry->count >= 1 && retry->count <= RETRY_DELAYS_MAX);
	for (size_t i = 0; i < retry->count; i++)
		assert(retry->delay[i] >= 1 && retry->delay[i] <= UNITS_DURATION_MAX);
}

static void check_timeouts(const struct relay_timeouts *timeout)
{
	const int64_t all[] = {timeout->connect, timeout->greeting, timeout->command, timeout->data,
	    timeout->block, timeout->dot};

	for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
		assert(all[i] >= 1 && all[i] <= 3600);
}

/* What is handed to libcurl as it is. */
static void check_address(const struct relay_config *relay)
{
	if (relay->kind == RELAY_SMTP)
		assert(strncmp(relay->url, "smtp", 4) == 0);
	if (relay->path != NULL)
		assert(relay->path[0] == '/' && relay->path[1] != '\0' && relay->path[1] != '/');
	else
		assert(strpbrk(relay->url, "\r\n\"\\ ") == NULL);
	if (relay->endpoint != NULL)
		assert(strncmp(relay->endpoint, "http", 4) == 0);
	assert((relay->endpoint != NULL) == (relay->kind >= RELAY_HTTP));
	assert((relay->region != NULL) == (relay->kind == RELAY_SES));
}

static void check_login(const struct relay_config *relay)
{
	assert(relay->password == NULL && relay->session_token == NULL);
	if (relay->kind == RELAY_SMTP)
		assert(relay->user != NULL || relay->token_command == NULL);
	assert((relay->auth != RELAY_AUTH_PASSWORD) ==
	       (relay->kind == RELAY_SMTP && relay->token_command != NULL));
	if (relay->kind == RELAY_LMTP || relay->kind == RELAY_COMMAND ||
	    relay->kind == RELAY_MAILDIR)
		assert(relay->user == NULL && relay->password_command == NULL);
}

static void check_relay(const struct relay_config *relay)
{
	assert(relay->name != NULL && relay->name[0] != '\0' && strlen(relay->name) <= 32);
	check_address(relay);
	check_login(relay);
	assert(relay->connections >= 1 && relay->connections <= 100);
	assert(relay->weight >= 1 && relay->weight <= 1000);
	assert(relay->rate.count == 0 || relay->rate.seconds <= 3600);
	assert(relay->quota.count == 0 || relay->quota.seconds == 86400);
	assert(relay->tls <= RELAY_TLS_NONE && relay->tls_min <= RELAY_TLS_1_3);
	if (relay->helo != NULL)
		assert(strpbrk(relay->helo, "\r\n <>") == NULL && relay->helo[0] != '\0');
	if (relay->ca_file != NULL)
		assert(relay->ca_file[0] == '/');
	check_timeouts(&relay->timeout);
}

/* Each relay is there once at most, and no rank is empty. */
static void check_ranks(const struct route_ranks *ranks, size_t relays)
{
	bool seen[CONFIG_RELAYS_MAX] = {false};

	for (size_t i = 0; i < ranks->count; i++) {
		assert(ranks->rank[i].count > 0);
		for (size_t j = 0; j < ranks->rank[i].count; j++) {
			const size_t relay = ranks->rank[i].relay[j];

			assert(relay < relays && !seen[relay]);
			seen[relay] = true;
		}
	}
}

static void check_routes(const struct config *config)
{
	assert(config->route_count <= CONFIG_ROUTES_MAX);
	assert(config->every.count == config->relay_count);
	check_ranks(&config->every, config->relay_count);
	for (size_t i = 0; i < config->relay_count; i++)
		assert(config->alone[i].count == 1 && config->alone[i].rank[0].count == 1 &&
		       config->alone[i].rank[0].relay[0] == i);
	for (size_t i = 0; i < config->route_count; i++) {
		assert(config->route[i].ranks.count > 0);
		check_ranks(&config->route[i].ranks, config->relay_count);
	}
}

static void check_config(const struct config *config)
{
	assert(config->spool[0] == '/' && config->spool[strspn(config->spool, "/")] != '\0');
	assert(config->keep_sent >= 0 && config->keep_sent <= UNITS_DURATION_MAX);
	assert(config->relay_count <= CONFIG_RELAYS_MAX);
	check_retry(&config->retry);
	check_routes(config);
	for (size_t i = 0; i < config->relay_count; i++) {
		check_relay(&config->relay[i]);
		for (size_t j = 0; j < i; j++)
			assert(strcmp(config->relay[i].name, config->relay[j].name) != 0);
	}
}

/* A fault names the file; nothing that is not shown as it is gets into it. */
static void check_error(const struct error *err, const char *path)
{
	assert(err->status == EX_CONFIG && strncmp(err->text, path, strlen(path)) == 0);
	for (const char *at = err->text; *at != '\0'; at++)
		assert((unsigned char)*at >= ' ' && *at != 0x7f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const int fd = memfd_create("config", MFD_CLOEXEC);
	char path[64];
	struct config config;
	struct error err = {.status = 0};

	assert(fd != -1 && write(fd, data, size) == (ssize_t)size);
	(void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	/* Files that a relay names are looked at by CONFIG_SEND only: not for a fuzzer to choose.
	 */
	if (config_load(path, CONFIG_INSPECT, &config, &err) == 0)
		check_config(&config);
	else
		check_error(&err, path);
	config_free(&config);
	(void)close(fd);
	return 0;
}
