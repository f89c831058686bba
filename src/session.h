/*
 * session: one connection to a relay through libcurl: name, proxy, TCP, TLS, EHLO, AUTH; then
 * bytes.
 *
 * libcurl opens it (CURLOPT_CONNECT_ONLY) and does no more: the mail transactions are smtp.h's.
 * LMTP it does not know. So it connects as if for HTTP, which with CURLOPT_CONNECT_ONLY puts no
 * byte on the wire, and greeting and LHLO are smtp_hello.h's. One group of sessions shares one
 * multi handle; the handles stay in it while they are of use, because removing one closes its
 * connection.
 */
#ifndef MAILDRAIN_SESSION_H
#define MAILDRAIN_SESSION_H

#include <curl/curl.h>
#include <stdbool.h>
#include <stddef.h>

#include "config.h"
#include "confvalue.h"
#include "curltls.h"
#include "credential.h"
#include "smtp.h"
#include "smtp_hello.h"

#define SESSION_OUT_SIZE ((size_t)64 * 1024)
#define SESSION_QUIT_MS	 3000 /* for the reply to QUIT */

enum session_state {
	SESSION_CLOSED,	 /* nothing there */
	SESSION_OPENING, /* libcurl is at work */
	SESSION_HELLO,	 /* LMTP: connected, greeting and LHLO are under way */
	SESSION_OPEN
};

struct session {
	enum session_state state;
	const struct relay_config *relay; /* the caller's, as the next */
	const struct credential *credential;
	CURL *easy;
	curl_socket_t socket;
	struct smtp_hello hello;	   /* LMTP */
	char name[CONFVALUE_HOST_MAX + 1]; /* of this host, for LHLO */
	struct smtp smtp;
	struct smtp_transaction *ring; /* of the machine */
	size_t depth;		       /* messages in flight by BDAT */
	struct smtp_offer offer;       /* as the lines of EHLO come in */
	bool authenticated;	       /* a 235 was seen */
	char *out; /* bytes to write; never moved while some are left (TLS retries) */
	size_t out_len;
	size_t out_pos;
	size_t out_told;	     /* how far the machine knows it is written */
	bool blocked;		     /* the peer does not take more of it for now */
	bool heard;		     /* all that has come by the last poll is read */
	bool connected;		     /* while opening: the peer is there, its words are awaited */
	int64_t progress_ms;	     /* when the wait of now began */
	char error[CURL_ERROR_SIZE]; /* libcurl's words on why the opening failed */
	char why[REPLY_TEXT_MAX];    /* the last reply while opening, then why it failed */
	char challenge[256];	     /* why the relay does not take the token, or "" */
	const char *advice;	     /* what a person can do about that, or NULL */
	bool refused;		     /* the relay refused who we are */
	FILE *trace;		    /* verify: where to tell what the server says; NULL otherwise */
	char tls[CURLTLS_TEXT_MAX]; /* "TLSv1.3 / TLS_AES_256_GCM_SHA384", "" without TLS */
};

/*
 * Starts the opening, with CREDENTIAL as it is now; DEPTH bounds the messages in flight by BDAT, 0:
 * it is not used. 0, or -1 with session->why.
 */
int session_open(struct session *session, CURLM *multi, const struct relay_config *relay,
    const struct credential *credential, size_t depth, int64_t now_ms);

/* To be called when libcurl has been at work: notes when the peer is there. */
void session_watch(struct session *session, int64_t now_ms);

/* Libcurl says the opening ended with RESULT: open (LMTP: SESSION_HELLO), or closed with why. */
void session_opened(struct session *session, CURLcode result, int64_t now_ms);

/* Greeting and LHLO, as far as they go now: open, or closed with why, or neither yet. */
void session_greet(struct session *session, int64_t now_ms);

/*
 * Writes what the machine has to say, as much as the peer takes now. Reads first, unless nothing
 * is left to read since the last poll: what has come by now is no answer to what goes out now.
 */
void session_write(struct session *session, int64_t now_ms);
/* Reads all that has come. */
void session_read(struct session *session, int64_t now_ms);

/* Fills the out buffer from the machine when it is empty. */
void session_fill(struct session *session);

/* The opening took too long: puts that into why and advice. */
void session_opening_expired(struct session *session);

/*
 * Milliseconds until the present phase times out; at 0 or less the session is to be given up. Only
 * a whole reply, or all that there was to write, ends a wait: a peer may drip bytes for ever.
 */
int64_t session_time_left(const struct session *session, int64_t now_ms);

/* Closes the connection; keeps why, and the buffers, which session_free gives back. */
void session_close(struct session *session, CURLM *multi);
void session_free(struct session *session, CURLM *multi);

#endif
