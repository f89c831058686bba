/* Microsoft Graph: sendMail, with the message in MIME. */
#include "http_api.h"

#include <string.h>

#include "http_named.h"

static void make(struct http_request *request, const struct relay_config *relay,
    const struct credential *credential, const struct message *message)
{
	const char *user = "/v1.0/me";

	if (credential->user != NULL)
		user = http_request_text(request, "/v1.0/users/%s",
		    http_request_escaped(request, credential->user, strlen(credential->user)));
	http_request_url(request, relay->endpoint, http_request_text(request, "%s/sendMail", user));
	http_request_header(request, "Content-Type: text/plain");
	request->token = credential->token;
	request->base64 = true;
	http_named(request, message, "Microsoft Graph");
}

/* From names somebody in whose name this account may not send: another message's may do. */
static void judge(struct http_result *result, const struct http_answer *answer)
{
	(void)answer;
	if (strcmp(result->name, "ErrorSendAsDenied") == 0) {
		http_result_set(result, HTTP_FAILED, "5.7.1");
		result->refuses_sender = true;
	}
}

/* Of base64, which it counts, 4 MB. */
const struct http_api http_graph = {
    .limits = {.recipients = 500, .size = 3000000},
    .make = make,
    .judge = judge,
};
