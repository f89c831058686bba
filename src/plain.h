/*
 * plain: values in words for a person who reads a terminal.
 */
#ifndef MAILDRAIN_PLAIN_H
#define MAILDRAIN_PLAIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define PLAIN_DURATION_MAX 32

/* "45s", "3m", "2h 5m", "4d 3h": the two largest units of SECONDS, in BUF, which is returned. */
const char *plain_duration(int64_t seconds, char buf[PLAIN_DURATION_MAX]);

#define PLAIN_TIME_MAX 40

/* "2026-11-22 07:41:56 UTC" of epoch SECONDS, in BUF, which is returned. */
const char *plain_time(int64_t seconds, char buf[PLAIN_TIME_MAX]);

#define PLAIN_SIZE_MAX 24

/* BYTES as the configuration has sizes, "25M" or "1500", in BUF, which is returned. */
const char *plain_size(uint64_t bytes, char buf[PLAIN_SIZE_MAX]);

/* Writes TEXT to OUT; what a terminal would obey becomes "?". */
void plain_text(FILE *out, const char *text);
void plain_text_n(FILE *out, const char *text, size_t len);

/*
 * The same for lines, TEXT[0..LEN) of many: tabs stay, and CRLF and LF end a line. Returns how many
 * bytes are used: unless it is the LAST, what may be a part of a character is left.
 */
size_t plain_lines(FILE *out, const char *text, size_t len, bool last);

#endif
