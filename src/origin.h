/*
 * origin: who hands in a message, and from where.
 */
#ifndef MAILDRAIN_ORIGIN_H
#define MAILDRAIN_ORIGIN_H

#include <sys/types.h>

#include "compose.h"
#include "confvalue.h"

#define ORIGIN_LOGIN_MAX 256

struct origin {
	uid_t uid;
	char login[ORIGIN_LOGIN_MAX];	      /* "uid1000" when the user has no name */
	char full_name[COMPOSE_NAME_MAX + 1]; /* from there; "" for none that can be used */
	char host[CONFVALUE_HOST_MAX + 1];    /* of this machine, a valid name */
	char domain[CONFVALUE_HOST_MAX + 1];
};

/* The name of this machine in HOST, or "localhost" when it is none that EHLO could take. */
void origin_host(char host[CONFVALUE_HOST_MAX + 1]);

/* DOMAIN is that of the config, or NULL: the one of /etc/mailname, or else the host's name. */
void origin_find(struct origin *origin, const char *domain);

/*
 * The full name in GECOS, the comment that passwd(5) has for LOGIN: up to its first comma, with
 * LOGIN for each "&", its first letter made large. Cut when it does not fit in SIZE; "" when it
 * can't stand in a header.
 */
void origin_full_name(const char *gecos, const char *login, char *name, size_t size);

#endif
