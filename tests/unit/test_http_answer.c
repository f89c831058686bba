#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "http_answer.h"

static struct http_result read_answer(long code, const char *body, const char *error)
{
	struct http_answer answer = {.code = code,
	    .body = body,
	    .len = strlen(body),
	    .json = json_loads(body, 0, NULL),
	    .error = error,
	    .id = "id-7",
	    .location = "https://example.com/x"};
	struct http_result result;

	http_result_begin(&result, &answer);
	http_result_end(&result, &answer);
	json_decref(answer.json);
	return result;
}

static void codes(void **state)
{
	static const struct {
		long code;
		enum http_outcome outcome;
		const char *status;
		bool slow_down;
	} cases[] = {
	    {200, HTTP_SENT, "2.0.0", false},
	    {202, HTTP_SENT, "2.0.0", false},
	    {299, HTTP_SENT, "2.0.0", false},
	    {301, HTTP_RELAY_FAULT, "4.3.5", false},
	    {308, HTTP_RELAY_FAULT, "4.3.5", false},
	    {400, HTTP_FAILED, "5.0.0", false},
	    {401, HTTP_RELAY_FAULT, "4.3.5", false},
	    {403, HTTP_RELAY_FAULT, "4.3.5", false},
	    {404, HTTP_RELAY_FAULT, "4.3.5", false},
	    {408, HTTP_DEFERRED, "4.0.0", false},
	    {409, HTTP_DEFERRED, "4.0.0", false},
	    {413, HTTP_FAILED, "5.3.4", false},
	    {422, HTTP_FAILED, "5.0.0", false},
	    {429, HTTP_DEFERRED, "4.4.5", true},
	    {499, HTTP_FAILED, "5.0.0", false},
	    {500, HTTP_DEFERRED, "4.0.0", false},
	    {503, HTTP_DEFERRED, "4.4.5", true},
	    {599, HTTP_DEFERRED, "4.0.0", false},
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		const struct http_result result = read_answer(cases[i].code, "", "");

		assert_int_equal(result.outcome, cases[i].outcome);
		assert_string_equal(result.status, cases[i].status);
		assert_int_equal(result.slow_down, cases[i].slow_down);
		assert_false(result.refuses_sender);
	}
}

static void check_text(long code, const char *body, const char *error, const char *text)
{
	struct http_result result = read_answer(code, body, error);

	http_result_cut(&result);
	assert_string_equal(result.text, text);
}

static void words_of_refusals(void **state)
{
	(void)state;
	check_text(400, "{\"message\": \"a b\"}", "", "400 5.0.0 a b");
	check_text(400, "{\"Message\": \"a\"}", "", "400 5.0.0 a");
	check_text(400, "{\"error\": {\"code\": \"E\", \"message\": \"m\"}}", "", "400 5.0.0 E: m");
	check_text(400, "{\"error\": {\"code\": 400, \"message\": \"m\"}}", "", "400 5.0.0 m");
	check_text(400, "{\"error\": \"bad\"}", "", "400 5.0.0 bad");
	check_text(400, "{\"errors\": [{\"message\": \"first\"}, {}]}", "", "400 5.0.0 first");
	check_text(400, "{\"title\": \"t\", \"detail\": \"d\"}", "", "400 5.0.0 d");
	check_text(400, "{\"message\": \"\", \"title\": \"t\"}", "", "400 5.0.0 t");
	check_text(400, "{\"message\": {\"no\": 1}}", "", "400 5.0.0 it gives no reason");
	check_text(400, "[]", "", "400 5.0.0 it gives no reason");
	check_text(500, " \r\n plain\t text \n", "", "500 4.0.0 plain text");
	check_text(500, " <!doctype html>", "", "500 4.0.0 it gives no reason");
	check_text(500, "", "", "500 4.0.0 it gives no reason");
	check_text(301, "", "", "301 4.3.5 it redirects to https://example.com/x");
	check_text(400, "{\"message\": \"m\"}", "Name:http://x/", "400 5.0.0 Name: m");
	check_text(
	    400, "{\"message\": \"m\", \"__type\": \"com.amazon#Name\"}", "", "400 5.0.0 Name: m");
}

static void words_of_success(void **state)
{
	(void)state;
	check_text(200, "{\"message\": \"Queued\", \"id\": \"<7>\"}", "", "200 Queued <7>");
	check_text(200, "{\"MessageId\": \"0-1\"}", "", "200 0-1");
	check_text(200, "{\"id\": 12}", "", "200 id-7");
	check_text(202, "", "", "202 id-7");
	check_text(200, "ok 12", "", "200 ok 12");
	check_text(200, "<p>", "", "200 id-7");
}

static void nothing_that_a_terminal_obeys(void **state)
{
	(void)state;
	check_text(400, "a\x1b[31m\x7f\xc2\x9b\xff\x01z", "", "400 5.0.0 a?[31m?\?\?\?\?z");
	check_text(
	    400, "{\"message\": \"l1\\r\\nl2\\u0085\\u202ex\"}", "", "400 5.0.0 l1 l2??\?\?\?x");
}

static void long_words_are_cut_at_a_character(void **state)
{
	char body[2048];
	struct http_result result;

	(void)state;
	for (size_t lead = 0; lead < 3; lead++) {
		memset(body, 'a', lead);
		for (size_t i = lead; i + 3 < sizeof body; i += 3)
			memcpy(body + i, "\xe2\x82\xac", 4);
		result = read_answer(400, body, "");
		http_result_cut(&result);
		assert_in_range(strlen(result.text), REPLY_TEXT_MAX - 6, REPLY_TEXT_MAX - 1);
		assert_int_equal((strlen(result.text) - strlen("400 5.0.0 ") - lead) % 3, 0);
	}
}

static void texts_in_json(void **state)
{
	json_t *json =
	    json_loads("{\"a\": {\"b\": [{\"c\": \"x\"}]}, \"n\": 1, \"s\": \"y\"}", 0, NULL);

	(void)state;
	assert_string_equal(http_json_text(json, "a.b.c"), "x");
	assert_string_equal(http_json_text(json, "s"), "y");
	assert_null(http_json_text(json, "n"));
	assert_null(http_json_text(json, "a"));
	assert_null(http_json_text(json, "s.t"));
	assert_null(http_json_text(json, "a.b.d"));
	assert_null(http_json_text(NULL, "a"));
	json_decref(json);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(codes),
	    cmocka_unit_test(words_of_refusals),
	    cmocka_unit_test(words_of_success),
	    cmocka_unit_test(nothing_that_a_terminal_obeys),
	    cmocka_unit_test(long_words_are_cut_at_a_character),
	    cmocka_unit_test(texts_in_json),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
