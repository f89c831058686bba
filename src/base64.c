#include "base64.h"

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/* Four digits of up to three bytes. */
static void encode_group(const char *in, size_t len, char *out)
{
	const unsigned first = (unsigned char)in[0];
	const unsigned second = len > 1 ? (unsigned char)in[1] : 0;
	const unsigned third = len > 2 ? (unsigned char)in[2] : 0;
	const unsigned bits = first << 16 | second << 8 | third;

	out[0] = digits[bits >> 18 & 63];
	out[1] = digits[bits >> 12 & 63];
	out[2] = '=';
	out[3] = '=';
	if (len > 1)
		out[2] = digits[bits >> 6 & 63];
	if (len > 2)
		out[3] = digits[bits & 63];
}

size_t base64_encode(const char *in, size_t len, char *out)
{
	for (size_t i = 0; i < len; i += 3)
		encode_group(in + i, len - i < 3 ? len - i : 3, out + i / 3 * 4);
	return BASE64_LEN(len);
}
