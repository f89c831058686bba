/* Amazon SES, API version 2: SendEmail with a raw message. */
#include "http_api.h"

#include <stdlib.h>
#include <string.h>

static void sign(struct http_request *request, const struct relay_config *relay,
    const struct credential *credential)
{
	request->sign = http_request_text(request, "aws:amz:%s:ses", relay->region);
	request->user = credential->user;
	request->password = credential->password;
	if (credential->session_token != NULL)
		http_request_header(request, "X-Amz-Security-Token: %s", credential->session_token);
}

/* Of the request in JSON, all but the message; NULL without memory. */
static json_t *describe(const struct envelope *envelope)
{
	json_t *to = json_array();
	json_t *all = json_pack("{s:{s:O}}", "Destination", "ToAddresses", to);

	for (size_t i = 0; i < envelope->count; i++)
		if (envelope->recipient[i].state == RECIPIENT_TODO &&
		    json_array_append_new(to, json_string(envelope->recipient[i].address)) == -1) {
			json_decref(all);
			all = NULL;
			break;
		}
	json_decref(to);
	/* SES knows no null sender: it takes the one in From. */
	if (all != NULL && envelope->sender[0] != '\0' &&
	    json_object_set_new(all, "FromEmailAddress", json_string(envelope->sender)) == -1) {
		json_decref(all);
		all = NULL;
	}
	return all;
}

static void make(struct http_request *request, const struct relay_config *relay,
    const struct credential *credential, const struct message *message)
{
	json_t *all = describe(&message->envelope);
	char *text = all != NULL ? json_dumps(all, JSON_COMPACT) : NULL;

	json_decref(all);
	if (text == NULL) {
		request->failed = true;
		return;
	}
	http_request_url(request, relay->endpoint, "/v2/email/outbound-emails");
	http_request_header(request, "Content-Type: application/json");
	sign(request, relay, credential);
	/* The message goes into the object before its last brace. */
	request->before = http_request_text(
	    request, "%.*s,\"Content\":{\"Raw\":{\"Data\":\"", (int)strlen(text) - 1, text);
	request->base64 = true;
	request->after = "\"}}}";
	free(text);
}

/*
 * The names of errors, "Common Errors" and SendEmail in the API reference. Most come with code 400,
 * whoever is at fault.
 */
static const struct {
	const char *name;
	const char *status;
	enum http_outcome outcome;
} errors[] = {
    {"Throttling", HTTP_SLOW_DOWN, HTTP_DEFERRED},
    {"ThrottlingException", HTTP_SLOW_DOWN, HTTP_DEFERRED},
    {"TooManyRequestsException", HTTP_SLOW_DOWN, HTTP_DEFERRED},
    {"LimitExceededException", HTTP_SLOW_DOWN, HTTP_DEFERRED},
    {"RequestTimeout", "4.0.0", HTTP_DEFERRED},
    {"ServiceUnavailable", HTTP_SLOW_DOWN, HTTP_DEFERRED},
    {"AccountSuspendedException", "4.3.5", HTTP_RELAY_FAULT},
    {"SendingPausedException", "4.3.5", HTTP_RELAY_FAULT},
    {"AccountSendingPausedException", "4.3.5", HTTP_RELAY_FAULT},
    {"ConfigurationSetSendingPausedException", "4.3.5", HTTP_RELAY_FAULT},
    {"MailFromDomainNotVerifiedException", "4.3.5", HTTP_RELAY_FAULT},
    {"ExpiredTokenException", "4.3.5", HTTP_RELAY_FAULT},
    {"IncompleteSignature", "4.3.5", HTTP_RELAY_FAULT},
    {"IncompleteSignatureException", "4.3.5", HTTP_RELAY_FAULT},
    {"InvalidSignatureException", "4.3.5", HTTP_RELAY_FAULT},
    {"MissingAuthenticationTokenException", "4.3.5", HTTP_RELAY_FAULT},
    {"OptInRequired", "4.3.5", HTTP_RELAY_FAULT},
    {"RequestExpired", "4.3.5", HTTP_RELAY_FAULT},
    {"UnrecognizedClientException", "4.3.5", HTTP_RELAY_FAULT},
};

/* An account in the sandbox, or an address that nobody has verified: so for all of its mail. */
static bool is_unverified(const struct http_answer *answer)
{
	const char *words = http_json_text(answer->json, "message");

	return words != NULL && strstr(words, "not verified") != NULL;
}

static void judge(struct http_result *result, const struct http_answer *answer)
{
	for (size_t i = 0; i < sizeof errors / sizeof errors[0]; i++)
		if (strcmp(result->name, errors[i].name) == 0)
			http_result_set(result, errors[i].outcome, errors[i].status);
	if (strcmp(result->name, "MessageRejected") == 0) {
		http_result_set(result, HTTP_FAILED, "5.0.0");
		result->refuses_sender = is_unverified(answer);
	}
}

static void make_probe(struct http_request *request, const struct relay_config *relay,
    const struct credential *credential)
{
	http_request_url(request, relay->endpoint, "/v2/email/account");
	sign(request, relay, credential);
}

static double number(const json_t *json, const char *key)
{
	return json_number_value(json_object_get(json_object_get(json, "SendQuota"), key));
}

static const char *tell_account(const json_t *json, FILE *out, char *why, size_t size)
{
	if (json_is_false(json_object_get(json, "SendingEnabled"))) {
		(void)snprintf(why, size, "SES has paused the sending of this account");
		return "see the account dashboard of SES for the reason";
	}
	(void)fprintf(out, "  quota: %.0f in 24 hours, of which %.0f are used; %.0f a second\n",
	    number(json, "Max24HourSend"), number(json, "SentLast24Hours"),
	    number(json, "MaxSendRate"));
	if (json_is_false(json_object_get(json, "ProductionAccessEnabled")))
		(void)fprintf(out, "  note: the account is in the sandbox, and sends to verified "
				   "addresses only\n");
	return NULL;
}

static const char *judge_probe(const struct http_answer *answer, FILE *out, char *why, size_t size)
{
	/* Who may send need not see the account; the signature was checked before that. */
	if (strncmp(answer->error, "AccessDenied", 12) == 0) {
		(void)fprintf(out, "  AUTH: the key is good; it may not see the account "
				   "(ses:GetAccount)\n");
		return NULL;
	}
	if (answer->code != 200)
		return "see whether user is the id of an access key, and password_file its "
		       "secret;\n"
		       "url and region must be those of the account";
	(void)fprintf(out, "  AUTH: the key is good\n");
	return tell_account(answer->json, out, why, size);
}

/* Of base64, which it counts, 40 MB. */
const struct http_api http_ses = {
    .limits = {.recipients = 50, .size = 30000000},
    .make = make,
    .judge = judge,
    .make_probe = make_probe,
    .judge_probe = judge_probe,
};
