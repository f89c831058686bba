/* Mailgun: messages.mime of its API version 3. */
#include "http_api.h"

#include <string.h>

static void log_in(struct http_request *request, const struct relay_config *relay,
    const struct credential *credential)
{
	http_request_url(request, relay->endpoint, "/messages.mime");
	request->user = credential->user != NULL ? credential->user : "api";
	request->password = credential->password;
}

static void make(struct http_request *request, const struct relay_config *relay,
    const struct credential *credential, const struct message *message)
{
	(void)message;
	log_in(request, relay, credential);
	request->recipients = "to";
	request->part = "message";
}

/*
 * A message without recipients, which is refused. A key that may only send is good for nothing
 * else, so there is no harmless GET.
 */
static void make_probe(struct http_request *request, const struct relay_config *relay,
    const struct credential *credential)
{
	log_in(request, relay, credential);
	request->post = true;
}

static const char *judge_probe(const struct http_answer *answer, FILE *out, char *why, size_t size)
{
	(void)why;
	(void)size;
	if (answer->code == 400) {
		(void)fprintf(out, "  AUTH: the key is good for this domain\n");
		return NULL;
	}
	if (answer->code == 404)
		return "see whether the domain at the end of url is one of the account;\n"
		       "those in Europe are at api.eu.mailgun.net";
	return "see whether password_file holds the API key, or the domain's sending key;\n"
	       "keys of Europe are for api.eu.mailgun.net";
}

const struct http_api http_mailgun = {
    .limits = {.recipients = 1000, .size = UINT64_C(25) << 20},
    .make = make,
    .make_probe = make_probe,
    .judge_probe = judge_probe,
};
