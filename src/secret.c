#include "secret.h"

#include <stdio.h>
#include <string.h>

#define CODE_LEN     3	  /* of a reply */
#define RESPONSE_MAX 4096 /* bytes; config.h allows less for user and password */

/* Base64 without the padding, which a server may have cut. OUT holds LEN / 3 * 4 + 4 bytes. */
static void encode(const char *in, size_t len, char *out)
{
	static const char digits[] =
	    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	unsigned bits = 0;
	unsigned held = 0;

	for (size_t i = 0; i < len; i++) {
		bits = (bits << 8 | (unsigned char)in[i]) & 0xffff;
		for (held += 8; held >= 6; held -= 6)
			*out++ = digits[bits >> (held - 6) & 63];
	}
	if (held > 0)
		*out++ = digits[bits << (6 - held) & 63];
	*out = '\0';
}

/* The length of SPELLING if TEXT starts with it, else 0. */
static size_t match(const char *text, const char *spelling)
{
	const size_t len = strlen(spelling);

	return strncmp(text, spelling, len) == 0 ? len : 0;
}

/*
 * Puts stars over all three in TEXT in one pass: each is looked for in what the server said, not in
 * what is left of it, as one may stand within another or begin before its last place has ended.
 */
static void mask(char *text, const char *spellings[3])
{
	size_t hidden = 0; /* bytes from here on */

	for (; *text != '\0'; text++) {
		for (size_t i = 0; i < 3; i++) {
			const size_t len = match(text, spellings[i]);

			hidden = len > hidden ? len : hidden;
		}
		if (hidden == 0)
			continue;
		*text = '*';
		hidden--;
	}
}

void secret_mask(char *text, const char *user, const char *password)
{
	char response[RESPONSE_MAX];
	char login[RESPONSE_MAX / 3 * 4 + 8] = "";
	char plain[RESPONSE_MAX / 3 * 4 + 8] = "";
	const char *spellings[] = {password, login, plain};
	const int len = snprintf(response, sizeof response, "%c%s%c%s", 0, user, 0, password);

	if (strnlen(text, CODE_LEN) == CODE_LEN) {
		encode(password, strlen(password), login);
		if (len > 0 && (size_t)len < sizeof response)
			encode(response, (size_t)len, plain);
		mask(text + CODE_LEN, spellings);
	}
	explicit_bzero(response, sizeof response);
	explicit_bzero(login, sizeof login);
	explicit_bzero(plain, sizeof plain);
}
