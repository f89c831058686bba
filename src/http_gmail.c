/* The Gmail API: users.messages.send, with the message as upload. */
#include "http_api.h"

#include <string.h>

#include "http_named.h"

static void make(struct http_request *request, const struct relay_config *relay,
    const struct credential *credential, const struct message *message)
{
	const char *user = "me";

	if (credential->user != NULL)
		user = http_request_escaped(request, credential->user, strlen(credential->user));
	http_request_url(request, relay->endpoint,
	    http_request_text(
		request, "/upload/gmail/v1/users/%s/messages/send?uploadType=media", user));
	http_request_header(request, "Content-Type: message/rfc822");
	request->token = credential->token;
	http_named(request, message, "the Gmail API");
}

static bool ends_with(const char *text, const char *end)
{
	const size_t len = strlen(text);

	return len >= strlen(end) && strcmp(text + len - strlen(end), end) == 0;
}

/* With code 403 it refuses who we are, and also who sends too much. */
static void judge(struct http_result *result, const struct http_answer *answer)
{
	const char *reason = http_json_text(answer->json, "error.errors.reason");

	if (answer->code == 403 && reason != NULL && ends_with(reason, "imitExceeded"))
		http_result_set(result, HTTP_DEFERRED, HTTP_SLOW_DOWN);
}

const struct http_api http_gmail = {
    .limits = {.recipients = 500, .size = UINT64_C(35) << 20},
    .make = make,
    .judge = judge,
};
