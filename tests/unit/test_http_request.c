#include "letter.h"

#include <stdio.h>

#include "base64.h"
#include "http_request.h"

#define TEXT_MAX 20000

static void texts(void **state)
{
	struct http_request request = {.failed = false};

	(void)state;
	http_request_begin(&request);
	http_request_url(&request, "https://example.com/", "/v1/x");
	assert_string_equal(request.url, "https://example.com/v1/x");
	http_request_url(&request, "https://example.com/a/", "");
	assert_string_equal(request.url, "https://example.com/a/");
	assert_string_equal(http_request_escaped(&request, "a-._~Z9", 7), "a-._~Z9");
	assert_string_equal(
	    http_request_escaped(&request, "a/b@c \xc3\xa9%\0", 10), "a%2Fb%40c%20%C3%A9%25%00");
	http_request_header(&request, "A: %d", 7);
	assert_int_equal(request.header_count, 1);
	assert_string_equal(request.header[0], "A: 7");
	for (size_t i = 1; i < HTTP_HEADERS_MAX; i++)
		http_request_header(&request, "A: b");
	assert_false(request.failed);
	http_request_header(&request, "one: too many");
	assert_true(request.failed);
	http_request_begin(&request);
	assert_false(request.failed);
	assert_int_equal(request.header_count, 0);
	http_request_free(&request);
}

static void lines_are_cleared(void **state)
{
	struct http_request request = {.failed = false};
	const char *line;

	(void)state;
	http_request_begin(&request);
	http_request_header(&request, "X-Amz-Security-Token: %s", "hush");
	line = request.header[0];
	http_request_begin(&request);
	for (size_t i = 0; i < strlen("X-Amz-Security-Token: hush"); i++)
		assert_int_equal(line[i], '\0');
	http_request_free(&request);
}

/* Reads the whole body in pieces of SIZE bytes at most; its length. */
static size_t read_all(struct http_body *body, char *out, size_t size)
{
	size_t len = 0;
	ssize_t n;

	while ((n = http_body_read(body, out + len, size)) > 0) {
		assert_true((size_t)n <= size);
		assert_false(http_body_is_given(body) && len + (size_t)n < body->size);
		len += (size_t)n;
		assert_true(len < TEXT_MAX);
	}
	assert_int_equal(n, 0);
	assert_true(http_body_is_given(body));
	assert_int_equal(len, body->size);
	return len;
}

/* What the body must be: BEFORE, FRONT and WIRE as they are or in base64, AFTER. */
static size_t expect(const struct http_request *request, const char *wire, size_t len, char *out)
{
	char inner[TEXT_MAX];
	const size_t front = strlen(request->front);
	size_t end = strlen(request->before);

	memcpy(out, request->before, end);
	memcpy(inner, request->front, front);
	memcpy(inner + front, wire, len);
	if (request->base64)
		end += base64_encode(inner, front + len, out + end);
	else {
		memcpy(out + end, inner, front + len);
		end += front + len;
	}
	memcpy(out + end, request->after, strlen(request->after));
	return end + strlen(request->after);
}

/* A message with BODY_LEN bytes behind its header, read in pieces of SIZE. */
static void check_body(const struct http_request *request, size_t body_len, size_t size)
{
	static const char head[] = "X-Maildrain-From: <a@x>\nX-Maildrain-To: <b@x>\nA: b\n\n.";
	static const char wire_head[] = "A: b\r\n\r\n.";
	char text[TEXT_MAX / 2];
	char wire[TEXT_MAX / 2];
	char wanted[TEXT_MAX];
	char got[TEXT_MAX];
	size_t len = sizeof wire_head - 1;
	struct message message;
	struct http_body body;

	(void)snprintf(text, sizeof text, "%s", head);
	memcpy(wire, wire_head, len);
	for (size_t i = 0; i < body_len; i++) {
		text[sizeof head - 1 + i] = (char)('a' + i % 26);
		wire[len++] = (char)('a' + i % 26);
	}
	memcpy(wire + len, "\r\n", 2);
	len = expect(request, wire, len + 2, wanted);
	letter_load(&message, "1.M1P1Q1.h", text, sizeof head - 1 + body_len);
	http_body_begin(&body, request, &message);
	assert_int_equal(body.size, len);
	assert_int_equal(read_all(&body, got, size), len);
	assert_memory_equal(got, wanted, len);
	message_free(&message);
}

static void bodies(void **state)
{
	static const size_t sizes[] = {1, 2, 3, 5, 63, 64, 65, 100, 4096, TEXT_MAX};
	static const size_t lens[] = {0, 1, 2, 3, 4, 5, 60, 61, 62, 63, 64, 6140, 6141, 6142, 6143};
	static const struct http_request requests[] = {
	    {.before = "", .front = "", .after = ""},
	    {.before = "before", .front = "", .after = "after"},
	    {.before = "", .front = "B: c\r\n", .after = ""},
	    {.before = "", .front = "", .after = "", .base64 = true},
	    {.before = "{\"", .front = "B: cd\r\n", .after = "\"}", .base64 = true},
	};

	(void)state;
	for (size_t i = 0; i < sizeof requests / sizeof requests[0]; i++)
		for (size_t j = 0; j < sizeof lens / sizeof lens[0]; j++)
			for (size_t k = 0; k < sizeof sizes / sizeof sizes[0]; k++)
				check_body(&requests[i], lens[j], sizes[k]);
}

/* The file has another size than when it was measured: nothing is made up. */
static void file_that_changes(void **state)
{
	static const struct http_request request = {
	    .before = "", .front = "", .after = "", .base64 = true};
	char text[TEXT_MAX] = "From: a@x\nTo: b@x\n\n";
	char got[2 * TEXT_MAX];
	struct message message;
	struct http_body body;
	ssize_t n;

	(void)state;
	memset(text + strlen(text), 'x', 1000);
	letter_load(&message, "1.M1P1Q1.h", text, strlen(text));
	message.size.wire += 3;
	http_body_begin(&body, &request, &message);
	while ((n = http_body_read(&body, got, sizeof got)) > 0)
		assert_false(http_body_is_given(&body));
	assert_int_equal(n, -1);
	assert_true(body.broken);
	message_free(&message);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(texts),
	    cmocka_unit_test(lines_are_cleared),
	    cmocka_unit_test(bodies),
	    cmocka_unit_test(file_that_changes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
