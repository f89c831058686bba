#include "log.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "clock.h"
#include "decimal.h"
#include "io.h"
#include "utf8.h"

#define LINE_MAX_BYTES ((size_t)4096) /* room that a line may use; longer values are cut */
#define PROGRESS_MS    200

static const char ERASE[] = "\r\033[K";

/* Whether stderr is the stream that journald gave, as systemd.exec(5) says to find out. */
static bool is_journal(void)
{
	const char *stream = getenv("JOURNAL_STREAM");
	char own[64];
	struct stat st;

	if (stream == NULL || fstat(STDERR_FILENO, &st) == -1)
		return false;
	(void)snprintf(
	    own, sizeof own, "%" PRIuMAX ":%" PRIuMAX, (uintmax_t)st.st_dev, (uintmax_t)st.st_ino);
	return strcmp(stream, own) == 0;
}

void log_open(struct log *log, bool verbose)
{
	*log = (struct log){.verbose = verbose};
	log->journal = is_journal();
	log->terminal = isatty(STDERR_FILENO) == 1;
}

void log_flush(struct log *log)
{
	/* Nobody is left to be told that stderr can't be written. */
	(void)io_write(STDERR_FILENO, log->buf, log->used);
	log->used = 0;
}

static void put(struct log *log, const char *bytes, size_t len)
{
	/* The last byte is for the line's end: whatever is cut, the next line begins its own. */
	const size_t room = sizeof log->buf - 1 - log->used;

	if (log->muted)
		return;
	if (len > room)
		len = room;
	memcpy(log->buf + log->used, bytes, len);
	log->used += len;
}

static void put_string(struct log *log, const char *text)
{
	put(log, text, strlen(text));
}

static void put_number(struct log *log, int64_t number)
{
	char digits[DECIMAL_MAX];

	put(log, digits, decimal_write((uint64_t)number, 1, digits));
}

static void erase_progress(struct log *log)
{
	if (log->has_progress)
		put_string(log, ERASE);
	log->has_progress = false;
}

void log_begin(struct log *log, enum log_level level, const char *event)
{
	char mark[8];

	if (sizeof log->buf - log->used < LINE_MAX_BYTES)
		log_flush(log);
	log->muted = log->terminal && !log->verbose && level == LOG_LEVEL_INFO;
	if (log->muted)
		return;
	erase_progress(log);
	if (log->journal) {
		(void)snprintf(mark, sizeof mark, "<%d>", (int)level);
		put_string(log, mark);
	}
	put_string(log, event);
}

static void put_key(struct log *log, const char *key)
{
	put_string(log, " ");
	put_string(log, key);
	put_string(log, "=");
}

static bool is_plain(const char *value, size_t len)
{
	for (size_t i = 0, step = 1; i < len; i += step) {
		step = utf8_printable_len(value + i, len - i);
		if (step == 0 || (step == 1 && strchr(" \"=\\", value[i]) != NULL))
			return false;
	}
	return len > 0;
}

void log_text_n(struct log *log, const char *key, const char *value, size_t len)
{
	const size_t most = LINE_MAX_BYTES / 4;

	if (len > most)
		len = most;
	put_key(log, key);
	if (is_plain(value, len)) {
		put(log, value, len);
		return;
	}
	put_string(log, "\"");
	for (size_t i = 0, step = 1; i < len; i += step) {
		const size_t shown = utf8_printable_len(value + i, len - i);

		step = shown > 0 ? shown : 1;
		if (value[i] == '"' || value[i] == '\\')
			put_string(log, "\\");
		put(log, shown > 0 ? value + i : "?", step);
	}
	put_string(log, "\"");
}

void log_text(struct log *log, const char *key, const char *value)
{
	log_text_n(log, key, value, strlen(value));
}

void log_number(struct log *log, const char *key, int64_t value)
{
	put_key(log, key);
	put_number(log, value);
}

void log_tenths(struct log *log, const char *key, int64_t tenths)
{
	put_key(log, key);
	put_number(log, tenths / 10);
	put_string(log, ".");
	put_number(log, tenths % 10);
}

/* Without strftime, which looks at /etc/localtime each time. */
static void set_time(struct log *log, time_t now)
{
	struct tm tm;

	if (gmtime_r(&now, &tm) == NULL)
		return;
	(void)snprintf(log->time, sizeof log->time, "%04d-%02d-%02dT%02d:%02d:%02dZ",
	    tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec);
	log->second = now;
}

static void put_time(struct log *log)
{
	const time_t now = (time_t)clock_now();

	if (now != log->second)
		set_time(log, now);
	put_key(log, "time");
	put_string(log, log->time);
}

void log_end(struct log *log)
{
	if (!log->journal && !log->terminal)
		put_time(log);
	if (!log->muted)
		log->buf[log->used++] = '\n';
	log->muted = false;
}

void log_say(struct log *log, enum log_level level, const char *event, const char *text)
{
	log_begin(log, level, event);
	log_text(log, "text", text);
	log_end(log);
}

void log_progress(struct log *log, const char *format, ...)
{
	const int64_t now_ms = clock_monotonic();
	char line[256];
	va_list args;

	if (!log->terminal || now_ms - log->progress_ms < PROGRESS_MS)
		return;
	va_start(args, format);
	(void)vsnprintf(line, sizeof line, format, args);
	va_end(args);
	erase_progress(log);
	put_string(log, line);
	log->has_progress = true;
	log->progress_ms = now_ms;
	log_flush(log);
}

void log_close(struct log *log)
{
	erase_progress(log);
	log_flush(log);
}
