/*
 * publish: metrics_file, for the textfile collector of node_exporter.
 */
#ifndef MAILDRAIN_PUBLISH_H
#define MAILDRAIN_PUBLISH_H

#include "error.h"
#include "history.h"
#include "survey.h"

/*
 * Writes the metrics to PATH, mode 0644, in one rename: a reader finds the old file or the new one.
 * The name of the file beside it, while it is written, does not end as PATH does, and so means
 * nothing to the collector, which takes "*.prom". Not synced: the next run writes it anew. 0, or -1
 * with ERR, and PATH is as it was.
 */
int publish_metrics(const char *path, const struct survey *survey, const struct history *history,
    struct error *err);

#endif
