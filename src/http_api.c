#include "http_api.h"

#include <stddef.h>

const struct http_api *http_api_of(enum relay_kind kind)
{
	switch (kind) {
	case RELAY_HTTP:
		return &http_post;
	case RELAY_SES:
		return &http_ses;
	case RELAY_MAILGUN:
		return &http_mailgun;
	case RELAY_GMAIL:
		return &http_gmail;
	case RELAY_GRAPH:
		return &http_graph;
	default:
		return NULL;
	}
}

struct http_limits http_api_limits(const struct relay_config *relay)
{
	const struct http_api *api = http_api_of(relay->kind);

	return api != NULL ? api->limits : (struct http_limits){.recipients = 0};
}

const struct credential *http_api_credential(
    const struct relay_config *relay, const struct credential *credential, struct credential *own)
{
	if (credential != NULL)
		return credential;
	*own = (struct credential){.user = relay->user,
	    .password = relay->password,
	    .session_token = relay->session_token};
	return own;
}
