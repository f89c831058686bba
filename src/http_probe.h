/*
 * http_probe: what verify does with an HTTP API: TLS, and where there is a harmless way to try
 * them, the credentials.
 */
#ifndef MAILDRAIN_HTTP_PROBE_H
#define MAILDRAIN_HTTP_PROBE_H

#include <stdio.h>

#include "config.h"
#include "error.h"

struct credential;

/* As transport.h's. */
int http_probe(const struct relay_config *relay, const struct credential *credential, FILE *out,
    struct error *err);

#endif
