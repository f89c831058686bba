#include "units.h"

#include <stddef.h>
#include <string.h>

/* The digits at the start of TEXT, up to MAX; what follows them is at *REST. */
static bool digits(const char *text, int64_t max, int64_t *number, const char **rest)
{
	int64_t value = 0;
	const char *p = text;

	for (; *p >= '0' && *p <= '9'; p++) {
		int64_t digit = *p - '0';

		if (digit > max || value > (max - digit) / 10)
			return false;
		value = value * 10 + digit;
	}
	if (p == text || (text[0] == '0' && p > text + 1))
		return false;
	*number = value;
	*rest = p;
	return true;
}

bool units_number(const char *text, int64_t max, int64_t *number)
{
	int64_t value;
	const char *rest;

	if (!digits(text, max, &value, &rest) || *rest)
		return false;
	*number = value;
	return true;
}

/* TEXT with one letter of LETTERS behind its digits, and the scale that goes with it. */
static bool scaled(
    const char *text, const char *letters, const int *scales, int64_t max, int64_t *number)
{
	int64_t value, scale;
	const char *rest, *letter;

	if (!digits(text, max, &value, &rest) || !rest[0] || rest[1])
		return false;
	letter = strchr(letters, rest[0]);
	if (!letter)
		return false;
	scale = scales[letter - letters];
	if (value > max / scale)
		return false;
	*number = value * scale;
	return true;
}

bool units_duration(const char *text, int64_t *seconds)
{
	static const int scales[] = {1, 60, 60 * 60, 24 * 60 * 60};

	if (strcmp(text, "0") == 0) {
		*seconds = 0;
		return true;
	}
	return scaled(text, "smhd", scales, UNITS_DURATION_MAX, seconds);
}
