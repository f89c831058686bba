/* utf8: each place of a text, against the table of RFC 3629 section 3 written out. */
#include "fuzz.h"
#include "utf8.h"

static bool continues(const unsigned char *byte, size_t from, size_t to)
{
	for (size_t i = from; i < to; i++)
		if (byte[i] < 0x80 || byte[i] > 0xbf)
			return false;
	return true;
}

/* Decodes the character there; its length, or 0. */
static size_t decode(const unsigned char *byte, size_t len, uint32_t *c)
{
	static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
	const size_t n = byte[0] < 0x80 ? 1 : byte[0] >> 5 == 6 ? 2 : byte[0] >> 4 == 14 ? 3 : 4;

	if (n == 4 && byte[0] >> 3 != 30)
		return 0;
	if (len < n || !continues(byte, 1, n))
		return 0;
	*c = n == 1 ? byte[0] : byte[0] & (0x7fu >> n);
	for (size_t i = 1; i < n; i++)
		*c = *c << 6 | (byte[i] & 0x3fu);
	if (*c < least[n] || *c > 0x10ffff || (*c >= 0xd800 && *c <= 0xdfff))
		return 0;
	return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	for (size_t i = 0; i < size; i++) {
		uint32_t c = 0;
		const size_t n = decode(data + i, size - i, &c);
		const bool control = c < 0x20 || (c >= 0x7f && c < 0xa0) || c == 0x61c ||
				     c == 0x200e || c == 0x200f || (c >= 0x2028 && c <= 0x202e) ||
				     (c >= 0x2066 && c <= 0x2069);

		assert(utf8_len((const char *)data + i, size - i) == n);
		assert(utf8_printable_len((const char *)data + i, size - i) == (control ? 0 : n));
	}
	return 0;
}
