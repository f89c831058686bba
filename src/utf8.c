#include "utf8.h"

#include <stdbool.h>

/* Whether the second byte may follow: no overlong form, no surrogate, nothing too large. */
static bool second_fits(unsigned char first, unsigned char second)
{
	const unsigned char low = first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80;
	const unsigned char high = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf;

	return second >= low && second <= high;
}

size_t utf8_len(const char *text, size_t len)
{
	const unsigned char *byte = (const unsigned char *)text;
	const size_t need = byte[0] < 0x80 ? 1 : byte[0] < 0xe0 ? 2 : byte[0] < 0xf0 ? 3 : 4;

	if (need == 1)
		return 1;
	if (byte[0] < 0xc2 || byte[0] > 0xf4 || len < need || !second_fits(byte[0], byte[1]))
		return 0;
	for (size_t i = 2; i < need; i++)
		if ((byte[i] & 0xc0) != 0x80)
			return 0;
	return need;
}

/* Whether the character of N bytes is a command rather than something to show. */
static bool is_obeyed(const unsigned char *byte, size_t n)
{
	if (n == 1)
		return byte[0] < 0x20 || byte[0] == 0x7f;
	if (n == 2)
		return (byte[0] == 0xc2 && byte[1] < 0xa0) || (byte[0] == 0xd8 && byte[1] == 0x9c);
	if (n != 3 || byte[0] != 0xe2)
		return false;
	return (byte[1] == 0x80 && byte[2] >= 0x8e && byte[2] <= 0x8f) ||
	       (byte[1] == 0x80 && byte[2] >= 0xa8 && byte[2] <= 0xae) ||
	       (byte[1] == 0x81 && byte[2] >= 0xa6 && byte[2] <= 0xa9);
}

size_t utf8_printable_len(const char *text, size_t len)
{
	const size_t n = utf8_len(text, len);

	return is_obeyed((const unsigned char *)text, n) ? 0 : n;
}
