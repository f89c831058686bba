#include "challenge.h"

#include <string.h>

#define NO_DIGIT 64

static const char CODE[] = "334 ";

/* What C stands for in base64, or NO_DIGIT. */
static unsigned value(char c)
{
	static const char digits[] =
	    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	const char *at = c != '\0' ? strchr(digits, c) : NULL;

	return at != NULL ? (unsigned)(at - digits) : NO_DIGIT;
}

/* How many bytes of LINE[0..LEN) are base64 up to its padding; 0 when there is something else. */
static size_t digit_count(const char *line, size_t len)
{
	size_t count = 0;

	while (count < len && value(line[count]) != NO_DIGIT)
		count++;
	for (size_t i = count; i < len; i++)
		if (line[i] != '=' && line[i] != '\r' && line[i] != '\n')
			return 0;
	return count;
}

void challenge_text(const char *line, size_t len, char *out, size_t size)
{
	const size_t code_len = sizeof CODE - 1;
	size_t count = 0;
	size_t made = 0;
	unsigned bits = 0;

	if (len > code_len && memcmp(line, CODE, code_len) == 0)
		count = digit_count(line + code_len, len - code_len);
	for (size_t i = 0; i < count && made + 1 < size; i++) {
		bits = (bits << 6 | value(line[code_len + i])) & 0xffff;
		if (i % 4 != 0)
			out[made++] = (char)(bits >> (6 - i % 4 * 2) & 0xff);
	}
	out[made] = '\0';
	if (strlen(out) != made)
		out[0] = '\0';
}
