#include "origin.h"

#include <ctype.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "slurp.h"

static const char MAILNAME[] = "/etc/mailname"; /* Debian's: the domain of mail from this host */

void origin_full_name(const char *gecos, const char *login, char *name, size_t size)
{
	size_t made = 0;

	for (; *gecos != '\0' && *gecos != ',' && made + 1 < size; gecos++) {
		if (*gecos != '&') {
			name[made++] = *gecos;
			continue;
		}
		(void)snprintf(name + made, size - made, "%s", login);
		name[made] = (char)toupper((unsigned char)name[made]);
		made += strlen(name + made);
	}
	name[made] = '\0';
	if (!compose_is_name(name))
		name[0] = '\0';
}

static void set_user(struct origin *origin)
{
	const struct passwd *user;

	origin->uid = getuid();
	user = getpwuid(origin->uid);
	if (user == NULL || strlen(user->pw_name) >= sizeof origin->login) {
		(void)snprintf(
		    origin->login, sizeof origin->login, "uid%lu", (unsigned long)origin->uid);
		return;
	}
	(void)snprintf(origin->login, sizeof origin->login, "%s", user->pw_name);
	origin_full_name(user->pw_gecos != NULL ? user->pw_gecos : "", origin->login,
	    origin->full_name, sizeof origin->full_name);
}

void origin_host(char host[CONFVALUE_HOST_MAX + 1])
{
	if (gethostname(host, CONFVALUE_HOST_MAX + 1) == -1)
		host[0] = '\0';
	host[CONFVALUE_HOST_MAX] = '\0';
	if (confvalue_helo(host) != NULL)
		(void)snprintf(host, CONFVALUE_HOST_MAX + 1, "localhost");
}

/* Reads the first line of MAILNAME, if it is a name that mail can come from. */
static void set_mailname(struct origin *origin)
{
	struct stat st;
	const char *fault;
	const ssize_t len = slurp(MAILNAME, origin->domain, sizeof origin->domain - 1, &st, &fault);

	origin->domain[len > 0 ? len : 0] = '\0';
	origin->domain[strcspn(origin->domain, "\r\n")] = '\0';
	if (confvalue_helo(origin->domain) != NULL)
		origin->domain[0] = '\0';
}

void origin_find(struct origin *origin, const char *domain)
{
	*origin = (struct origin){.uid = 0};
	set_user(origin);
	origin_host(origin->host);
	if (domain == NULL)
		set_mailname(origin);
	if (origin->domain[0] == '\0')
		(void)snprintf(origin->domain, sizeof origin->domain, "%s",
		    domain != NULL ? domain : origin->host);
}
