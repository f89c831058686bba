/*
 * conflogin: who a relay is told that we are, and the secret that proves it.
 */
#ifndef MAILDRAIN_CONFLOGIN_H
#define MAILDRAIN_CONFLOGIN_H

#include "config.h"
#include "confparse.h"

/*
 * Fills in the login at HOST, once kind and tls are there. Returns 0, or -1 with the fault
 * reported; conflogin_free frees it in either case, and clears its secrets in memory.
 */
int conflogin_fill(
    const struct confparse_section *section, struct relay_config *relay, const char *host);
void conflogin_free(struct relay_config *relay);

#endif
