/*
 * curltls: TLS of a libcurl handle: what the config asks for, and what came of it. For the modules
 * that link libcurl.
 */
#ifndef MAILDRAIN_CURLTLS_H
#define MAILDRAIN_CURLTLS_H

#include <curl/curl.h>
#include <stddef.h>
#include <stdio.h>

#include "config.h"

#define CURLTLS_TEXT_MAX 128

/* Versions, authorities and our own certificate, as RELAY has them. */
CURLcode curltls_set(CURL *easy, const struct relay_config *relay);

/* From now on EASY notes in TEXT "TLSv1.3 / TLS_AES_256_GCM_SHA384", and keeps the certificates. */
CURLcode curltls_watch(CURL *easy, char text[CURLTLS_TEXT_MAX]);

/* Tells both, on lines for a person. */
void curltls_tell(CURL *easy, const char *text, FILE *out);

#endif
