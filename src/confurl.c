#include "confurl.h"

#include <arpa/inet.h>
#include <stdint.h>
#include <string.h>
#include <sys/un.h>

#include "units.h"

#define PORT_DIGITS  5
#define COUNT(array) (sizeof(array) / sizeof(array)[0])

/* What stands behind a scheme. */
enum form {
	HOST,	     /* //HOST[:PORT] */
	HOST_PORT,   /* //HOST:PORT */
	API,	     /* //HOST[:PORT][/PATH], with https or, for loopback hosts, http before it */
	API_HOST,    /* the same without a path */
	API_MAILGUN, /* the same with the path /v3/DOMAIN */
	SOCKET,	     /* /PATH */
	PROGRAM,
	FOLDER
};

static const struct scheme {
	const char *name; /* with its colon */
	enum relay_kind kind;
	enum form form;
	bool encrypted;
	size_t prefix; /* bytes of it that stand before those of http */
} schemes[] = {
    {"smtp:", RELAY_SMTP, HOST, false, 0},
    {"smtps:", RELAY_SMTP, HOST, true, 0},
    {"lmtp:", RELAY_LMTP, HOST_PORT, false, 0},
    {"lmtp+unix:", RELAY_LMTP, SOCKET, false, 0},
    {"command:", RELAY_COMMAND, PROGRAM, false, 0},
    {"maildir:", RELAY_MAILDIR, FOLDER, false, 0},
    {"https:", RELAY_HTTP, API, true, 0},
    {"http:", RELAY_HTTP, API, false, 0},
    {"ses+https:", RELAY_SES, API_HOST, true, 4},
    {"ses+http:", RELAY_SES, API_HOST, false, 4},
    {"mailgun+https:", RELAY_MAILGUN, API_MAILGUN, true, 8},
    {"mailgun+http:", RELAY_MAILGUN, API_MAILGUN, false, 8},
    {"gmail+https:", RELAY_GMAIL, API_HOST, true, 6},
    {"gmail+http:", RELAY_GMAIL, API_HOST, false, 6},
    {"graph+https:", RELAY_GRAPH, API_HOST, true, 6},
    {"graph+http:", RELAY_GRAPH, API_HOST, false, 6},
};

static const struct {
	const char *start;
	const char *example;
} kinds[] = {
    [RELAY_SMTP] = {"smtp://", "smtp://smtp.example.com:587"},
    [RELAY_LMTP] = {"lmtp", "lmtp://localhost:24\" or \"lmtp+unix:/run/dovecot/lmtp"},
    [RELAY_COMMAND] = {"command:", "command:/usr/sbin/sendmail"},
    [RELAY_MAILDIR] = {"maildir:", "maildir:/var/mail/staging"},
    [RELAY_HTTP] = {"https://", "https://mail.example.com/send"},
    [RELAY_SES] = {"ses+https://", "ses+https://email.eu-west-1.amazonaws.com"},
    [RELAY_MAILGUN] = {"mailgun+https://", "mailgun+https://api.mailgun.net/v3/example.com"},
    [RELAY_GMAIL] = {"gmail+https://", "gmail+https://gmail.googleapis.com"},
    [RELAY_GRAPH] = {"graph+https://", "graph+https://graph.microsoft.com"},
};

const char *confurl_example(enum relay_kind kind)
{
	return kinds[kind].example;
}

const char *confurl_start(enum relay_kind kind)
{
	return kinds[kind].start;
}

/* Copies LEN bytes to the host of URL. */
static const char *set_host(struct confurl *url, const char *text, size_t len)
{
	if (len == 0)
		return "has no host name behind its //";
	if (len > CONFVALUE_HOST_MAX)
		return "has a host name that is too long";
	memcpy(url->host, text, len);
	url->host[len] = '\0';
	return NULL;
}

/* Reads the host, which is REST up to a colon, a slash or a bracket; REST goes behind it. */
static const char *scan_host(struct confurl *url, const char **rest)
{
	struct in6_addr address;
	const char *text = *rest, *fault;
	size_t len;

	if (*text != '[') {
		len = strcspn(text, ":/");
		*rest += len;
		fault = set_host(url, text, len);
		if (fault || confvalue_is_domain(url->host, "-_"))
			return fault;
		return "has a host that is neither a name (in ASCII: xn-- for others) nor an "
		       "address (IPv6 in [brackets])";
	}
	len = strcspn(text, "]");
	if (!text[len])
		return "has a '[' without its ']'";
	*rest += len + 1;
	fault = set_host(url, text + 1, len - 1);
	if (fault || inet_pton(AF_INET6, url->host, &address) == 1)
		return fault;
	return "has no IPv6 address in its brackets";
}

/* Reads ":PORT" where it stands; REST goes behind it. */
static const char *scan_port(struct confurl *url, const char **rest)
{
	static const char fault[] = "must have a port from 1 to 65535 behind its host, or nothing";
	char digits[PORT_DIGITS + 1];
	size_t len;
	int64_t port;

	if (**rest == '\0' || **rest == '/')
		return NULL;
	len = strcspn(*rest + 1, "/");
	if (**rest != ':' || len > PORT_DIGITS)
		return fault;
	memcpy(digits, *rest + 1, len);
	digits[len] = '\0';
	if (!units_number(digits, UINT16_MAX, &port) || port == 0)
		return fault;
	url->port = (unsigned)port;
	*rest += 1 + len;
	return NULL;
}

static bool is_url_path(const char *text)
{
	for (; *text; text++)
		if ((unsigned char)*text <= ' ' || (unsigned char)*text >= 0x7f ||
		    strchr("\"<>\\^`{|}", *text))
			return false;
	return true;
}

/* What is wrong with what stands behind host and port. */
static const char *path_fault(enum form form, const char *path)
{
	static const char V3[] = "/v3/";

	if (form == API)
		return is_url_path(path) ? NULL
					 : "has a character in its path that must be written as "
					   "%XX";
	if (form != API_MAILGUN)
		return *path ? "must end behind its host and port" : NULL;
	if (strncmp(path, V3, strlen(V3)) != 0 || !confvalue_is_domain(path + strlen(V3), "-_"))
		return "must end with /v3/ and the domain that Mailgun sends for";
	return NULL;
}

/* Reads what stands behind the scheme, where that is to be //HOST[:PORT][/PATH]. */
static const char *scan_server(
    const struct scheme *scheme, const char *text, const char *rest, struct confurl *url)
{
	const char *fault, *end;

	if (strncmp(rest, "//", 2) != 0)
		return "must have // and a host behind its first colon";
	rest += 2;
	end = scheme->form == API ? strchr(rest, '/') : NULL;
	if (memchr(rest, '@', end ? (size_t)(end - rest) : strlen(rest)))
		return "must not hold a user or a password; use the options user and "
		       "password_file";
	if (strpbrk(rest, "?#"))
		return "must end behind its host, port and path, with no '?' and no '#'";
	fault = scan_host(url, &rest);
	if (!fault)
		fault = scan_port(url, &rest);
	if (!fault)
		fault = path_fault(scheme->form, rest);
	if (fault)
		return fault;
	if (scheme->form == HOST_PORT && url->port == 0)
		return "must have a port behind its host: there is none that LMTP always has";
	if (scheme->form < API || scheme->form > API_MAILGUN)
		return NULL;
	url->endpoint = text + scheme->prefix;
	if (!scheme->encrypted && !confvalue_is_loopback(url->host))
		return "must start with https in place of http, which goes unencrypted and so only "
		       "to "
		       "localhost, [::1] or 127.0.0.1";
	return NULL;
}

/* Reads what stands behind the scheme, where that is to be a path. */
static const char *scan_path(enum form form, const char *rest, struct confurl *url)
{
	const size_t slashes = strspn(rest, "/");
	const size_t len = strlen(rest);

	/* maildir:///PATH is the same as maildir:/PATH; behind two slashes a host would stand. */
	if (slashes == 0 || slashes == 2)
		return "must have an absolute path behind its colon, starting with one '/'";
	if (slashes == len)
		return "must name more than the root folder";
	if (form != FOLDER && rest[len - 1] == '/')
		return "must end with what names a file, not with a '/'";
	url->path = rest + slashes - 1;
	if (form == SOCKET && strlen(url->path) >= sizeof((struct sockaddr_un *)NULL)->sun_path)
		return "has a path that is longer than the 107 bytes a socket may have";
	return NULL;
}

static const struct scheme *find_scheme(const char *text)
{
	size_t i;

	for (i = 0; i < COUNT(schemes); i++)
		if (strncmp(text, schemes[i].name, strlen(schemes[i].name)) == 0)
			return &schemes[i];
	return NULL;
}

const char *confurl_parse(const char *text, struct confurl *url)
{
	const struct scheme *scheme = find_scheme(text);
	const char *rest;

	memset(url, 0, sizeof *url);
	if (!scheme)
		return "must start with smtp://, smtps://, lmtp://, lmtp+unix:, command:, "
		       "maildir:, https://, ses+https://, mailgun+https://, gmail+https:// or "
		       "graph+https://";
	url->kind = scheme->kind;
	url->encrypted = scheme->encrypted;
	rest = text + strlen(scheme->name);
	return scheme->form >= SOCKET ? scan_path(scheme->form, rest, url)
				      : scan_server(scheme, text, rest, url);
}

const char *confurl_region(const char *host, size_t *len)
{
	static const char *const services[] = {"email.", "email-fips."};
	const char *label = host;
	size_t i;

	if (!strstr(host, ".amazonaws.com") && !strstr(host, ".api.aws"))
		return NULL;
	for (; *label; label += strcspn(label, "."), label += *label == '.')
		for (i = 0; i < COUNT(services); i++)
			if (strncmp(label, services[i], strlen(services[i])) == 0) {
				label += strlen(services[i]);
				*len = strcspn(label, ".");
				return memchr(label, '-', *len) ? label : NULL;
			}
	return NULL;
}
