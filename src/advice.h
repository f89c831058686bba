/*
 * advice: what a person can do about a session that could not be opened.
 */
#ifndef MAILDRAIN_ADVICE_H
#define MAILDRAIN_ADVICE_H

#include <curl/curl.h>
#include <stdbool.h>

struct advice_case {
	CURLcode result;
	long certificate; /* CURLINFO_SSL_VERIFYRESULT */
	bool connected;	  /* TCP was there, and TLS with smtps */
	bool smtps;	  /* TLS from the first byte */
	bool lmtp;
	bool local;   /* by a socket of this host */
	bool refused; /* the server has not taken the login */
	bool token;   /* which was by a token, not a password */
	bool offers_auth;
};

/* A line or two, without a newline at the end; NULL when there is nothing to say. Static. */
const char *advice_opening(const struct advice_case *what);

/*
 * The same for an HTTP API: RESULT of the transfer, CERTIFICATE as above, and whether it was
 * CONNECTED, with TLS.
 */
const char *advice_http(CURLcode result, long certificate, bool connected);

#endif
