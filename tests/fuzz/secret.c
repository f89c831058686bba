/* secret: a user, a password, and lines of a server that repeats them. */
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

static void check_line(const char *line, const char *user, const char *password)
{
	const size_t len = strlen(line);
	bool *hidden = calloc(len + 1, sizeof *hidden);
	char *shown = fuzz_string(line, len);
	char *login = base64(password, strlen(password));
	char *response = plain(user, password);

	assert(hidden != NULL);
	if (len > CODE) {
		hide(line + CODE, password, hidden + CODE);
		hide(line + CODE, login, hidden + CODE);
		hide(line + CODE, response, hidden + CODE);
	}
	secret_mask(shown, user, password);
	assert(strlen(shown) == len);
	for (size_t i = 0; i < len; i++)
		assert(shown[i] == (hidden[i] ? '*' : line[i]));
	free(response);
	free(login);
	free(shown);
	free(hidden);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz fuzz = fuzz_start(data, size);
	char *user = fuzz_line(&fuzz);
	char *password = fuzz_line(&fuzz);

	do {
		char *line = fuzz_line(&fuzz);

		check_line(line, user, password);
		free(line);
	} while (fuzz.left > 0);
	free(password);
	free(user);
	return 0;
}
