#include "advice.h"

#include <stddef.h>

/*
 * X509_V_ERR_… of OpenSSL, which libcurl hands on. The name is compared by libcurl, which leaves
 * there what was before, or that the chain is good.
 */
enum {
	CERTIFICATE_FINE = 0,
	CERTIFICATE_UNTOLD = 1,
	CERTIFICATE_NOT_YET = 9,
	CERTIFICATE_EXPIRED = 10
};

static const char *about_login(const struct advice_case *what)
{
	if (what->token)
		return "see whether the server offers what auth names, and whether the token is\n"
		       "for user and has the scope that the provider asks for: maildrain.conf(5)";
	if (what->offers_auth)
		return "see whether user is right, and what password_file or password_command "
		       "gives;\n"
		       "some providers want a password made for one program alone";
	return "use the port for submission, most often 587, or 465 with smtps://;\n"
	       "for a server that asks for no password remove user and password_file";
}

static const char *about_certificate(const struct advice_case *what)
{
	switch (what->certificate) {
	case CERTIFICATE_FINE:
	case CERTIFICATE_UNTOLD:
		return "write a name that its certificate has into url;\n"
		       "if that is not your provider's, it may be another server";
	case CERTIFICATE_NOT_YET:
		return "see whether the clock of this host is right: date";
	case CERTIFICATE_EXPIRED:
		return "see whether the clock of this host is right: date;\n"
		       "if it is, the server's administrator must renew the certificate";
	default:
		return "install the package ca-certificates;\n"
		       "for an authority of your own name its certificate in ca_file";
	}
}

static const char *about_tls(bool smtps)
{
	return smtps ? "smtps:// is for TLS from the first byte, most often on port 465;\n"
		       "for STARTTLS, most often on port 587, write smtp://"
		     : "the server has no TLS version or cipher in common with this host;\n"
		       "see tls_min_version, and ask the server's administrator";
}

static const char *about_silence(const struct advice_case *what)
{
	if (what->lmtp && what->connected)
		return "the server is slow or hangs: ask its administrator";
	if (!what->connected)
		return "see whether host and port in url are right; else a firewall is in the way\n"
		       "(many networks let nobody out on port 25: use 587 or 465)";
	return what->smtps ? "the server is slow or hangs: ask its administrator"
			   : "if it wants TLS from the first byte, most often on port 465, write "
			     "smtps://;\nelse the server is slow or hangs";
}

static const char *about_refusal(const struct advice_case *what)
{
	if (what->local)
		return "see whether the path in url is right, whether the server runs, and "
		       "whether\n"
		       "maildrain's user may use its socket";
	return "see whether host and port in url are right, and whether the server runs";
}

static const char *about_words(const struct advice_case *what)
{
	if (what->lmtp)
		return "the server's words, if any, stand above;\n"
		       "for one that speaks SMTP write smtp:// into url";
	return "the server's words, if any, stand above;\n"
	       "it may refuse this host, or be no SMTP server: see url";
}

const char *advice_opening(const struct advice_case *what)
{
	if (what->refused)
		return about_login(what);
	switch (what->result) {
	case CURLE_COULDNT_RESOLVE_HOST:
		return "see whether the host in url is spelt right: getent hosts NAME";
	case CURLE_COULDNT_CONNECT:
		return about_refusal(what);
	case CURLE_PEER_FAILED_VERIFICATION:
		return about_certificate(what);
	case CURLE_USE_SSL_FAILED:
		return "use the port for submission, most often 587, or 465 with smtps://;\n"
		       "tls = \"none\" is for a network that you trust";
	case CURLE_SSL_CONNECT_ERROR:
		return about_tls(what->smtps);
	case CURLE_SSL_CACERT_BADFILE:
		return "see whether ca_file is the PEM file of an authority";
	case CURLE_SSL_CERTPROBLEM:
		return "see whether cert_file and key_file are PEM files that belong together";
	case CURLE_OPERATION_TIMEDOUT:
		return about_silence(what);
	case CURLE_WEIRD_SERVER_REPLY:
	case CURLE_RECV_ERROR:
	case CURLE_GOT_NOTHING:
		return about_words(what);
	default:
		return NULL;
	}
}

const char *advice_http(CURLcode result, long certificate, bool connected)
{
	const struct advice_case what = {.result = result, .certificate = certificate};

	switch (result) {
	case CURLE_SSL_CONNECT_ERROR:
		return "see whether host and port in url are right, and tls_min_version;\n"
		       "a server without TLS can't be used";
	case CURLE_OPERATION_TIMEDOUT:
		return connected ? "the server is slow or hangs: see the provider's status page"
				 : "see whether host and port in url are right;\n"
				   "else a firewall is in the way";
	case CURLE_WEIRD_SERVER_REPLY:
	case CURLE_RECV_ERROR:
	case CURLE_GOT_NOTHING:
	case CURLE_HTTP2:
	case CURLE_HTTP2_STREAM:
		return "it may refuse this host, or be no HTTP server: see url";
	default:
		return advice_opening(&what);
	}
}
