#include "confvalue.h"

#include <arpa/inet.h>
#include <stdint.h>
#include <string.h>
#include <strings.h>

#include "units.h"

#define LABEL_MAX 63 /* bytes between two dots, RFC 1035 section 2.3.4 */
#define WORD_MAX  40 /* bytes that confvalue_distance compares */

static bool is_alnum(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

static bool all_in(const char *text, size_t len, const char *more)
{
	size_t i;

	for (i = 0; i < len; i++)
		if (!is_alnum(text[i]) && (!text[i] || !strchr(more, text[i])))
			return false;
	return true;
}

/* Labels with a dot between each two, of letters, digits and the bytes in MORE. */
static bool is_domain(const char *text, const char *more)
{
	const char *label = text;

	if (strlen(text) > CONFVALUE_HOST_MAX)
		return false;
	for (;;) {
		size_t len = strcspn(label, ".");

		if (len == 0 || len > LABEL_MAX || !all_in(label, len, more))
			return false;
		if (label[0] == '-' || label[len - 1] == '-')
			return false;
		if (!label[len])
			return true;
		label += len + 1;
	}
}

static bool is_address(int family, const char *text)
{
	struct in6_addr address; /* the larger of the two */

	return inet_pton(family, text, &address) == 1;
}

/* Copies LEN bytes to the host of URL. */
static const char *set_host(struct confvalue_url *url, const char *text, size_t len)
{
	if (len == 0)
		return "has no host name behind its //";
	if (len > CONFVALUE_HOST_MAX)
		return "has a host name that is too long";
	memcpy(url->host, text, len);
	url->host[len] = '\0';
	return NULL;
}

/* Reads the host, which is REST up to a colon or a bracket; REST goes behind it. */
static const char *scan_host(struct confvalue_url *url, const char **rest)
{
	const char *text = *rest, *fault;
	size_t len;

	if (*text != '[') {
		len = strcspn(text, ":");
		*rest += len;
		fault = set_host(url, text, len);
		if (fault || is_domain(url->host, "-_"))
			return fault;
		return "has a host that is neither a name (in ASCII: xn-- for others) nor an "
		       "address (IPv6 in [brackets])";
	}
	len = strcspn(text, "]");
	if (!text[len])
		return "has a '[' without its ']'";
	*rest += len + 1;
	fault = set_host(url, text + 1, len - 1);
	if (fault || is_address(AF_INET6, url->host))
		return fault;
	return "has no IPv6 address in its brackets";
}

const char *confvalue_url(const char *text, struct confvalue_url *url)
{
	static const char SMTP[] = "smtp://", SMTPS[] = "smtps://";
	const char *rest, *fault;
	int64_t port;

	memset(url, 0, sizeof *url);
	url->smtps = strncmp(text, SMTPS, strlen(SMTPS)) == 0;
	if (!url->smtps && strncmp(text, SMTP, strlen(SMTP)) != 0)
		return "must start with smtp:// or smtps://";
	rest = text + strlen(url->smtps ? SMTPS : SMTP);
	if (strchr(rest, '@'))
		return "must not hold a user or a password; use the options user and "
		       "password_file";
	if (strpbrk(rest, "/?#"))
		return "must end behind its host and port";
	fault = scan_host(url, &rest);
	if (fault || !*rest)
		return fault;
	if (*rest != ':' || !units_number(rest + 1, UINT16_MAX, &port) || port == 0)
		return "must end with a port from 1 to 65535, or with its host";
	url->port = (unsigned)port;
	return NULL;
}

bool confvalue_is_plain(const char *text)
{
	for (; *text; text++)
		if ((unsigned char)*text < ' ' || *text == 0x7f)
			return false;
	return true;
}

bool confvalue_is_loopback(const char *host)
{
	struct in_addr v4;
	struct in6_addr v6;

	if (inet_pton(AF_INET, host, &v4) == 1)
		return ntohl(v4.s_addr) >> 24 == 127;
	if (inet_pton(AF_INET6, host, &v6) == 1)
		return IN6_IS_ADDR_LOOPBACK(&v6);
	return strcasecmp(host, "localhost") == 0;
}

/* Whether TEXT is [IPv4] or [IPv6:address]. */
static bool is_literal(const char *text)
{
	static const char TAG[] = "IPv6:";
	char address[INET6_ADDRSTRLEN + sizeof TAG];
	size_t len = strlen(text);

	if (len < 2 || len - 2 >= sizeof address || text[0] != '[' || text[len - 1] != ']')
		return false;
	memcpy(address, text + 1, len - 2);
	address[len - 2] = '\0';
	if (strncasecmp(address, TAG, strlen(TAG)) == 0)
		return is_address(AF_INET6, address + strlen(TAG));
	return is_address(AF_INET, address);
}

const char *confvalue_helo(const char *text)
{
	if (is_literal(text) || is_domain(text, "-"))
		return NULL;
	return "must be a host name such as mail.example.com, or an address such as [192.0.2.1]";
}

const char *confvalue_name(const char *text, size_t len)
{
	if (len > 0 && len <= CONFVALUE_NAME_MAX && all_in(text, len, "-_"))
		return NULL;
	return "must be 1 to 32 letters, digits, '-' or '_'";
}

static unsigned least(unsigned a, unsigned b, unsigned c)
{
	unsigned ab = a < b ? a : b;

	return ab < c ? ab : c;
}

unsigned confvalue_distance(const char *a, size_t a_len, const char *b, size_t b_len)
{
	unsigned row[WORD_MAX + 1]; /* of Levenshtein's table; one is enough */
	unsigned i, j;

	if (a_len > WORD_MAX || b_len > WORD_MAX)
		return 99;
	for (j = 0; j <= b_len; j++)
		row[j] = j;
	for (i = 1; i <= a_len; i++) {
		unsigned diagonal = row[0];

		row[0] = i;
		for (j = 1; j <= b_len; j++) {
			unsigned above = row[j], change = a[i - 1] != b[j - 1];

			row[j] = least(above + 1, row[j - 1] + 1, diagonal + change);
			diagonal = above;
		}
	}
	return row[b_len];
}
