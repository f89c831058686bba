/*
 * metrics: the queue in the text format of Prometheus, version 0.0.4. Pure.
 */
#ifndef MAILDRAIN_METRICS_H
#define MAILDRAIN_METRICS_H

#include <stdio.h>

#include "history.h"
#include "survey.h"

/*
 * Writes them all to OUT. What is not known is left out: relays that were never tried, the time of
 * a run or a success that never was, the exit status of a run that is not this one. That OUT took
 * it is the caller's to check.
 */
void metrics_write(FILE *out, const struct survey *survey, const struct history *history);

#endif
