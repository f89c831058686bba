#include "session.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "advice.h"
#include "challenge.h"
#include "clock.h"
#include "curltls.h"
#include "origin.h"
#include "secret.h"

/* More waits than an opening has: greeting, EHLO twice, STARTTLS, TLS, AUTH with its steps. */
#define OPENING_WAITS 8
#define GRACE_MS      500 /* libcurl watches the same times, and knows better words */

/* Copies as much of LINE[0..LEN) as OUT has room for, fit to be shown. */
static void show(
    const struct session *session, const char *line, size_t len, char *out, size_t size)
{
	const struct secret secret = {.user = session->credential->user,
	    .password = session->credential->password,
	    .token = session->credential->token};

	secret_copy(line, len, &secret, out, size);
	for (size_t i = 0; i < len && i + 1 < size; i++)
		if (iscntrl((unsigned char)out[i]))
			out[i] = '?';
}

/* Keeps one line of what the server says, without its end. */
static void keep_line(struct session *session, const char *line, size_t len)
{
	char challenge[sizeof session->challenge];

	while (len > 0 && (line[len - 1] == '\n' || line[len - 1] == '\r'))
		len--;
	show(session, line, len, session->why, sizeof session->why);
	/* To a token the only challenge is why it is not taken, RFC 7628 section 3.2.2. */
	if (session->credential->token == NULL)
		return;
	challenge_text(line, len, challenge, sizeof challenge);
	if (challenge[0] != '\0')
		show(session, challenge, strlen(challenge), session->challenge,
		    sizeof session->challenge);
}

static bool is_lmtp(const struct session *session)
{
	return session->relay->kind == RELAY_LMTP;
}

static void note_line(struct session *session, const char *line, size_t len)
{
	keep_line(session, line, len);
	if (session->trace != NULL)
		(void)fprintf(session->trace, "    %s\n", session->why);
}

/* Whether LINE ends a reply, RFC 5321 section 4.2.1. */
static bool is_last_line(const char *line, size_t len)
{
	return len > 3 && isdigit((unsigned char)line[0]) && isdigit((unsigned char)line[1]) &&
	       isdigit((unsigned char)line[2]) && line[3] != '-';
}

/*
 * Called with each line of the server's replies while libcurl opens the session. What was said
 * before STARTTLS counts for nothing (RFC 3207 section 4.2): a 220 starts afresh.
 */
static size_t on_line(char *line, size_t size, size_t count, void *context)
{
	struct session *session = context;
	const size_t len = size * count;

	if (is_last_line(line, len))
		session->progress_ms = clock_monotonic();
	note_line(session, line, len);
	if (len >= 3 && memcmp(line, "220", 3) == 0) {
		session->offer = (struct smtp_offer){0};
		session->authenticated = false;
	} else if (len >= 3 && memcmp(line, "235", 3) == 0)
		session->authenticated = true;
	else
		smtp_offer_line(&session->offer, line, len);
	return len;
}

static long use_ssl(enum relay_tls tls)
{
	switch (tls) {
	case RELAY_TLS_NONE:
		return CURLUSESSL_NONE;
	case RELAY_TLS_OPPORTUNISTIC:
		return CURLUSESSL_TRY;
	case RELAY_TLS_REQUIRED:
		break;
	}
	return CURLUSESSL_ALL;
}

static CURLcode set_tls(CURL *easy, const struct relay_config *relay)
{
	CURLcode code = curl_easy_setopt(easy, CURLOPT_USE_SSL, use_ssl(relay->tls));

	if (code == CURLE_OK)
		code = curltls_set(easy, relay);
	return code;
}

/* Of what the server offers, only this one: libcurl would also send the token as a password. */
static const char *login_options(enum relay_auth auth)
{
	return auth == RELAY_AUTH_OAUTHBEARER ? "AUTH=OAUTHBEARER" : "AUTH=XOAUTH2";
}

static CURLcode set_secret(
    CURL *easy, const struct relay_config *relay, const struct credential *credential)
{
	CURLcode code;

	if (credential->token == NULL)
		return curl_easy_setopt(easy, CURLOPT_PASSWORD, credential->password);
	code = curl_easy_setopt(easy, CURLOPT_XOAUTH2_BEARER, credential->token);
	if (code == CURLE_OK)
		code = curl_easy_setopt(easy, CURLOPT_LOGIN_OPTIONS, login_options(relay->auth));
	return code;
}

static CURLcode set_auth(
    CURL *easy, const struct relay_config *relay, const struct credential *credential)
{
	CURLcode code = curl_easy_setopt(easy, CURLOPT_SASL_IR, 1L);

	if (code != CURLE_OK || credential->user == NULL)
		return code;
	code = curl_easy_setopt(easy, CURLOPT_USERNAME, credential->user);
	if (code == CURLE_OK)
		code = set_secret(easy, relay, credential);
	/* Without TLS a secret is for this host alone, and no proxy may get to see it. */
	if (code == CURLE_OK && relay->tls != RELAY_TLS_REQUIRED)
		code = curl_easy_setopt(easy, CURLOPT_NOPROXY, "*");
	return code;
}

static CURLcode set_callbacks(struct session *session)
{
	CURL *easy = session->easy;
	CURLcode code = curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_line);

	if (code == CURLE_OK)
		code = curl_easy_setopt(easy, CURLOPT_HEADERDATA, session);
	if (code == CURLE_OK)
		code = curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, session->error);
	if (code == CURLE_OK)
		code = curl_easy_setopt(easy, CURLOPT_PRIVATE, session);
	if (code == CURLE_OK && session->trace != NULL)
		code = curltls_watch(easy, session->tls);
	return code;
}

static CURLcode set_url(CURL *easy, const char *base, const char *separator, const char *rest)
{
	char url[1024];
	const int len = snprintf(url, sizeof url, "%s%s%s", base, separator, rest);

	if (len < 0 || (size_t)len >= sizeof url)
		return CURLE_URL_MALFORMAT;
	return curl_easy_setopt(easy, CURLOPT_URL, url);
}

static CURLcode set_smtp(CURL *easy, const struct session *session)
{
	const struct relay_config *relay = session->relay;

	/* Libcurl takes the name for EHLO from the path of the URL. */
	CURLcode code = relay->helo != NULL ? set_url(easy, relay->url, "/", relay->helo)
					    : set_url(easy, relay->url, "", "");

	if (code == CURLE_OK)
		code = curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "smtp,smtps");
	if (code == CURLE_OK)
		code = curl_easy_setopt(
		    easy, CURLOPT_SERVER_RESPONSE_TIMEOUT, (long)relay->timeout.greeting);
	if (code == CURLE_OK)
		code = set_tls(easy, relay);
	if (code == CURLE_OK)
		code = set_auth(easy, relay, session->credential);
	return code;
}

/* A proxy for the web is none for LMTP. */
static CURLcode set_lmtp(CURL *easy, const struct relay_config *relay)
{
	static const char scheme[] = "lmtp://";
	CURLcode code = CURLE_OK;

	if (relay->path != NULL)
		code = set_url(easy, "http://", "localhost", "");
	else
		code = set_url(easy, "http://", relay->url + sizeof scheme - 1, "");
	if (code == CURLE_OK && relay->path != NULL)
		code = curl_easy_setopt(easy, CURLOPT_UNIX_SOCKET_PATH, relay->path);
	if (code == CURLE_OK)
		code = curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http");
	if (code == CURLE_OK)
		code = curl_easy_setopt(easy, CURLOPT_NOPROXY, "*");
	return code;
}

/*
 * To libcurl all is connecting until AUTH is through, so with timeout_connect it would cut short a
 * greeting that may take minutes. session_time_left tells the two apart.
 */
static long opening_seconds(const struct relay_config *relay)
{
	return (long)(relay->timeout.connect + OPENING_WAITS * relay->timeout.greeting);
}

static CURLcode set_options(struct session *session, const struct relay_config *relay)
{
	CURL *easy = session->easy;
	CURLcode code = is_lmtp(session) ? set_lmtp(easy, relay) : set_smtp(easy, session);

	if (code == CURLE_OK)
		code = curl_easy_setopt(easy, CURLOPT_CONNECT_ONLY, 1L);
	if (code == CURLE_OK)
		code = curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
	if (code == CURLE_OK)
		code = curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT, opening_seconds(relay));
	if (code == CURLE_OK)
		code = set_callbacks(session);
	return code;
}

/* Memory and TLS options are all that can be wrong here. */
static int open_failed(struct session *session, CURLcode code)
{
	(void)snprintf(session->why, sizeof session->why, "%s", curl_easy_strerror(code));
	session_close(session, NULL);
	return -1;
}

/* Both stay for the sessions that are opened in its place later. */
static bool make_buffers(struct session *session)
{
	if (session->out == NULL)
		session->out = malloc(SESSION_OUT_SIZE);
	if (session->ring == NULL)
		session->ring = calloc(SMTP_ROOM(session->depth), sizeof *session->ring);
	return session->out != NULL && session->ring != NULL;
}

int session_open(struct session *session, CURLM *multi, const struct relay_config *relay,
    const struct credential *credential, size_t depth, int64_t now_ms)
{
	CURLcode code;

	*session = (struct session){
	    .trace = session->trace, .out = session->out, .ring = session->ring, .depth = depth};
	session->relay = relay;
	session->credential = credential;
	session->socket = CURL_SOCKET_BAD;
	session->progress_ms = now_ms;
	session->easy = curl_easy_init();
	if (session->easy == NULL || !make_buffers(session))
		return open_failed(session, CURLE_OUT_OF_MEMORY);
	code = set_options(session, relay);
	if (code != CURLE_OK)
		return open_failed(session, code);
	if (curl_multi_add_handle(multi, session->easy) != CURLM_OK)
		return open_failed(session, CURLE_OUT_OF_MEMORY);
	session->state = SESSION_OPENING;
	return 0;
}

static bool is_smtps(const struct relay_config *relay)
{
	return strncmp(relay->url, "smtps:", 6) == 0;
}

void session_watch(struct session *session, int64_t now_ms)
{
	curl_off_t took = 0;

	if (session->state != SESSION_OPENING || session->connected)
		return;
	if (curl_easy_getinfo(session->easy,
		is_smtps(session->relay) ? CURLINFO_APPCONNECT_TIME_T : CURLINFO_CONNECT_TIME_T,
		&took) != CURLE_OK ||
	    took == 0)
		return;
	session->connected = true;
	session->progress_ms = now_ms;
}

/* What libcurl says of a failure: its own words name the cause, say an expired certificate. */
static const char *cause(const struct session *session, CURLcode result)
{
	return session->error[0] != '\0' ? session->error : curl_easy_strerror(result);
}

/* What the server said last, in clear, into SAID. */
static void quote(const struct session *session, char *said, size_t size)
{
	if (session->challenge[0] == '\0')
		(void)snprintf(said, size, "%s", session->why);
	else if (strncmp(session->why, "334", 3) == 0)
		(void)snprintf(said, size, "334 %s", session->challenge);
	else
		(void)snprintf(
		    said, size, "%.120s (before: %.110s)", session->why, session->challenge);
}

/* Puts together what libcurl says and what the server said last. */
static void explain(struct session *session, const char *text)
{
	char said[sizeof session->why];

	quote(session, said, sizeof said);
	if (said[0] == '\0')
		(void)snprintf(session->why, sizeof session->why, "%s", text);
	else
		(void)snprintf(session->why, sizeof session->why,
		    "%.200s; the relay's last line was: %.250s", text, said);
}

static struct advice_case advice_about(const struct session *session, CURLcode result)
{
	return (struct advice_case){.result = result,
	    .connected = session->connected,
	    .smtps = is_smtps(session->relay),
	    .lmtp = is_lmtp(session),
	    .local = session->relay->path != NULL,
	    .refused = session->refused,
	    .token = session->credential->token != NULL,
	    .offers_auth = result != CURLE_OK};
}

static const char *advise(const struct session *session, CURLcode result)
{
	struct advice_case what = advice_about(session, result);

	if (curl_easy_getinfo(session->easy, CURLINFO_SSL_VERIFYRESULT, &what.certificate) !=
	    CURLE_OK)
		return NULL;
	return advice_opening(&what);
}

void session_opening_expired(struct session *session)
{
	const struct advice_case what = advice_about(session, CURLE_OPERATION_TIMEDOUT);

	explain(session, "the relay did not answer in time");
	session->advice = advice_opening(&what);
}

static void begin(struct session *session, const struct smtp_offer *offer, int64_t now_ms)
{
	session->state = SESSION_OPEN;
	session->offer = *offer;
	session->why[0] = '\0';
	session->progress_ms = now_ms;
	smtp_init(&session->smtp, &session->offer, session->ring, session->depth);
}

static void on_hello_line(void *context, const char *line, size_t len)
{
	note_line(context, line, len);
}

static void begin_hello(struct session *session, int64_t now_ms)
{
	const char *name = session->relay->helo;

	if (name == NULL) {
		origin_host(session->name);
		name = session->name;
	}
	session->state = SESSION_HELLO;
	session->connected = true;
	session->progress_ms = now_ms;
	smtp_hello_init(&session->hello, name);
	session->hello.on_line = on_hello_line;
	session->hello.context = session;
}

void session_opened(struct session *session, CURLcode result, int64_t now_ms)
{
	const bool refused_login = strncmp(session->why, "53", 2) == 0;

	session->state = SESSION_CLOSED;
	if (result == CURLE_OK)
		result = curl_easy_getinfo(session->easy, CURLINFO_ACTIVESOCKET, &session->socket);
	if (result != CURLE_OK) {
		session->refused = result == CURLE_LOGIN_DENIED || refused_login;
		session->advice = advise(session, result);
		explain(session, cause(session, result));
		return;
	}
	/* A server without AUTH lets libcurl go on without a login. */
	if (session->credential->user != NULL && !session->authenticated) {
		session->refused = true;
		session->advice = advise(session, result);
		explain(session, "the relay has not taken the login: it offers no AUTH");
		return;
	}
	if (is_lmtp(session))
		begin_hello(session, now_ms);
	else
		begin(session, &session->offer, now_ms);
}

static void fail_hello(struct session *session, const char *fault)
{
	session->state = SESSION_CLOSED;
	session->advice = advise(session, CURLE_WEIRD_SERVER_REPLY);
	explain(session, fault);
}

/* Writes LHLO when it is time; it is short, but even so the peer may take it in two pieces. */
static void write_hello(struct session *session)
{
	while (session->state == SESSION_HELLO) {
		size_t n = 0;
		CURLcode code;

		if (session->out_pos == session->out_len) {
			session->out_pos = 0;
			session->out_len =
			    smtp_hello_output(&session->hello, session->out, SESSION_OUT_SIZE);
		}
		if (session->out_len == 0)
			return;
		code = curl_easy_send(session->easy, session->out + session->out_pos,
		    session->out_len - session->out_pos, &n);
		session->out_pos += n;
		if (code == CURLE_AGAIN)
			return;
		if (code != CURLE_OK)
			fail_hello(session, "the connection was lost while sending");
	}
}

static void read_hello(struct session *session, int64_t now_ms)
{
	char buf[1024];

	while (session->state == SESSION_HELLO && session->hello.state < SMTP_HELLO_DONE) {
		const enum smtp_hello_state before = session->hello.state;
		size_t n = 0;
		const CURLcode code = curl_easy_recv(session->easy, buf, sizeof buf, &n);

		if (code == CURLE_AGAIN)
			return;
		if (code != CURLE_OK || n == 0) {
			fail_hello(session, "the relay has closed the connection");
			return;
		}
		smtp_hello_input(&session->hello, buf, n);
		if (session->hello.state != before)
			session->progress_ms = now_ms;
	}
}

void session_greet(struct session *session, int64_t now_ms)
{
	read_hello(session, now_ms);
	write_hello(session);
	if (session->state != SESSION_HELLO)
		return;
	if (session->hello.state == SMTP_HELLO_FAILED)
		fail_hello(session, session->hello.fault);
	else if (session->hello.state == SMTP_HELLO_DONE)
		begin(session, &session->hello.offer, now_ms);
}

void session_fill(struct session *session)
{
	if (session->out_pos == session->out_len)
		session->out_pos = session->out_len = session->out_told = 0;
	session->out_len += smtp_output(
	    &session->smtp, session->out + session->out_len, SESSION_OUT_SIZE - session->out_len);
}

/* Of what TLS does not take yet, some records may have left all the same. */
static void tell_written(struct session *session)
{
	const bool exact = session->relay->tls == RELAY_TLS_NONE;
	const size_t upto = exact ? session->out_pos : session->out_len;

	if (upto > session->out_told) {
		smtp_written(&session->smtp, upto - session->out_told);
		session->out_told = upto;
	}
}

/* Writes as much of the out buffer as the peer takes; whether that was all. */
static bool write_out(struct session *session)
{
	while (session->out_pos < session->out_len) {
		size_t n = 0;
		const CURLcode code = curl_easy_send(session->easy, session->out + session->out_pos,
		    session->out_len - session->out_pos, &n);

		session->out_pos += n;
		tell_written(session);
		if (code == CURLE_AGAIN)
			return false;
		if (code != CURLE_OK) {
			/* What the relay said before it left tells more. */
			session_read(session, clock_monotonic());
			smtp_lost(&session->smtp, "the connection was lost while sending");
			return false;
		}
	}
	return true;
}

void session_write(struct session *session, int64_t now_ms)
{
	session_fill(session);
	if (session->out_pos == session->out_len)
		return;
	if (!session->heard)
		session_read(session, now_ms);
	session->heard = false;
	if (session->smtp.end != SMTP_OPEN || !write_out(session))
		return;
	session->progress_ms = now_ms;
	/* What comes next waits for its turn: other sessions have theirs first. */
	session_fill(session);
}

void session_read(struct session *session, int64_t now_ms)
{
	const size_t replies = session->smtp.replies;
	char buf[16 * 1024];

	while (session->smtp.end == SMTP_OPEN) {
		size_t n = 0;
		const CURLcode code = curl_easy_recv(session->easy, buf, sizeof buf, &n);

		session->heard = code == CURLE_AGAIN;
		if (session->heard)
			return;
		if (code != CURLE_OK || n == 0) {
			smtp_lost(&session->smtp, "the relay has closed the connection");
			return;
		}
		smtp_input(&session->smtp, buf, n);
		if (session->smtp.replies > replies)
			session->progress_ms = now_ms;
		/* With TLS there may be more that poll() does not see. */
		session->heard = session->relay->tls == RELAY_TLS_NONE && n < sizeof buf;
		if (session->heard)
			return;
	}
}

int64_t session_time_left(const struct session *session, int64_t now_ms)
{
	const struct relay_timeouts *timeout = &session->relay->timeout;
	int64_t seconds = 0;

	if (session->state != SESSION_OPEN) {
		seconds = session->connected ? timeout->greeting : timeout->connect;
		return session->progress_ms + seconds * 1000 + GRACE_MS - now_ms;
	}
	if (session->smtp.quit_sent)
		return session->progress_ms + SESSION_QUIT_MS - now_ms;
	switch (smtp_phase(&session->smtp)) {
	case SMTP_IDLE:
		return INT64_MAX;
	case SMTP_COMMAND:
		seconds = timeout->command;
		break;
	case SMTP_DATA:
		seconds = timeout->data;
		break;
	case SMTP_BLOCK:
		seconds = timeout->block;
		break;
	case SMTP_DOT:
		seconds = timeout->dot;
		break;
	}
	return session->progress_ms + seconds * 1000 - now_ms;
}

void session_close(struct session *session, CURLM *multi)
{
	/* Removing a handle that is not in the multi is no error worth a word. */
	if (session->easy != NULL && multi != NULL)
		(void)curl_multi_remove_handle(multi, session->easy);
	curl_easy_cleanup(session->easy);
	session->easy = NULL;
	session->state = SESSION_CLOSED;
	session->out_len = session->out_pos = session->out_told = 0;
}

void session_free(struct session *session, CURLM *multi)
{
	session_close(session, multi);
	free(session->out);
	free(session->ring);
	session->out = NULL;
	session->ring = NULL;
}
