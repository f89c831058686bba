/*
 * check: whether the queue is as it should be, in the words and numbers of a monitoring plugin.
 *Pure.
 *
 *	MAILDRAIN OK - 3 waiting, 1 deferred, due for 5s, 2 failed | due_age=5s;900;3600;0
 *waiting=3;;;0
 *
 * One line, as the Monitoring Plugins' development guidelines have it: service, state, words, and
 * behind the bar performance data, label=value[unit];warning;critical;minimum. Thresholds are plain
 * numbers: a value is at fault when it is greater.
 */
#ifndef MAILDRAIN_CHECK_H
#define MAILDRAIN_CHECK_H

#include <stdint.h>
#include <stdio.h>

#include "history.h"
#include "survey.h"

/* Also the exit status of the plugin. */
enum check_state { CHECK_OK, CHECK_WARNING, CHECK_CRITICAL, CHECK_UNKNOWN };

struct check_limits {
	int64_t warning; /* seconds that a message may have been due */
	int64_t critical;
	int64_t failed_warning; /* messages in failed/; -1: any number is well */
	int64_t failed_critical;
};

/* NULL when LIMITS make sense, or what is wrong with them. */
const char *check_limits_fault(const struct check_limits *limits);

enum check_state check_judge(
    const struct check_limits *limits, const struct survey *survey, const struct history *history);

/* Writes the line for what was judged to be STATE to OUT. */
void check_write(FILE *out, enum check_state state, const struct check_limits *limits,
    const struct survey *survey, const struct history *history);

/* The line for a queue that can't be judged, because of WHY. */
void check_write_unknown(FILE *out, const char *why);

#endif
