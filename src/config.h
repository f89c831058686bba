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

#define CONFIG_RELAYS_MAX   64
#define CONFIG_ROUTES_MAX   64
#define CONFIG_NOTIFY_MAX   16	/* addresses that are told */
#define CONFIG_WORDS_MAX    32	/* of a command */
#define CONFIG_PATTERNS_MAX 256 /* of one condition, and of allow_recipients */

enum relay_kind {
	RELAY_SMTP,
	RELAY_LMTP,
	RELAY_COMMAND, /* a program like sendmail(8) */
	RELAY_MAILDIR,
	RELAY_HTTP, /* POST message/rfc822 */
	RELAY_SES,
	RELAY_MAILGUN,
	RELAY_GMAIL,
	RELAY_GRAPH
};

enum relay_tls {
	RELAY_TLS_REQUIRED,	 /* smtps, or STARTTLS or nothing; the certificate is verified */
	RELAY_TLS_OPPORTUNISTIC, /* STARTTLS where offered; verified all the same */
	RELAY_TLS_NONE
};

enum relay_tls_version { RELAY_TLS_1_2, RELAY_TLS_1_3 };

/* How a login by SMTP is proved; the HTTP APIs have each its own way. */
enum relay_auth { RELAY_AUTH_PASSWORD, RELAY_AUTH_XOAUTH2, RELAY_AUTH_OAUTHBEARER };

/* Seconds for one wait, RFC 5321 section 4.5.3.2. */
struct relay_timeouts {
	int64_t connect;  /* DNS, TCP and TLS */
	int64_t greeting; /* the 220, and each reply up to the end of AUTH */
	int64_t command;  /* the reply to MAIL, RCPT or RSET */
	int64_t data;	  /* the 354 */
	int64_t block;	  /* the peer takes more octets */
	int64_t dot;	  /* the reply to the final dot */
};

/* So many recipients in so many seconds; COUNT 0: no limit. */
struct relay_limit {
	int64_t count;
	int64_t seconds;
};

/* Commands end with NULL, start with an absolute path, and are NULL when there is none. */
struct relay_config {
	char *name;
	enum relay_kind kind;
	char *url;	/* as it is written; it holds no secret */
	char *path;	/* of a socket (lmtp+unix:), program or Maildir, absolute; else NULL */
	char *endpoint; /* of an HTTP API: the https://... or http://... in url; else NULL */
	enum relay_tls tls;
	enum relay_tls_version tls_min;
	char *helo;	/* the name in EHLO; NULL: the host's */
	char *user;	/* NULL: none; of SES the id of the access key */
	char *password; /* read from password_file when loaded with CONFIG_SEND, else NULL */
	char **password_command; /* in place of the file; its first line is the password */
	enum relay_auth auth;
	char **token_command; /* its output is an access token of OAuth 2 */
	char *session_token;  /* of SES; read from its file as the password is; NULL: none */
	char *region;	      /* of SES, never NULL there */
	char **arguments;     /* of a program, before the sender's; NULL: none */
	char *ca_file;	      /* NULL: the system's */
	char *cert_file;      /* client certificate; NULL: none */
	char *key_file;	      /* its key; NULL: it is in cert_file */
	unsigned weight;      /* share of load between equals, 1 to 1000 */
	unsigned connections; /* 1 to 100 */
	unsigned messages_per_connection; /* 0: no limit */
	unsigned recipients_per_message;  /* 0: no limit */
	uint64_t message_size;		  /* bytes; 0: no limit of ours */
	struct relay_limit rate;
	struct relay_limit quota; /* its seconds are those of a day */
	bool chunking;		  /* BDAT is used where the relay offers it */
	unsigned pipeline;	  /* messages in flight per connection with BDAT, 1 to 1000 */
	struct relay_timeouts timeout;
	unsigned others; /* relays of the config, which may be in use at the same time */
};

/* Relays that are equals: they share the load by their weights. */
struct route_rank {
	size_t *relay; /* indices of config->relay */
	size_t count;
};

/* Where mail goes: the next rank has what no relay of those before it can take. */
struct route_ranks {
	struct route_rank *rank;
	size_t count;
};

struct route_header_pattern {
	char *name;
	char *pattern; /* of its value */
};

/* What a route asks of a message. Lists of patterns end with NULL; NULL asks nothing. */
struct route_config {
	char *name;
	char **sender; /* "<>": the null sender */
	char **from;
	char **recipient;
	struct route_header_pattern *header; /* one of them is enough */
	size_t header_count;
	uint64_t larger_than;  /* bytes of the file; 0 asks nothing */
	uint64_t smaller_than; /* 0 asks nothing */
	struct route_ranks ranks;
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
	char *redirect_to;	    /* all mail goes there; NULL: to whom it is for */
	char **allow;		    /* patterns: who mail may go to */
	size_t allow_count;	    /* 0: to anybody */
	struct relay_config *relay; /* in the file's order, at least one with CONFIG_SEND */
	size_t relay_count;
	struct route_config *route; /* in the file's order */
	size_t route_count;
	struct route_ranks every;  /* where no route matches: each relay a rank of its own */
	struct route_ranks *alone; /* alone[i]: relay[i] and no other */
};

enum config_use {
	CONFIG_SPOOL,	/* of relays and routes only names are read; ${VAR} may be unset in the rest
			 */
	CONFIG_INSPECT, /* secrets are not read, and ${VAR} may be unset in what leads to them */
	CONFIG_SEND
};

/*
 * Reads PATH. Returns 0; or -1 with ERR (EX_CONFIG, or EX_NOPERM when it can't be read) naming
 * file, line and what to do, and CONFIG empty. config_free also clears the secrets in memory.
 */
int config_load(const char *path, enum config_use use, struct config *config, struct error *err);

/* Whether anybody is to be told of failures. */
bool config_tells(const struct config *config);

void config_free(struct config *config);

/* Whether CONFIG is still the example: it names no relay but one of RFC 2606's example domains. */
bool config_is_example(const struct config *config);

#endif
