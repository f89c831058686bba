#include "http_request.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base64.h"

#define RAW_MOST 6144 /* bytes that are encoded at a time; a multiple of 3 */

enum { PIECE_BEFORE, PIECE_FRONT, PIECE_MESSAGE, PIECE_AFTER, PIECE_END };

/* A line may hold a session token. */
static void clear_header(struct http_request *request)
{
	for (size_t i = 0; i < request->header_count; i++)
		explicit_bzero((char *)request->header[i], strlen(request->header[i]));
}

void http_request_begin(struct http_request *request)
{
	struct arena arena = request->arena;

	clear_header(request);
	arena_reset(&arena);
	*request = (struct http_request){.arena = arena, .before = "", .front = "", .after = ""};
}

void http_request_free(struct http_request *request)
{
	clear_header(request);
	arena_free(&request->arena);
	*request = (struct http_request){.failed = false};
}

static const char *print(struct http_request *request, const char *format, va_list args)
{
	va_list again;
	char *text = NULL;
	int len;

	va_copy(again, args);
	len = vsnprintf(NULL, 0, format, again);
	va_end(again);
	if (len >= 0)
		text = arena_alloc(&request->arena, (size_t)len + 1);
	if (text == NULL) {
		request->failed = true;
		return "";
	}
	(void)vsnprintf(text, (size_t)len + 1, format, args);
	return text;
}

const char *http_request_text(struct http_request *request, const char *format, ...)
{
	const char *text;
	va_list args;

	va_start(args, format);
	text = print(request, format, args);
	va_end(args);
	return text;
}

void http_request_header(struct http_request *request, const char *format, ...)
{
	va_list args;

	if (request->header_count == HTTP_HEADERS_MAX) {
		request->failed = true;
		return;
	}
	va_start(args, format);
	request->header[request->header_count++] = print(request, format, args);
	va_end(args);
}

/* RFC 3986 section 2.3. */
static bool is_unreserved(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       (c != '\0' && strchr("-._~", c) != NULL);
}

const char *http_request_escaped(struct http_request *request, const char *text, size_t len)
{
	static const char hex[] = "0123456789ABCDEF";
	char *out = arena_alloc(&request->arena, len * 3 + 1);
	char *end = out;

	if (out == NULL) {
		request->failed = true;
		return "";
	}
	for (size_t i = 0; i < len; i++) {
		const unsigned char byte = (unsigned char)text[i];

		if (is_unreserved(text[i])) {
			*end++ = text[i];
			continue;
		}
		*end++ = '%';
		*end++ = hex[byte >> 4];
		*end++ = hex[byte & 15];
	}
	*end = '\0';
	return out;
}

void http_request_url(struct http_request *request, const char *endpoint, const char *path)
{
	size_t len = strlen(endpoint);

	while (path[0] != '\0' && len > 0 && endpoint[len - 1] == '/')
		len--;
	request->url = http_request_text(request, "%.*s%s", (int)len, endpoint, path);
}

void http_request_refuse(struct http_request *request, const char *status, const char *format, ...)
{
	va_list args;

	(void)snprintf(request->status, sizeof request->status, "%s", status);
	va_start(args, format);
	(void)vsnprintf(request->text, sizeof request->text, format, args);
	va_end(args);
}

static uint64_t body_size(const struct http_request *request, const struct message *message)
{
	const uint64_t inner = strlen(request->front) + message->size.wire;

	return strlen(request->before) + (request->base64 ? BASE64_LEN(inner) : inner) +
	       strlen(request->after);
}

void http_body_begin(
    struct http_body *body, const struct http_request *request, struct message *message)
{
	*body = (struct http_body){.request = request, .message = message};
	body->size = body_size(request, message);
	/* The octets are counted, so no dot is doubled. */
	message->body.counted = true;
}

/* Goes to the next piece. */
static void pass(struct http_body *body)
{
	body->piece++;
	body->pos = 0;
}

/* The next bytes of TEXT; 0 at its end, and then the next piece is due. */
static size_t read_text(struct http_body *body, const char *text, char *out, size_t size)
{
	const size_t left = strlen(text + body->pos);
	const size_t len = left < size ? left : size;

	memcpy(out, text + body->pos, len);
	body->pos += len;
	if (len == left)
		pass(body);
	return len;
}

/* The next bytes of FRONT and the message; 0 at their end. */
static ssize_t read_inner(struct http_body *body, char *out, size_t size)
{
	ssize_t n = 0;

	while (n == 0 && body->piece == PIECE_FRONT)
		n = (ssize_t)read_text(body, body->request->front, out, size);
	if (n > 0)
		return n;
	n = message_read(body->message, out, size);
	if (n == -1)
		body->broken = true;
	return n;
}

/*
 * The same in base64. What is no multiple of 3 is carried on, so a piece may give nothing though
 * more is to come.
 */
static ssize_t read_encoded(struct http_body *body, char *out, size_t size)
{
	char raw[RAW_MOST + sizeof body->carried];
	size_t most = size / 4 * 3;
	size_t len = body->carried_len;
	size_t whole;
	ssize_t n;

	if (most > RAW_MOST)
		most = RAW_MOST;
	memcpy(raw, body->carried, len);
	n = read_inner(body, raw + len, most - len);
	if (n == -1)
		return -1;
	body->message_ended = n == 0;
	len += (size_t)n;
	whole = body->message_ended ? len : len / 3 * 3;
	body->carried_len = len - whole;
	memcpy(body->carried, raw + whole, body->carried_len);
	return (ssize_t)base64_encode(raw, whole, out);
}

static ssize_t read_message(struct http_body *body, char *out, size_t size)
{
	ssize_t n;

	if (!body->request->base64) {
		n = read_inner(body, out, size);
		body->message_ended = n == 0;
	} else
		n = read_encoded(body, out, size);
	if (body->message_ended)
		body->piece = PIECE_AFTER;
	return n;
}

/* The next bytes, up to SIZE, HTTP_BODY_LEAST or more. */
static ssize_t read_piece(struct http_body *body, char *out, size_t size)
{
	ssize_t n = 0;

	while (n == 0 && body->piece != PIECE_END) {
		if (body->piece == PIECE_BEFORE)
			n = (ssize_t)read_text(body, body->request->before, out, size);
		else if (body->piece == PIECE_AFTER)
			n = (ssize_t)read_text(body, body->request->after, out, size);
		else
			n = read_message(body, out, size);
	}
	return n;
}

static size_t take_spare(struct http_body *body, char *out, size_t size)
{
	const size_t left = body->spare_len - body->spare_pos;
	const size_t len = left < size ? left : size;

	memcpy(out, body->spare + body->spare_pos, len);
	body->spare_pos += len;
	return len;
}

ssize_t http_body_read(struct http_body *body, char *out, size_t size)
{
	ssize_t n;

	if (body->spare_pos == body->spare_len && size < HTTP_BODY_LEAST) {
		n = read_piece(body, body->spare, sizeof body->spare);
		if (n == -1)
			return -1;
		body->spare_pos = 0;
		body->spare_len = (size_t)n;
	}
	if (body->spare_pos < body->spare_len || size < HTTP_BODY_LEAST)
		n = (ssize_t)take_spare(body, out, size);
	else
		n = read_piece(body, out, size);
	if (n > 0)
		body->given += (uint64_t)n;
	return n;
}

bool http_body_is_given(const struct http_body *body)
{
	return body->given == body->size;
}
