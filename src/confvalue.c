#include "confvalue.h"

#include <arpa/inet.h>
#include <string.h>
#include <strings.h>

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

bool confvalue_is_domain(const char *text, const char *more)
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

const char *confvalue_pattern(const char *text)
{
	const char *at = strrchr(text, '@');

	if (strpbrk(text, "<> ,"))
		return "must be a pattern such as \"*@example.com\", without blanks, commas, \"<\" "
		       "and \">\"";
	if (at == text)
		return "has nothing before its \"@\"; write the domain alone, or * before it";
	if (at && !at[1])
		return "has nothing behind its \"@\"";
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
	if (is_literal(text) || confvalue_is_domain(text, "-"))
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
