/* units: numbers and durations, against strtoll. */
#include <errno.h>

#include "fuzz.h"
#include "units.h"

#define UNTOUCHED (-7)

/* The number that TEXT starts with; -1 when it has none as we want it. */
static int64_t number_of(const char *text, char **rest)
{
	const size_t digits = strspn(text, "0123456789");

	*rest = NULL;
	if (digits == 0 || (text[0] == '0' && digits > 1))
		return -1;
	errno = 0;
	return strtoll(text, rest, 10) == INT64_MAX && errno != 0 ? -1 : strtoll(text, rest, 10);
}

static int64_t scale_of(const char *unit)
{
	if (unit[0] == '\0' || unit[1] != '\0')
		return 0;
	switch (unit[0]) {
	case 's':
		return 1;
	case 'm':
		return 60;
	case 'h':
		return 3600;
	case 'd':
		return 86400;
	default:
		return 0;
	}
}

static void check_number(const char *text, int64_t max)
{
	char *rest;
	const int64_t number = number_of(text, &rest);
	const bool good = number >= 0 && number <= max && *rest == '\0';
	int64_t got = UNTOUCHED;

	assert(units_number(text, max, &got) == good);
	assert(got == (good ? number : UNTOUCHED));
}

static void check_duration(const char *text)
{
	char *rest;
	const int64_t number = number_of(text, &rest);
	const int64_t scale = number >= 0 ? scale_of(rest) : 0;
	const bool zero = strcmp(text, "0") == 0;
	const bool good = zero || (scale > 0 && number <= UNITS_DURATION_MAX / scale);
	int64_t got = UNTOUCHED;

	assert(units_duration(text, &got) == good);
	assert(got == (good ? number * (zero ? 1 : scale) : UNTOUCHED));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz fuzz = fuzz_start(data, size);

	while (fuzz.left > 0) {
		char *text = fuzz_line(&fuzz);

		check_number(text, 0);
		check_number(text, 100);
		check_number(text, UINT16_MAX);
		check_number(text, INT64_MAX);
		check_duration(text);
		free(text);
	}
	return 0;
}
