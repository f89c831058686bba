#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "confurl.h"

static struct confurl parsed(const char *text)
{
	struct confurl url;
	const char *fault = confurl_parse(text, &url);

	if (fault)
		fail_msg("%s %s", text, fault);
	return url;
}

static void smtp_is(const char *text, bool encrypted, const char *host, unsigned port)
{
	struct confurl url = parsed(text);

	assert_int_equal(url.kind, RELAY_SMTP);
	assert_int_equal(url.encrypted, encrypted);
	assert_string_equal(url.host, host);
	assert_int_equal(url.port, port);
	assert_null(url.path);
	assert_null(url.endpoint);
}

static void path_is(const char *text, enum relay_kind kind, const char *path)
{
	struct confurl url = parsed(text);

	assert_int_equal(url.kind, kind);
	assert_string_equal(url.path, path);
	assert_string_equal(url.host, "");
	assert_null(url.endpoint);
}

static void api_is(const char *text, enum relay_kind kind, bool encrypted, const char *endpoint)
{
	struct confurl url = parsed(text);

	assert_int_equal(url.kind, kind);
	assert_int_equal(url.encrypted, encrypted);
	assert_string_equal(url.endpoint, endpoint);
	assert_null(url.path);
}

static void fails(const char *text, const char *why)
{
	struct confurl url;
	const char *fault = confurl_parse(text, &url);

	if (!fault)
		fail_msg("%s was accepted", text);
	if (!strstr(fault, why))
		fail_msg("%s: \"%s\" does not say \"%s\"", text, fault, why);
}

static void test_smtp(void **state)
{
	(void)state;
	smtp_is("smtp://smtp.example.com:587", false, "smtp.example.com", 587);
	smtp_is("smtps://mx", true, "mx", 0);
	smtp_is("smtp://192.0.2.1:1", false, "192.0.2.1", 1);
	smtp_is("smtp://[2001:db8::1]:65535", false, "2001:db8::1", 65535);
	smtp_is("smtp://[::1]", false, "::1", 0);
	smtp_is("smtp://mail_relay.local", false, "mail_relay.local", 0);
}

static void test_smtp_faults(void **state)
{
	(void)state;
	fails("", "smtp://");
	fails("smtp.example.com", "smtp://");
	fails("SMTP://host", "smtp://");
	fails("ftp://host", "smtp://");
	fails("smtp:/host", "//");
	fails("smtp://", "no host");
	fails("smtp://:25", "no host");
	fails("smtp://[]:25", "no host");
	fails("smtp://[::1", "']'");
	fails("smtp://[192.0.2.1]", "no IPv6");
	fails("smtp://[fe80::1%25eth0]", "no IPv6");
	fails("smtp://[::1]x", "port");
	fails("smtp://user:secret@host", "password_file");
	fails("smtp://user@host", "password_file");
	fails("smtp://user:a/b@host", "password_file");
	fails("smtp://host/", "end behind");
	fails("smtp://host:25/", "end behind");
	fails("smtp://host?x=1", "end behind");
	fails("smtp://host#x", "end behind");
	fails("smtp://host:", "port");
	fails("smtp://host:0", "port");
	fails("smtp://host:65536", "port");
	fails("smtp://host:025", "port");
	fails("smtp://host:25x", "port");
	fails("smtp://2001:db8::1", "port");
	fails("smtp://a..b", "neither");
	fails("smtp://a b", "neither");
	fails("smtp://-a", "neither");
	fails("smtp://b\xc3\xbc"
	      "cher.example",
	    "xn--");
}

/* The longest names, and one byte more. */
static void test_lengths(void **state)
{
	char text[512] = "smtp://";
	char label[65];
	struct confurl url;
	int i;

	(void)state;
	memset(label, 'a', sizeof label);
	(void)snprintf(text, sizeof text, "smtp://%.63s", label);
	assert_null(confurl_parse(text, &url));
	(void)snprintf(text, sizeof text, "smtp://%.64s", label);
	assert_non_null(confurl_parse(text, &url));
	strcpy(text, "smtp://a");
	for (i = 0; i < 126; i++)
		strcat(text, ".a");
	assert_null(confurl_parse(text, &url));
	assert_int_equal(strlen(url.host), CONFVALUE_HOST_MAX);
	strcat(text, "a");
	assert_non_null(confurl_parse(text, &url));
}

static void test_lmtp(void **state)
{
	struct confurl url = parsed("lmtp://[::1]:24");

	(void)state;
	assert_int_equal(url.kind, RELAY_LMTP);
	assert_false(url.encrypted);
	assert_string_equal(url.host, "::1");
	assert_int_equal(url.port, 24);
	assert_null(url.path);
	path_is("lmtp+unix:/run/dovecot/lmtp", RELAY_LMTP, "/run/dovecot/lmtp");
	path_is("lmtp+unix:///run/lmtp", RELAY_LMTP, "/run/lmtp");
	fails("lmtp://localhost", "port");
	fails("lmtp://localhost:24/x", "end behind");
	fails("lmtp+unix:run/lmtp", "absolute");
	fails("lmtp+unix://run/lmtp", "absolute");
	fails("lmtp+unix:/run/", "not with a '/'");
}

static void test_socket_length(void **state)
{
	char text[128] = "lmtp+unix:/";
	struct confurl url;

	(void)state;
	memset(text + strlen(text), 'a', 106);
	assert_null(confurl_parse(text, &url));
	assert_int_equal(strlen(url.path), 107);
	strcat(text, "a");
	fails(text, "107 bytes");
}

static void test_paths(void **state)
{
	(void)state;
	path_is("command:/usr/sbin/sendmail", RELAY_COMMAND, "/usr/sbin/sendmail");
	path_is("maildir:/var/mail/a b@c", RELAY_MAILDIR, "/var/mail/a b@c");
	path_is("maildir:///var/mail", RELAY_MAILDIR, "/var/mail");
	fails("command:sendmail", "absolute");
	fails("command:", "absolute");
	fails("command:/", "root folder");
	fails("command:/usr/sbin/", "not with a '/'");
	fails("maildir:///", "root folder");
	fails("maildir://host/folder", "absolute");
}

static void test_apis(void **state)
{
	(void)state;
	api_is("https://mail.example.com/a/b%20c", RELAY_HTTP, true,
	    "https://mail.example.com/a/b%20c");
	api_is("https://h:8443", RELAY_HTTP, true, "https://h:8443");
	api_is("https://h/a@b:c", RELAY_HTTP, true, "https://h/a@b:c");
	api_is("http://127.0.0.1:80/x", RELAY_HTTP, false, "http://127.0.0.1:80/x");
	api_is("ses+https://email.eu-west-1.amazonaws.com", RELAY_SES, true,
	    "https://email.eu-west-1.amazonaws.com");
	api_is("ses+http://[::1]:1", RELAY_SES, false, "http://[::1]:1");
	api_is("mailgun+https://api.mailgun.net/v3/mg.example.com", RELAY_MAILGUN, true,
	    "https://api.mailgun.net/v3/mg.example.com");
	api_is("mailgun+http://localhost:9/v3/x", RELAY_MAILGUN, false, "http://localhost:9/v3/x");
	api_is("gmail+https://gmail.googleapis.com", RELAY_GMAIL, true,
	    "https://gmail.googleapis.com");
	api_is("gmail+http://localhost:9", RELAY_GMAIL, false, "http://localhost:9");
	api_is("graph+https://graph.microsoft.com:443", RELAY_GRAPH, true,
	    "https://graph.microsoft.com:443");
	api_is("graph+http://localhost", RELAY_GRAPH, false, "http://localhost");
}

static void test_api_faults(void **state)
{
	(void)state;
	fails("http://mail.example.com/", "in place of http");
	fails("ses+http://email.eu-west-1.amazonaws.com", "in place of http");
	fails("https://", "no host");
	fails("https:/h", "//");
	fails("https://u:p@h/x", "password_file");
	fails("https://u@h", "password_file");
	fails("https://h/x?key=1", "'?'");
	fails("https://h/x#y", "'#'");
	fails("https://h:x/y", "port");
	fails("https://h:123456/y", "port");
	fails("https://h/a b", "%XX");
	fails("https://h/\xc3\xa4", "%XX");
	fails("ses+https://h/v2", "end behind");
	fails("gmail+https://h/", "end behind");
	fails("graph+https://h/v1.0", "end behind");
	fails("mailgun+https://h", "/v3/");
	fails("mailgun+https://h/v3/", "/v3/");
	fails("mailgun+https://h/v3/a/b", "/v3/");
	fails("mailgun+https://h/v4/a", "/v3/");
	fails("ses+smtp://h", "ses+https://");
}

/* Each example is one of its kind. */
static void test_examples(void **state)
{
	static const enum relay_kind some[] = {RELAY_SMTP, RELAY_COMMAND, RELAY_MAILDIR, RELAY_HTTP,
	    RELAY_SES, RELAY_MAILGUN, RELAY_GMAIL, RELAY_GRAPH};
	size_t i;

	(void)state;
	for (i = 0; i < sizeof some / sizeof some[0]; i++) {
		const char *example = confurl_example(some[i]);

		assert_int_equal(parsed(example).kind, some[i]);
		assert_int_equal(
		    strncmp(example, confurl_start(some[i]), strlen(confurl_start(some[i]))), 0);
	}
	assert_non_null(strstr(confurl_example(RELAY_LMTP), "lmtp+unix:/"));
}

static void region_is(const char *host, const char *region)
{
	size_t len = 0;
	const char *found = confurl_region(host, &len);

	if (!region) {
		assert_null(found);
		return;
	}
	assert_non_null(found);
	assert_int_equal(len, strlen(region));
	assert_memory_equal(found, region, len);
}

static void test_region(void **state)
{
	(void)state;
	region_is("email.eu-west-1.amazonaws.com", "eu-west-1");
	region_is("email-fips.us-gov-west-1.amazonaws.com", "us-gov-west-1");
	region_is("email.cn-north-1.amazonaws.com.cn", "cn-north-1");
	region_is("email.eu-central-1.api.aws", "eu-central-1");
	region_is("vpce-1.email.eu-west-1.vpce.amazonaws.com", "eu-west-1");
	region_is("email.amazonaws.com", NULL);
	region_is("email.eu-west-1.example.com", NULL);
	region_is("localhost", NULL);
	region_is("eu-west-1.amazonaws.com", NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_smtp),
	    cmocka_unit_test(test_smtp_faults),
	    cmocka_unit_test(test_lengths),
	    cmocka_unit_test(test_lmtp),
	    cmocka_unit_test(test_socket_length),
	    cmocka_unit_test(test_paths),
	    cmocka_unit_test(test_apis),
	    cmocka_unit_test(test_api_faults),
	    cmocka_unit_test(test_examples),
	    cmocka_unit_test(test_region),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
