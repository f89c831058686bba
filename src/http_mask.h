/*
 * http_mask: what an API says may hold what we have told it. Pure.
 */
#ifndef MAILDRAIN_HTTP_MASK_H
#define MAILDRAIN_HTTP_MASK_H

#include "credential.h"

/* Puts stars in TEXT for what CREDENTIAL has that is secret, also as Basic sends it, RFC 7617. */
void http_mask(const struct credential *credential, char *text);

#endif
