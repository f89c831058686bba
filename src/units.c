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

static const int time_scales[] = {1, 60, 60 * 60, 24 * 60 * 60};

bool units_duration(const char *text, int64_t *seconds)
{
	if (strcmp(text, "0") == 0) {
		*seconds = 0;
		return true;
	}
	return scaled(text, "smhd", time_scales, UNITS_DURATION_MAX, seconds);
}

bool units_size(const char *text, uint64_t *bytes)
{
	static const int scales[] = {1 << 10, 1 << 20, 1 << 30};
	int64_t value;

	if (!units_number(text, (int64_t)UNITS_SIZE_MAX, &value) &&
	    !scaled(text, "KMG", scales, (int64_t)UNITS_SIZE_MAX, &value))
		return false;
	*bytes = (uint64_t)value;
	return true;
}

bool units_rate(const char *text, int64_t max, int64_t *number, int64_t *seconds)
{
	static const char letters[] = "smhd";
	const char *rest, *letter;
	int64_t value;

	if (!digits(text, max, &value, &rest) || rest[0] != '/' || !rest[1] || rest[2])
		return false;
	letter = strchr(letters, rest[1]);
	if (!letter)
		return false;
	*number = value;
	*seconds = time_scales[letter - letters];
	return true;
}
