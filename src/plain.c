#include "plain.h"

#include <inttypes.h>
#include <string.h>

#include "utf8.h"

const char *plain_duration(int64_t seconds, char buf[PLAIN_DURATION_MAX])
{
	const size_t size = PLAIN_DURATION_MAX;

	if (seconds < 0)
		seconds = 0;
	if (seconds < 60)
		(void)snprintf(buf, size, "%" PRId64 "s", seconds);
	else if (seconds < 3600)
		(void)snprintf(buf, size, "%" PRId64 "m", seconds / 60);
	else if (seconds < 86400)
		(void)snprintf(
		    buf, size, "%" PRId64 "h %" PRId64 "m", seconds / 3600, seconds % 3600 / 60);
	else
		(void)snprintf(buf, size, "%" PRId64 "d %" PRId64 "h", seconds / 86400,
		    seconds % 86400 / 3600);
	return buf;
}

void plain_text(FILE *out, const char *text)
{
	size_t len = strlen(text);

	while (len > 0) {
		const size_t shown = utf8_printable_len(text, len);
		const size_t step = shown > 0 ? shown : 1;

		(void)fwrite(shown > 0 ? text : "?", 1, step, out);
		text += step;
		len -= step;
	}
}
