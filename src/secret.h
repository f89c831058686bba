/*
 * secret: what a password in a file must look like, and how it and a token are kept out of what is
 * shown, even where a server repeats them. Pure.
 */
#ifndef MAILDRAIN_SECRET_H
#define MAILDRAIN_SECRET_H

#include <stddef.h>

#define SECRET_PASSWORD_MAX 1024 /* bytes */

enum secret_fault {
	SECRET_FINE,
	SECRET_EMPTY,
	SECRET_LONG,
	SECRET_CONTROL /* a control character, or a second line */
};

/*
 * Cuts the end of its line off TEXT[0..LEN) and ends it with NUL, for which there is room at
 * TEXT[LEN]; says whether what is left, of MOST bytes, can be a secret.
 */
enum secret_fault secret_trim(char *text, size_t len, size_t most);

/* What must not be shown; NULL for what there is not. */
struct secret {
	const char *user;
	const char *password;
	const char *token; /* a bearer token, or another that goes out in its place */
};

/*
 * Copies as much of LINE[0..LEN) as fits into OUT, of SIZE bytes, and ends it with NUL; with stars
 * for the password and the token wherever they stand in LINE: as they are, and in base64 as AUTH
 * LOGIN, PLAIN, XOAUTH2 and OAUTHBEARER send them. The reply code at the start of LINE stays.
 */
void secret_copy(const char *line, size_t len, const struct secret *secret, char *out, size_t size);

/* The same in place, for a TEXT without a reply code. */
void secret_mask(char *text, const struct secret *secret);

#endif
