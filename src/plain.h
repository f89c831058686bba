/*
 * plain: values in words for a person who reads a terminal.
 */
#ifndef MAILDRAIN_PLAIN_H
#define MAILDRAIN_PLAIN_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define PLAIN_DURATION_MAX 32

/* "45s", "3m", "2h 5m", "4d 3h": the two largest units of SECONDS, in BUF, which is returned. */
const char *plain_duration(int64_t seconds, char buf[PLAIN_DURATION_MAX]);

/* Writes TEXT to OUT; what a terminal would obey becomes "?". */
void plain_text(FILE *out, const char *text);

#endif
