/*
 * log: one logfmt line per event on stderr, and the progress line on a terminal.
 *
 *	log_begin(&log, LOG_LEVEL_INFO, "sent");
 *	log_text(&log, "to", address);
 *	log_end(&log);
 *
 * Under journald (JOURNAL_STREAM names stderr) a line has its priority in front and no time; on a
 * terminal neither; elsewhere the time is the last field. Values are quoted when they need it and
 * control characters become "?": what a server says can't forge a line.
 *
 * Lines are collected and written when the buffer is full or at log_flush, which a run calls when
 * it has synced the results they tell of.
 */
#ifndef MAILDRAIN_LOG_H
#define MAILDRAIN_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

/* As in sd-daemon(3). */
enum log_level {
	LOG_LEVEL_ALERT = 1,
	LOG_LEVEL_ERROR = 3,
	LOG_LEVEL_WARNING = 4,
	LOG_LEVEL_NOTICE = 5,
	LOG_LEVEL_INFO = 6
};

struct log {
	bool journal;
	bool terminal;
	bool verbose;	   /* on a terminal, INFO lines are shown too */
	bool has_progress; /* the last line on the terminal is the progress line */
	bool muted;	   /* the line begun is not to be shown */
	int64_t progress_ms;
	time_t second; /* that time shows */
	char time[96]; /* "2026-11-22T13:00:00Z" */
	size_t used;
	char buf[16384];
};

void log_open(struct log *log, bool verbose);

void log_begin(struct log *log, enum log_level level, const char *event);
void log_text(struct log *log, const char *key, const char *value);
void log_text_n(struct log *log, const char *key, const char *value, size_t len);
/* Neither may be negative. */
void log_number(struct log *log, const char *key, int64_t value);
void log_tenths(struct log *log, const char *key, int64_t tenths);
void log_end(struct log *log);

/* A line with a single "text" field; for what a person must read. */
void log_say(struct log *log, enum log_level level, const char *event, const char *text);

/* Replaces the progress line, at most 5 times a second; nothing but on a terminal. */
void log_progress(struct log *log, const char *format, ...) __attribute__((format(printf, 2, 3)));

void log_flush(struct log *log);

/* Flushes, and leaves no progress line behind. */
void log_close(struct log *log);

#endif
