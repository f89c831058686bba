/*
 * confvalue: the values of the configuration that have a syntax of their own. Pure.
 *
 * A check returns NULL when all is well, and else what is wrong and what to do, as a phrase that
 * follows the option's name.
 */
#ifndef MAILDRAIN_CONFVALUE_H
#define MAILDRAIN_CONFVALUE_H

#include <stdbool.h>
#include <stddef.h>

#define CONFVALUE_NAME_MAX 32  /* bytes of a relay's name */
#define CONFVALUE_HOST_MAX 253 /* bytes of a host name, RFC 1035 section 2.3.4 */

/* Labels with a dot between each two, of letters, digits and the bytes in MORE. */
bool confvalue_is_domain(const char *text, const char *more);

/* A pattern for addresses, or, without an "@", for their domains. */
const char *confvalue_pattern(const char *text);

/* Whether TEXT has no control character. */
bool confvalue_is_plain(const char *text);

/* Whether HOST, an IPv6 address without brackets, can only be this machine. */
bool confvalue_is_loopback(const char *host);

/* The argument of EHLO: a host name or an address literal, RFC 5321 section 4.1.3. */
const char *confvalue_helo(const char *text);

/* The name of a relay or a route. */
const char *confvalue_name(const char *text, size_t len);

/* How many letters must be changed, added or removed to make B of A; 99 when one is too long. */
unsigned confvalue_distance(const char *a, size_t a_len, const char *b, size_t b_len);

#endif
