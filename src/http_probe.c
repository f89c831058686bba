#include "http_probe.h"

#include <sysexits.h>

#include "advice.h"
#include "curltls.h"
#include "http_api.h"
#include "http_mask.h"
#include "http_transfer.h"

static int fail(struct error *err, const char *why, const char *advice)
{
	error_set(err, EX_TEMPFAIL, "%s%s%s", why, advice != NULL ? "\n" : "",
	    advice != NULL ? advice : "");
	return -1;
}

/* Without a request to try there is the connection at least. */
static CURLcode only_connect(struct http_transfer *transfer, const struct http_api *api)
{
	if (api->make_probe != NULL)
		return CURLE_OK;
	return curl_easy_setopt(transfer->easy, CURLOPT_CONNECT_ONLY, 1L);
}

static CURLcode perform(struct http_transfer *transfer, const struct relay_config *relay,
    const struct http_api *api, char *tls)
{
	const struct relay_timeouts *timeout = &relay->timeout;
	CURLcode code = http_transfer_begin(transfer, NULL, relay, NULL);

	if (code == CURLE_OK)
		code = only_connect(transfer, api);
	if (code == CURLE_OK)
		code = curltls_watch(transfer->easy, tls);
	if (code == CURLE_OK)
		code = curl_easy_setopt(
		    transfer->easy, CURLOPT_TIMEOUT, (long)(timeout->connect + timeout->dot));
	return code == CURLE_OK ? curl_easy_perform(transfer->easy) : code;
}

static int explain(const struct http_transfer *transfer, CURLcode code, struct error *err)
{
	const char *words = transfer->error[0] != '\0' ? transfer->error : curl_easy_strerror(code);
	long certificate = 0;

	if (curl_easy_getinfo(transfer->easy, CURLINFO_SSL_VERIFYRESULT, &certificate) != CURLE_OK)
		certificate = 0;
	return fail(err, words, advice_http(code, certificate, transfer->begun));
}

/* There is nothing to be learnt of a login without sending. */
static void tell_login(const struct credential *credential, FILE *out)
{
	if (credential->token != NULL)
		(void)fprintf(out, "  AUTH: there is a token; whether it may send shows when mail "
				   "is sent\n");
	else if (credential->password != NULL)
		(void)fprintf(out, "  AUTH: whether the password is right shows when mail is "
				   "sent\n");
	else
		(void)fprintf(out, "  AUTH: not used, no user is configured\n");
}

static int judge(const struct http_transfer *transfer, const struct http_api *api,
    const struct credential *credential, FILE *out, struct error *err)
{
	struct http_answer answer;
	struct http_result result;
	const char *advice;
	char why[REPLY_TEXT_MAX] = "";
	int status = 0;

	if (!http_transfer_answer(transfer, &answer))
		return fail(err, "the relay gave no answer", NULL);
	http_result_begin(&result, &answer);
	if (api->judge != NULL)
		api->judge(&result, &answer);
	http_result_end(&result, &answer);
	http_mask(credential, result.text);
	http_result_cut(&result);
	if (result.outcome == HTTP_DEFERRED)
		advice = "the provider has trouble, or wants less at a time: try again later";
	else
		advice = api->judge_probe(&answer, out, why, sizeof why);
	if (advice != NULL)
		status = fail(err, why[0] != '\0' ? why : result.text, advice);
	http_answer_free(&answer);
	return status;
}

static int probe(struct http_transfer *transfer, const struct relay_config *relay,
    const struct credential *credential, FILE *out, struct error *err)
{
	const struct http_api *api = http_api_of(relay->kind);
	char tls[CURLTLS_TEXT_MAX];
	CURLcode code;

	http_request_begin(&transfer->request);
	if (api->make_probe != NULL)
		api->make_probe(&transfer->request, relay, credential);
	else
		http_request_url(&transfer->request, relay->endpoint, "");
	code = perform(transfer, relay, api, tls);
	if (code != CURLE_OK)
		return explain(transfer, code, err);
	curltls_tell(transfer->easy, tls, out);
	if (api->judge_probe != NULL)
		return judge(transfer, api, credential, out, err);
	tell_login(credential, out);
	return 0;
}

int http_probe(const struct relay_config *relay, const struct credential *credential, FILE *out,
    struct error *err)
{
	struct http_transfer transfer = {.easy = NULL};
	struct credential own;
	int result;

	if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
		error_set(err, EX_OSERR, "can't start libcurl: out of memory");
		return -1;
	}
	credential = http_api_credential(relay, credential, &own);
	result = probe(&transfer, relay, credential, out, err);
	http_transfer_end(&transfer, NULL);
	http_transfer_free(&transfer);
	curl_global_cleanup();
	return result;
}
