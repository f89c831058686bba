/* secret: a user, a password that is a token as well, and lines of a server that repeats them. */
#include "fuzz.h"
#include "secret.h"

#define CODE 3 /* bytes of a reply that are never hidden */

/* Base64 bit by bit, without padding. */
static char *base64(const char *in, size_t len)
{
	static const char digits[] =
	    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	const size_t count = (len * 8 + 5) / 6;
	char *out = malloc(count + 1);

	assert(out != NULL);
	for (size_t i = 0; i < count; i++) {
		unsigned value = 0;

		for (size_t bit = i * 6; bit < i * 6 + 6; bit++) {
			const unsigned byte = bit < len * 8 ? (unsigned char)in[bit / 8] : 0;

			value = value << 1 | (byte >> (7 - bit % 8) & 1);
		}
		out[i] = digits[value];
	}
	out[count] = '\0';
	return out;
}

/* Notes in HIDDEN each byte of LINE that is within SPELLING. */
static void hide(const char *line, const char *spelling, bool *hidden)
{
	const size_t len = strlen(spelling);

	if (len == 0)
		return;
	for (const char *at = line; (at = strstr(at, spelling)) != NULL; at++)
		for (size_t i = 0; i < len; i++)
			hidden[at - line + (ptrdiff_t)i] = true;
}

/* What AUTH PLAIN sends, in base64. */
static char *plain(const char *user, const char *password)
{
	const size_t user_len = strlen(user);
	const size_t len = user_len + strlen(password) + 2;
	char *response = calloc(len + 1, 1);
	char *encoded;

	assert(response != NULL);
	memcpy(response + 1, user, user_len);
	memcpy(response + 2 + user_len, password, strlen(password));
	encoded = base64(response, len);
	free(response);
	return encoded;
}

/* The digits of TOKEN alone, in base64 of COUNT bytes and then TOKEN. */
static char *within(const char *token, size_t count)
{
	const size_t len = count + strlen(token);
	const size_t from = (count * 8 + 5) / 6;
	const size_t to = len * 8 / 6;
	char *response = calloc(len + 1, 1);
	char *encoded;

	assert(response != NULL);
	memset(response, 0xff, count);
	memcpy(response + count, token, strlen(token));
	encoded = base64(response, len);
	free(response);
	if (from >= to) {
		*encoded = '\0';
		return encoded;
	}
	memmove(encoded, encoded + from, to - from);
	encoded[to - from] = '\0';
	return encoded;
}

static void hide_password(const char *line, const char *user, const char *password, bool *hidden)
{
	char *login = base64(password, strlen(password));
	char *response = plain(user, password);

	hide(line, password, hidden);
	hide(line, login, hidden);
	hide(line, response, hidden);
	free(response);
	free(login);
}

static void hide_token(const char *line, const char *token, bool *hidden)
{
	hide(line, token, hidden);
	for (size_t count = 0; count < 3; count++) {
		char *digits = within(token, count);

		hide(line, digits, hidden);
		free(digits);
	}
}

static void check_shown(
    const char *line, const struct secret *secret, const bool *hidden, size_t size)
{
	const size_t len = strlen(line);
	char *shown = malloc(size);

	assert(shown != NULL);
	secret_copy(line, len, secret, shown, size);
	assert(strlen(shown) == (len < size ? len : size - 1));
	for (size_t i = 0; shown[i] != '\0'; i++)
		assert(shown[i] == (hidden[i] ? '*' : line[i]));
	free(shown);
}

static void check_line(const char *line, const struct secret *secret)
{
	const size_t len = strlen(line);
	bool *hidden = calloc(len + 1, sizeof *hidden);

	assert(hidden != NULL);
	if (len > CODE && secret->password != NULL)
		hide_password(line + CODE, secret->user, secret->password, hidden + CODE);
	if (len > CODE && secret->token != NULL)
		hide_token(line + CODE, secret->token, hidden + CODE);
	check_shown(line, secret, hidden, len + 1);
	check_shown(line, secret, hidden, len / 2 + 1);
	free(hidden);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz fuzz = fuzz_start(data, size);
	char *user = fuzz_line(&fuzz);
	char *password = fuzz_line(&fuzz);

	do {
		char *line = fuzz_line(&fuzz);

		check_line(line, &(struct secret){.user = user, .password = password});
		check_line(line, &(struct secret){.user = user, .token = password});
		free(line);
	} while (fuzz.left > 0);
	free(password);
	free(user);
	return 0;
}
