#include "secret.h"

#include <stdio.h>
#include <string.h>

#define CODE_LEN     3	  /* of a reply */
#define RESPONSE_MAX 4096 /* bytes; config.h allows less for user and password */

/* Puts stars over each SPELLING in TEXT. */
static void mask(char *text, const char *spelling)
{
	const size_t len = strlen(spelling);

	if (len == 0)
		return;
	while ((text = strstr(text, spelling)) != NULL) {
		memset(text, '*', len);
		text += len;
	}
}

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

void secret_mask(char *text, const char *user, const char *password)
{
	char encoded[RESPONSE_MAX / 3 * 4 + 8];
	char response[RESPONSE_MAX];
	const int len = snprintf(response, sizeof response, "%c%s%c%s", 0, user, 0, password);

	if (strnlen(text, CODE_LEN) < CODE_LEN)
		return;
	text += CODE_LEN;
	mask(text, password);
	encode(password, strlen(password), encoded);
	mask(text, encoded);
	if (len > 0 && (size_t)len < sizeof response) {
		encode(response, (size_t)len, encoded);
		mask(text, encoded);
	}
	explicit_bzero(response, sizeof response);
	explicit_bzero(encoded, sizeof encoded);
}
