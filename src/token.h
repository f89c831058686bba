/*
 * token: a bearer token as a program prints it: bare, or as the JSON of an OAuth 2 answer. Pure.
 */
#ifndef MAILDRAIN_TOKEN_H
#define MAILDRAIN_TOKEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TOKEN_MAX ((size_t)16 * 1024) /* bytes */

struct token {
	char *text;	 /* one word of printable ASCII, to be freed by token_clear */
	int64_t expires; /* epoch seconds; 0: not known */
};

/*
 * Reads what a program has printed, TEXT[0..LEN), asked at NOW. The token is the first line, bare
 *or as a JSON string; or in a JSON object the value of access_token or accessToken. There it
 *expires as the first of these says that can be understood:
 *
 *	expires_on, expires_at, expiry, expiresOn	epoch seconds, or a time as in RFC 3339;
 *without an offset, local time in expiresOn alone
 *	expires_in					seconds from now on (RFC 6749 section 5.1)
 *
 * NULL; or what is wrong, as the rest of a sentence on the program, without a word of TEXT, and
 * TOKEN empty.
 */
const char *token_read(const char *text, size_t len, int64_t now, struct token *token);

/* Whether TEXT[0..LEN) can be a token. */
bool token_is_good(const char *text, size_t len);

/* Overwrites and frees what TOKEN has. */
void token_clear(struct token *token);

#endif
