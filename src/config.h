/*
 * config: maildrain.conf, read by libconfuse into one struct, every value checked.
 */
#ifndef MAILDRAIN_CONFIG_H
#define MAILDRAIN_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "error.h"
#include "retry.h"

#define CONFIG_RELAYS_MAX 64
#define CONFIG_NOTIFY_MAX 16 /* addresses that are told */
#define CONFIG_ALERT_MAX  32 /* words of alert_command */

enum relay_tls {
	RELAY_TLS_REQUIRED,	 /* smtps, or STARTTLS or nothing; the certificate is verified */
	RELAY_TLS_OPPORTUNISTIC, /* STARTTLS where offered; verified all the same */
	RELAY_TLS_NONE
};

enum relay_tls_version { RELAY_TLS_1_2, RELAY_TLS_1_3 };

/* Seconds for one wait, RFC 5321 section 4.5.3.2. */
struct relay_timeouts {
	int64_t connect;  /* DNS, TCP and TLS */
	int64_t greeting; /* the 220, and each reply up to the end of AUTH */
	int64_t command;  /* the reply to MAIL, RCPT or RSET */
	int64_t data;	  /* the 354 */
	int64_t block;	  /* the peer takes more octets */
	int64_t dot;	  /* the reply to the final dot */
};

struct relay_config {
	char *name;
	char *url; /* smtp://HOST[:PORT] or smtps://HOST[:PORT], nothing behind it */
	enum relay_tls tls;
	enum relay_tls_version tls_min;
	char *helo;	      /* the name in EHLO; NULL: the host's */
	char *user;	      /* NULL: no AUTH */
	char *password;	      /* read from password_file when loaded with CONFIG_SEND, else NULL */
	char *ca_file;	      /* NULL: the system's */
	char *cert_file;      /* client certificate; NULL: none */
	char *key_file;	      /* its key; NULL: it is in cert_file */
	unsigned connections; /* 1 to 100 */
	bool chunking;	      /* BDAT is used where the relay offers it */
	unsigned pipeline;    /* messages in flight per connection with BDAT, 1 to 1000 */
	struct relay_timeouts timeout;
};

/* Who is told that a message has failed or is late, and how often. */
struct config_notify {
	bool sender;	/* its envelope sender */
	char **address; /* and these */
	size_t address_count;
	char *from;	  /* in From of what is told; NULL: made from the host's name */
	unsigned per_run; /* mails that tell, 1 to 10000 */
	unsigned per_hour;
	int64_t delay_warning; /* seconds after which a deferred message is late; 0: never */
};

struct config {
	char *path;
	char *spool;  /* an absolute path */
	char *domain; /* of local names in what is submitted; NULL: see origin.h */
	struct retry retry;
	int64_t keep_sent; /* seconds; 0: a message is removed once it is sent */
	bool shared_spool; /* other runs, on this host or others, drain it too */
	int64_t claim;	   /* seconds that a claim holds */
	struct config_notify notify;
	char *metrics_file;	    /* an absolute path; NULL: none is written */
	char **alert_command;	    /* absolute path and words, ends with NULL; NULL: none */
	struct relay_config *relay; /* in the file's order, at least one with CONFIG_SEND */
	size_t relay_count;
};

enum config_use {
	CONFIG_SPOOL, /* of a relay nothing is read but its name; ${VAR} may be unset in the rest */
	CONFIG_INSPECT, /* passwords are not read, and ${VAR} in password_file may be unset */
	CONFIG_SEND
};

/*
 * Reads PATH. Returns 0; or -1 with ERR (EX_CONFIG, or EX_NOPERM when it can't be read) naming
 * file, line and what to do, and CONFIG empty. config_free also clears the passwords in memory.
 */
int config_load(const char *path, enum config_use use, struct config *config, struct error *err);

/* Whether anybody is to be told of failures. */
bool config_tells(const struct config *config);

void config_free(struct config *config);

/* Whether CONFIG is still the example: it names no relay but one of RFC 2606's example domains. */
bool config_is_example(const struct config *config);

#endif
