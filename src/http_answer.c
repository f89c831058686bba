#include "http_answer.h"

#include <stdio.h>
#include <string.h>

#include "utf8.h"

#define KEY_MAX 64

/* Where providers put what a person shall read. */
static const char *const words_at[] = {"message", "Message", "error.message", "error_description",
    "detail", "title", "error", "errors.message"};

/* And the name of what they have taken. */
static const char *const id_at[] = {"MessageId", "id", "messageId", "message_id"};

/* Codes that say how the relay is set up, and nothing of a message. */
static bool is_relay_fault(long code)
{
	static const long codes[] = {401, 402, 403, 404, 405, 406, 407, 410, 411, 415, 421, 426};

	if (code / 100 == 3)
		return true;
	for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++)
		if (code == codes[i])
			return true;
	return false;
}

static bool is_temporary(long code)
{
	return code / 100 == 5 || code == 408 || code == 409 || code == 423 || code == 425;
}

void http_result_set(struct http_result *result, enum http_outcome outcome, const char *status)
{
	result->outcome = outcome;
	result->slow_down = strcmp(status, HTTP_SLOW_DOWN) == 0;
	(void)snprintf(result->status, sizeof result->status, "%s", status);
}

/* Where they put the name of an error, which programs read. */
static const char *const name_at[] = {"error.code", "__type"};

static const char *first_of(const json_t *json, const char *const *path, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		const char *text = http_json_text(json, path[i]);

		if (text != NULL && text[0] != '\0')
			return text;
	}
	return NULL;
}

/* AWS puts a name space before a "#", and a URL behind a colon. */
static void find_name(struct http_result *result, const struct http_answer *answer)
{
	const char *name = answer->error;
	const char *hash;

	if (name[0] == '\0')
		name = first_of(answer->json, name_at, sizeof name_at / sizeof name_at[0]);
	if (name == NULL)
		return;
	hash = strchr(name, '#');
	if (hash != NULL)
		name = hash + 1;
	http_words_add(result->name, sizeof result->name, name, strcspn(name, ":;, "));
}

void http_result_begin(struct http_result *result, const struct http_answer *answer)
{
	const long code = answer->code;

	*result = (struct http_result){.outcome = HTTP_FAILED};
	if (code / 100 == 2)
		http_result_set(result, HTTP_SENT, "2.0.0");
	else if (is_relay_fault(code))
		http_result_set(result, HTTP_RELAY_FAULT, "4.3.5");
	else if (code == 429 || code == 503)
		http_result_set(result, HTTP_DEFERRED, HTTP_SLOW_DOWN);
	else if (is_temporary(code))
		http_result_set(result, HTTP_DEFERRED, "4.0.0");
	else
		http_result_set(result, HTTP_FAILED, code == 413 ? "5.3.4" : "5.0.0");
	if (code / 100 != 2)
		find_name(result, answer);
}

const char *http_json_text(const json_t *json, const char *path)
{
	while (json != NULL && *path != '\0') {
		const size_t len = strcspn(path, ".");
		char key[KEY_MAX];

		if (json_is_array(json))
			json = json_array_get(json, 0);
		(void)snprintf(key, sizeof key, "%.*s", (int)len, path);
		json = json_object_get(json, key);
		path += len + (path[len] == '.');
	}
	return json_string_value(json);
}

static bool is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

void http_words_add(char *out, size_t size, const char *text, size_t len)
{
	size_t end = strlen(out);

	while (len > 0) {
		const size_t shown = utf8_printable_len(text, len);
		const size_t step = shown > 0 ? shown : 1;

		if (end + UTF8_MAX >= size)
			break; /* whatever comes: nothing may follow a cut */
		if (!is_space(*text)) {
			memcpy(out + end, shown > 0 ? text : "?", step);
			end += step;
		} else if (end > 0 && out[end - 1] != ' ')
			out[end++] = ' ';
		text += step;
		len -= step;
	}
	out[end] = '\0';
}

static void add_n(struct http_result *result, const char *text, size_t len)
{
	http_words_add(result->text, sizeof result->text, " ", 1);
	http_words_add(result->text, sizeof result->text, text, len);
}

static void add(struct http_result *result, const char *text)
{
	if (text != NULL)
		add_n(result, text, strlen(text));
}

/* The body where it is a plain text: of a page in HTML a person learns nothing. */
static bool add_body(struct http_result *result, const struct http_answer *answer)
{
	size_t skip = 0;

	while (skip < answer->len && is_space(answer->body[skip]))
		skip++;
	if (skip == answer->len || answer->body[skip] == '<')
		return false;
	add_n(result, answer->body + skip, answer->len - skip);
	return true;
}

static void tell_sent(struct http_result *result, const struct http_answer *answer)
{
	const char *id = first_of(answer->json, id_at, sizeof id_at / sizeof id_at[0]);

	add(result, http_json_text(answer->json, "message"));
	if (id != NULL)
		add(result, id);
	else if (answer->json != NULL || !add_body(result, answer))
		add(result, answer->id);
}

static void tell_refused(struct http_result *result, const struct http_answer *answer)
{
	const char *words = first_of(answer->json, words_at, sizeof words_at / sizeof words_at[0]);

	if (result->name[0] != '\0') {
		add(result, result->name);
		http_words_add(result->text, sizeof result->text, ":", 1);
	}
	if (words != NULL)
		add(result, words);
	else if (answer->code / 100 == 3) {
		add(result, "it redirects to");
		add(result, answer->location);
	} else if (answer->json != NULL || !add_body(result, answer))
		add(result, "it gives no reason");
}

void http_result_end(struct http_result *result, const struct http_answer *answer)
{
	size_t len;

	result->retry_after = answer->retry_after;
	(void)snprintf(result->text, sizeof result->text, "%ld", answer->code);
	if (result->outcome == HTTP_SENT)
		tell_sent(result, answer);
	else {
		add(result, result->status);
		tell_refused(result, answer);
	}
	len = strlen(result->text);
	while (result->text[len - 1] == ' ')
		result->text[--len] = '\0';
}

void http_result_cut(struct http_result *result)
{
	size_t len = REPLY_TEXT_MAX - 1;

	if (strlen(result->text) <= len)
		return;
	while ((result->text[len] & 0xc0) == 0x80)
		len--;
	result->text[len] = '\0';
}
