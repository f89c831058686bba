#include "decimal.h"

#include <string.h>

size_t decimal_write(uint64_t number, unsigned width, char *buf)
{
	char digits[DECIMAL_MAX];
	size_t at = sizeof digits;

	while (at > 0 && (number > 0 || sizeof digits - at < width || at == sizeof digits)) {
		digits[--at] = (char)('0' + number % 10);
		number /= 10;
	}
	memcpy(buf, digits + at, sizeof digits - at);
	return sizeof digits - at;
}
