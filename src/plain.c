#include "plain.h"

#include <inttypes.h>
#include <string.h>
#include <time.h>

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

const char *plain_time(int64_t seconds, char buf[PLAIN_TIME_MAX])
{
	const time_t time = (time_t)seconds;
	struct tm parts;

	/* A name may give a time that no calendar has. */
	if (gmtime_r(&time, &parts) == NULL ||
	    strftime(buf, PLAIN_TIME_MAX, "%Y-%m-%d %H:%M:%S UTC", &parts) == 0)
		(void)snprintf(buf, PLAIN_TIME_MAX, "%" PRId64, seconds);
	return buf;
}

const char *plain_size(uint64_t bytes, char buf[PLAIN_SIZE_MAX])
{
	static const char units[] = "KMG";
	char unit[2] = "";

	for (size_t i = 0; units[i] != '\0' && bytes > 0 && bytes % 1024 == 0; i++) {
		bytes /= 1024;
		unit[0] = units[i];
	}
	(void)snprintf(buf, PLAIN_SIZE_MAX, "%" PRIu64 "%s", bytes, unit);
	return buf;
}

void plain_text(FILE *out, const char *text)
{
	plain_text_n(out, text, strlen(text));
}

void plain_text_n(FILE *out, const char *text, size_t len)
{
	while (len > 0) {
		const size_t shown = utf8_printable_len(text, len);
		const size_t step = shown > 0 ? shown : 1;

		(void)fwrite(shown > 0 ? text : "?", 1, step, out);
		text += step;
		len -= step;
	}
}

/* The bytes at TEXT to write as they are; 0: none, the first is one that is obeyed. */
static size_t shown_len(const char *text, size_t len)
{
	return text[0] == '\n' || text[0] == '\t' ? 1 : utf8_printable_len(text, len);
}

size_t plain_lines(FILE *out, const char *text, size_t len, bool last)
{
	size_t used = 0;

	while (used < len) {
		const size_t left = len - used;
		const size_t shown = shown_len(text + used, left);

		if (shown == 0 && !last && left < UTF8_MAX)
			break;
		if (shown > 0)
			(void)fwrite(text + used, 1, shown, out);
		else if (left == 1 || memcmp(text + used, "\r\n", 2) != 0)
			(void)fputc('?', out);
		used += shown > 0 ? shown : 1;
	}
	return used;
}
