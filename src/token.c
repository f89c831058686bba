#include "token.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define LATEST INT64_C(99999999999) /* epoch seconds; more are no seconds */

static const char NO_MEMORY[] = "gave a token for which there is no memory";
static const char NO_TOKEN[] = "printed nothing; it must print the token on its output";
static const char NOT_A_TOKEN[] =
    "printed something that is no token: it must be one word, or JSON with access_token";

bool token_is_good(const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (text[i] <= ' ' || text[i] > '~')
			return false;
	return len > 0 && len <= TOKEN_MAX;
}

void token_clear(struct token *token)
{
	if (token->text != NULL)
		explicit_bzero(token->text, strlen(token->text));
	free(token->text);
	*token = (struct token){.text = NULL};
}

static const char *take(const char *text, size_t len, struct token *token)
{
	if (!token_is_good(text, len))
		return NOT_A_TOKEN;
	token->text = strndup(text, len);
	return token->text != NULL ? NULL : NO_MEMORY;
}

/* ---- when it expires ---- */

/* The end of a time in RFC 3339 behind its seconds; false when it is none. */
static bool read_offset(const char *text, int64_t *seconds, bool *local)
{
	int sign = *text == '-' ? 1 : -1;
	struct tm offset = {0};

	*seconds = 0;
	*local = *text == '\0';
	if (*local || strcmp(text, "Z") == 0 || strcmp(text, "z") == 0)
		return true;
	if (*text != '+' && *text != '-')
		return false;
	text = strptime(text + 1, "%H:%M", &offset);
	*seconds = sign * (offset.tm_hour * INT64_C(3600) + offset.tm_min * INT64_C(60));
	return text != NULL && *text == '\0';
}

/* The time TEXT, RFC 3339 section 5.6; 0 when it is none, or of no known zone. */
static int64_t read_time(const char *text, bool may_be_local)
{
	struct tm tm = {.tm_isdst = -1};
	const char *rest = strptime(text, "%Y-%m-%d", &tm);
	int64_t offset;
	bool local;

	if (rest == NULL || strchr("Tt ", *rest) == NULL || *rest == '\0')
		return 0;
	rest = strptime(rest + 1, "%H:%M:%S", &tm);
	if (rest != NULL && *rest == '.')
		rest += 1 + strspn(rest + 1, "0123456789");
	if (rest == NULL || !read_offset(rest, &offset, &local) || (local && !may_be_local))
		return 0;
	return local ? mktime(&tm) : timegm(&tm) + offset;
}

/* The number in VALUE, which may be written as a string; 0 when there is none. */
static int64_t read_number(const json_t *value)
{
	const char *text = json_string_value(value);
	const double real = json_number_value(value);
	char *end;
	long long number;

	if (text == NULL)
		return real >= 1 && real <= (double)LATEST ? (int64_t)real : 0;
	errno = 0;
	number = strtoll(text, &end, 10);
	return errno == 0 && *end == '\0' && number >= 1 && number <= LATEST ? number : 0;
}

/* What VALUE says, or 0. */
static int64_t read_point(const json_t *value, bool may_be_local)
{
	const int64_t number = read_number(value);
	const char *text = json_string_value(value);

	return number != 0 || text == NULL ? number : read_time(text, may_be_local);
}

/* What is in the past is no news of when it expires, but of clocks that differ. */
static int64_t read_expiry(const json_t *object, int64_t now)
{
	static const char *const points[] = {"expires_on", "expires_at", "expiry", "expiresOn"};
	int64_t found = 0;

	for (size_t i = 0; i < sizeof points / sizeof points[0] && found == 0; i++)
		found = read_point(
		    json_object_get(object, points[i]), strcmp(points[i], "expiresOn") == 0);
	if (found == 0)
		found = read_number(json_object_get(object, "expires_in"));
	else
		return found > now ? found : 0;
	return found != 0 ? now + found : 0;
}

/* ---- JSON ---- */

/* In front of each block that jansson has, so that all of it can be cleared when it is freed. */
union block {
	size_t size;
	max_align_t aligned;
};

static void *get_block(size_t size)
{
	union block *block = size < SIZE_MAX - sizeof *block ? malloc(sizeof *block + size) : NULL;

	if (block == NULL)
		return NULL;
	block->size = size;
	return block + 1;
}

static void put_block(void *bytes)
{
	union block *block = bytes;

	if (block == NULL)
		return;
	block--;
	explicit_bzero(bytes, block->size);
	free(block);
}

static const char *take_json(const json_t *value, int64_t now, struct token *token)
{
	const json_t *found = value;
	const char *fault;

	if (json_is_object(value)) {
		found = json_object_get(value, "access_token");
		if (found == NULL)
			found = json_object_get(value, "accessToken");
	}
	if (!json_is_string(found))
		return "printed JSON without a string access_token";
	fault = take(json_string_value(found), json_string_length(found), token);
	if (fault == NULL && json_is_object(value))
		token->expires = read_expiry(value, now);
	return fault;
}

static const char *read_json(const char *text, size_t len, int64_t now, struct token *token)
{
	const char *fault = "printed JSON that can't be read";
	json_malloc_t usual_malloc;
	json_free_t usual_free;
	json_error_t error;
	json_t *value;

	json_get_alloc_funcs(&usual_malloc, &usual_free);
	json_set_alloc_funcs(get_block, put_block);
	value = json_loadb(text, len, JSON_DECODE_ANY | JSON_REJECT_DUPLICATES, &error);
	if (value != NULL)
		fault = take_json(value, now, token);
	json_decref(value);
	json_set_alloc_funcs(usual_malloc, usual_free);
	/* It holds what stood near a fault. */
	explicit_bzero(&error, sizeof error);
	return fault;
}

const char *token_read(const char *text, size_t len, int64_t now, struct token *token)
{
	const char *end;

	*token = (struct token){.text = NULL};
	while (len > 0 && strchr(" \t\r\n", *text) != NULL && *text != '\0') {
		text++;
		len--;
	}
	if (len == 0)
		return NO_TOKEN;
	if (*text == '{' || *text == '"')
		return read_json(text, len, now, token);
	end = memchr(text, '\n', len);
	if (end != NULL)
		len = (size_t)(end - text);
	while (len > 0 && (text[len - 1] == '\r' || text[len - 1] == ' '))
		len--;
	return take(text, len, token);
}
