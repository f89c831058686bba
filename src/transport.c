#include "transport.h"

#include <dlfcn.h>
#include <string.h>
#include <sysexits.h>

static const struct transport_kind *load(const char *module, struct error *err)
{
	void *handle = dlopen(module, RTLD_NOW | RTLD_LOCAL);
	const struct transport_kind *kind = handle != NULL ? dlsym(handle, "transport_kind") : NULL;

	if (kind == NULL) {
		error_set(err, EX_UNAVAILABLE, "can't load the module %s: %s; reinstall maildrain",
		    module, dlerror());
		return NULL;
	}
	if (strcmp(kind->made_for, MAILDRAIN_VERSION) == 0)
		return kind;
	error_set(err, EX_UNAVAILABLE,
	    "the module %s is of maildrain %s, and this is %s; unless an upgrade is under way, "
	    "reinstall maildrain",
	    module, kind->made_for, MAILDRAIN_VERSION);
	return NULL;
}

const struct transport_kind *transport_load(const struct relay_config *relay, struct error *err)
{
	switch (relay->kind) {
	case RELAY_COMMAND:
		return &transport_command;
	case RELAY_MAILDIR:
		return &transport_maildir;
	case RELAY_HTTP:
	case RELAY_SES:
	case RELAY_MAILGUN:
	case RELAY_GMAIL:
	case RELAY_GRAPH:
		return load("http.so", err);
	case RELAY_SMTP:
	case RELAY_LMTP:
		break;
	}
	return load("smtp.so", err);
}

const char *transport_version(void)
{
	struct error err;
	const struct transport_kind *kind = load("smtp.so", &err);

	return kind != NULL ? kind->version() : "libcurl: the module smtp.so is missing";
}
