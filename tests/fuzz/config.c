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

static void check_relay(const struct relay_config *relay)
{
	assert(relay->name != NULL && relay->name[0] != '\0' && strlen(relay->name) <= 32);
	assert(strncmp(relay->url, "smtp://", 7) == 0 || strncmp(relay->url, "smtps://", 8) == 0);
	assert(strchr(relay->url, '@') == NULL && strpbrk(relay->url, "\r\n\"\\ ") == NULL);
	assert(relay->connections >= 1 && relay->connections <= 100);
	assert(relay->password == NULL);
	assert(relay->tls <= RELAY_TLS_NONE && relay->tls_min <= RELAY_TLS_1_3);
	if (relay->helo != NULL)
		assert(strpbrk(relay->helo, "\r\n <>") == NULL && relay->helo[0] != '\0');
	if (relay->ca_file != NULL)
		assert(relay->ca_file[0] == '/');
	check_timeouts(&relay->timeout);
}

static void check_config(const struct config *config)
{
	assert(config->spool[0] == '/' && config->spool[strspn(config->spool, "/")] != '\0');
	assert(config->keep_sent >= 0 && config->keep_sent <= UNITS_DURATION_MAX);
	assert(config->relay_count <= CONFIG_RELAYS_MAX);
	check_retry(&config->retry);
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
