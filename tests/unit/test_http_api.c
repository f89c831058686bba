#include "letter.h"

#include "http_api.h"

#define FROM "X-Maildrain-From: <a@x>\n"
#define TO   "X-Maildrain-To: <b@x>\nX-Maildrain-To: <c@x>\nX-Maildrain-Done: <d@x> 250\n"

static const struct relay_config relay = {.endpoint = "https://api.example.com", .region = "eu-1"};

/* The request for TEXT by API. */
static void make(struct http_request *request, const struct http_api *api,
    const struct credential *credential, const char *text)
{
	struct message message;

	letter_load(&message, "1.M1P1Q1.h,A=2", text, strlen(text));
	http_request_begin(request);
	api->make(request, &relay, credential, &message);
	assert_false(request->failed);
	message_free(&message);
}

static const char *line(const struct http_request *request, const char *name)
{
	for (size_t i = 0; i < request->header_count; i++)
		if (strncmp(request->header[i], name, strlen(name)) == 0)
			return request->header[i];
	return "";
}

static void table(void **state)
{
	static const struct {
		enum relay_kind kind;
		unsigned recipients;
		uint64_t size;
	} cases[] = {
	    {RELAY_SMTP, 0, 0},
	    {RELAY_MAILDIR, 0, 0},
	    {RELAY_HTTP, 50, 0},
	    {RELAY_SES, 50, 30000000},
	    {RELAY_MAILGUN, 1000, 26214400},
	    {RELAY_GMAIL, 500, 36700160},
	    {RELAY_GRAPH, 500, 3000000},
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		const struct relay_config one = {.kind = cases[i].kind};
		const struct http_limits limits = http_api_limits(&one);

		assert_int_equal(limits.recipients, cases[i].recipients);
		assert_int_equal(limits.size, cases[i].size);
		assert_int_equal(http_api_of(cases[i].kind) != NULL, cases[i].recipients != 0);
	}
}

static void own_endpoint(void **state)
{
	const struct credential token = {.token = "t"};
	struct http_request request = {.failed = false};

	(void)state;
	make(&request, &http_post, &token, FROM TO "A: b\n\nx\n");
	assert_string_equal(request.url, "https://api.example.com");
	assert_string_equal(request.token, "t");
	assert_string_equal(line(&request, "X-Envelope-From"), "X-Envelope-From: <a@x>");
	assert_string_equal(line(&request, "X-Envelope-To"), "X-Envelope-To: <b@x>");
	assert_int_equal(request.header_count, 5);
	assert_memory_equal(line(&request, "Idem"), "Idempotency-Key: 1.M1P1Q1.h-", 28);
	make(&request, &http_post, &token, FROM "X-Maildrain-To: <b@x>\nA: b\n\nx\n");
	assert_string_equal(line(&request, "Idem"), "Idempotency-Key: 1.M1P1Q1.h");
	http_request_free(&request);
}

static void ses(void **state)
{
	const struct credential keys = {.user = "id", .password = "s", .session_token = "st"};
	struct http_request request = {.failed = false};

	(void)state;
	make(&request, &http_ses, &keys, FROM TO "A: b\n\nx\n");
	assert_string_equal(request.url, "https://api.example.com/v2/email/outbound-emails");
	assert_string_equal(request.sign, "aws:amz:eu-1:ses");
	assert_string_equal(line(&request, "X-Amz"), "X-Amz-Security-Token: st");
	assert_non_null(strstr(request.before, "\"ToAddresses\":[\"b@x\",\"c@x\"]"));
	assert_non_null(strstr(request.before, "\"FromEmailAddress\":\"a@x\""));
	assert_true(request.base64);
	make(&request, &http_ses, &keys, "X-Maildrain-From: <>\n" TO "A: b\n\nx\n");
	assert_null(strstr(request.before, "FromEmailAddress"));
	http_request_free(&request);
}

static void mailgun(void **state)
{
	const struct credential key = {.user = "api", .password = "k"};
	struct http_request request = {.failed = false};

	(void)state;
	make(&request, &http_mailgun, &key, FROM TO "A: b\n\nx\n");
	assert_string_equal(request.url, "https://api.example.com/messages.mime");
	assert_string_equal(request.user, "api");
	assert_string_equal(request.recipients, "to");
	assert_string_equal(request.part, "message");
	http_request_free(&request);
}

static void gmail_and_graph(void **state)
{
	const struct credential mine = {.token = "t"};
	const struct credential other = {.token = "t", .user = "u@x"};
	struct http_request request = {.failed = false};

	(void)state;
	make(&request, &http_gmail, &mine, FROM TO "A: b\n\nx\n");
	assert_string_equal(request.url,
	    "https://api.example.com/upload/gmail/v1/users/me/messages/send?uploadType=media");
	make(&request, &http_graph, &mine, FROM TO "A: b\n\nx\n");
	assert_string_equal(request.url, "https://api.example.com/v1.0/me/sendMail");
	make(&request, &http_graph, &other, FROM TO "A: b\n\nx\n");
	assert_string_equal(request.url, "https://api.example.com/v1.0/users/u%40x/sendMail");
	assert_string_equal(request.token, "t");
	assert_true(request.base64);
	http_request_free(&request);
}

/* Whom the header names: what is put in front, or who must not get it. */
static void named(void **state)
{
	static const struct {
		const char *header;
		const char *front;
		const char *refused; /* a part of the words; NULL: it is not */
	} cases[] = {
	    {"To: b@x, C@X\n", "", NULL},
	    {"To: b@x\nCc: <c@x>\n", "", NULL},
	    {"To: b@x\n", "Bcc: <c@x>\r\n", NULL},
	    {"tO :\n \"B\" (x) <b@x>\n", "Bcc: <c@x>\r\n", NULL},
	    {"Subject: d@x\n", "Bcc: <b@x>,\r\n <c@x>\r\n", NULL},
	    {"To: g: b@x, b@x;\n", "Bcc: <c@x>\r\n", NULL},
	    {"To: b@x\nBcc: z@x\n", "Bcc: <c@x>\r\n", NULL},
	    {"Reply-To: z@x\nResent-To: z@x\nTo: b@x\n", "Bcc: <c@x>\r\n", NULL},
	    {"To: b@x, d@x\n", "", "d@x is not to get it now"},
	    {"To: b@x\nTo: z@x\n", "", "z@x is not to get it now"},
	    {"Cc: root\n", "", "root is not to get it now"},
	    {"To: <>\n", "", "is not to get it now"},
	    {"To: b@x, <c@x\n", "", "can't be read"},
	};
	const struct credential mine = {.token = "t"};
	struct http_request request = {.failed = false};
	char text[512];

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		(void)snprintf(
		    text, sizeof text, FROM TO "A: b\n%s\nx: y\nTo: q@x\n", cases[i].header);
		make(&request, &http_gmail, &mine, text);
		assert_string_equal(request.front, cases[i].front);
		assert_string_equal(request.status, cases[i].refused != NULL ? "5.3.3" : "");
		if (cases[i].refused != NULL)
			assert_non_null(strstr(request.text, cases[i].refused));
	}
	http_request_free(&request);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(table),
	    cmocka_unit_test(own_endpoint),
	    cmocka_unit_test(ses),
	    cmocka_unit_test(mailgun),
	    cmocka_unit_test(gmail_and_graph),
	    cmocka_unit_test(named),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
