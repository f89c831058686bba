/*
 * dry: what a run would do now.
 */
#ifndef MAILDRAIN_DRY_H
#define MAILDRAIN_DRY_H

#include "error.h"
#include "retry.h"
#include "spool.h"

/*
 * Says on stdout what a run would send, in its order, and changes nothing. RETRY is the config's.
 * 0, or -1 with ERR.
 */
int dry_run(const struct spool *spool, const struct retry *retry, struct error *err);

#endif
