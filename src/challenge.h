/*
 * challenge: what a server says within a login, RFC 4954 section 4: base64 behind a 334. Pure.
 */
#ifndef MAILDRAIN_CHALLENGE_H
#define MAILDRAIN_CHALLENGE_H

#include <stddef.h>

/*
 * The text in LINE[0..LEN), "334 eyJ…", decoded into OUT of SIZE bytes, cut where it does not fit.
 * "" when LINE is no challenge, or holds no base64. What is in it may be anything but NUL.
 */
void challenge_text(const char *line, size_t len, char *out, size_t size);

#endif
