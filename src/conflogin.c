#include "conflogin.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "confcheck.h"
#include "confvalue.h"
#include "guard.h"
#include "secret.h"
#include "slurp.h"

#define SECRET_MAX 4096 /* bytes of the longest kind */

/* A secret in a file of its own. */
struct secret_file {
	const char *option;
	const char *what;
	size_t most; /* bytes, without its newline */
};

static const struct secret_file PASSWORD = {"password_file", "password", SECRET_PASSWORD_MAX};
static const struct secret_file SESSION_TOKEN = {"session_token_file", "session token", SECRET_MAX};

static bool is_given(const struct confparse_section *section, const char *name)
{
	return confcheck_is_given(section, name);
}

/* Reports what is wrong with the file that holds SECRET. */
static int fail_secret(
    const struct confparse_section *section, const struct secret_file *secret, const char *fault)
{
	return confparse_fail(section->parse, confparse_line(section, secret->option), "%s %s %s",
	    secret->option, cfg_getstr(section->cfg, secret->option), fault);
}

/* The secret in the LEN bytes of TEXT, which loses its newline; FAULT says why it can't be one. */
static bool trim_secret(
    const struct secret_file *secret, char *text, size_t len, char *fault, size_t size)
{
	switch (secret_trim(text, len, secret->most)) {
	case SECRET_FINE:
		return true;
	case SECRET_EMPTY:
		(void)snprintf(
		    fault, size, "holds no %s; write it there, on one line", secret->what);
		break;
	case SECRET_LONG:
		(void)snprintf(
		    fault, size, "is longer than %zu bytes; is it the right file?", secret->most);
		break;
	case SECRET_CONTROL:
		(void)snprintf(fault, size,
		    "holds a control character or a second line; leave only the %s", secret->what);
		break;
	}
	return false;
}

/* Makes a secret of the LEN bytes of TEXT, read from a file with MODE. */
static int take_secret(const struct confparse_section *section, const struct secret_file *secret,
    char *text, size_t len, mode_t mode, char **copy)
{
	const char *path = cfg_getstr(section->cfg, secret->option);
	char fault[128];

	if (mode & S_IRWXO)
		return confparse_fail(section->parse, confparse_line(section, secret->option),
		    "%s %s is open to everybody (mode %04o); run: chmod 0640 %s", secret->option,
		    path, mode & 07777U, path);
	if (!trim_secret(secret, text, len, fault, sizeof fault))
		return fail_secret(section, secret, fault);
	*copy = strdup(text);
	return *copy ? 0 : confparse_fail_memory(section->parse);
}

static int load_secret(
    const struct confparse_section *section, const struct secret_file *secret, char **copy)
{
	char text[SECRET_MAX + sizeof "\r\n" + 1];
	const char *path = cfg_getstr(section->cfg, secret->option), *fault;
	struct stat st;
	ssize_t len;
	int result;

	if (section->parse->use != CONFIG_SEND || !path)
		return 0;
	if (path[0] != '/')
		return confcheck_fail(section, secret->option, 0, confcheck_not_absolute);
	guard_memory();
	len = slurp(path, text, secret->most + sizeof "\r\n", &st, &fault);
	result = len < 0 ? confcheck_fail_file(section, secret->option, fault)
			 : take_secret(section, secret, text, (size_t)len, st.st_mode, copy);
	explicit_bzero(text, sizeof text);
	return result;
}

/* Of options that can't stand together, the one of them that the fault is told of. */
static int fail_beside(const struct confparse_section *section, const char *name, const char *other)
{
	return confparse_fail(section->parse, confparse_line(section, name),
	    "%s beside %s; remove one of them", name, other);
}

static int fail_missing(const struct confparse_section *section, const char *name, const char *what)
{
	return confparse_fail(section->parse, section->lines->self,
	    "relay \"%s\" has no %s; add %s", cfg_title(section->cfg), name, what);
}

/* The option that holds a password or the way to it, or NULL. */
static const char *password_option(const struct confparse_section *section)
{
	if (is_given(section, "password_file"))
		return "password_file";
	return is_given(section, "password_command") ? "password_command" : NULL;
}

/* User and password come together, and there is one way to the password. */
static int check_password(const struct confparse_section *section)
{
	const char *password = password_option(section);
	const bool user = is_given(section, "user");

	if (password && is_given(section, "password_command") &&
	    strcmp(password, "password_command") != 0)
		return fail_beside(section, "password_command", password);
	if (user && !password)
		return confparse_fail(section->parse, confparse_line(section, "user"),
		    "user without password_file; add the file that holds the password, or "
		    "password_command");
	if (password && !user)
		return confparse_fail(section->parse, confparse_line(section, password),
		    "%s without user; add the user whose password it is", password);
	return 0;
}

/* A token takes the place of the password. */
static int check_token(const struct confparse_section *section)
{
	const char *password = password_option(section);

	if (password)
		return fail_beside(section, "token_command", password);
	if (!is_given(section, "user"))
		return confparse_fail(section->parse, confparse_line(section, "token_command"),
		    "token_command without user; add the user whose token it is");
	return 0;
}

static int check_smtp(
    const struct confparse_section *section, const struct relay_config *relay, const char *host)
{
	const bool token = is_given(section, "token_command");

	if (relay->auth != RELAY_AUTH_PASSWORD && !token)
		return confcheck_fail(section, "auth", 0,
		    "is a login by a token; add token_command, or remove this line");
	if (token && relay->auth == RELAY_AUTH_PASSWORD)
		return confparse_fail(section->parse, confparse_line(section, "token_command"),
		    "token_command without auth; add auth = \"xoauth2\" or auth = "
		    "\"oauthbearer\"");
	if (token ? check_token(section) : check_password(section))
		return -1;
	if (!is_given(section, "user") || relay->tls == RELAY_TLS_REQUIRED ||
	    confvalue_is_loopback(host))
		return 0;
	return confparse_fail(section->parse, confparse_line(section, "user"),
	    "with this tls the %s could go to %s unencrypted; write tls = \"required\", or remove "
	    "user and %s",
	    token ? "token" : "password", host, token ? "token_command" : password_option(section));
}

static int check_http(const struct confparse_section *section)
{
	const char *password = password_option(section);

	if (!is_given(section, "token_command"))
		return check_password(section);
	if (password)
		return fail_beside(section, "token_command", password);
	if (is_given(section, "user"))
		return fail_beside(section, "user", "token_command");
	return 0;
}

static int check_ses(const struct confparse_section *section)
{
	if (!is_given(section, "user"))
		return fail_missing(section, "user", "the id of the access key");
	return check_password(section);
}

static int check_mailgun(const struct confparse_section *section)
{
	if (!password_option(section))
		return fail_missing(section, "password_file",
		    "the file that holds the API key, or password_command");
	return is_given(section, "user") ? check_password(section) : 0;
}

static int check_bearer(const struct confparse_section *section)
{
	if (is_given(section, "token_command"))
		return 0;
	return fail_missing(
	    section, "token_command", "the program whose output is an access token");
}

/* Whether what is written makes a login that KIND knows. */
static int check_login(
    const struct confparse_section *section, const struct relay_config *relay, const char *host)
{
	switch (relay->kind) {
	case RELAY_SMTP:
		return check_smtp(section, relay, host);
	case RELAY_HTTP:
		return check_http(section);
	case RELAY_SES:
		return check_ses(section);
	case RELAY_MAILGUN:
		return check_mailgun(section);
	case RELAY_GMAIL:
	case RELAY_GRAPH:
		return check_bearer(section);
	default:
		return 0;
	}
}

static int fill_user(const struct confparse_section *section, struct relay_config *relay)
{
	if (relay->kind != RELAY_MAILGUN || is_given(section, "user"))
		return confcheck_copy(section, "user", &relay->user);
	relay->user = strdup("api");
	return relay->user ? 0 : confparse_fail_memory(section->parse);
}

int conflogin_fill(
    const struct confparse_section *section, struct relay_config *relay, const char *host)
{
	static const char *const ways[] = {
	    [RELAY_AUTH_PASSWORD] = "password",
	    [RELAY_AUTH_XOAUTH2] = "xoauth2",
	    [RELAY_AUTH_OAUTHBEARER] = "oauthbearer",
	    NULL,
	};
	unsigned way;

	if (confcheck_choose(section, "auth", ways, &way))
		return -1;
	relay->auth = (enum relay_auth)way;
	if (check_login(section, relay, host) || fill_user(section, relay) ||
	    confcheck_command(section, "password_command", &relay->password_command) ||
	    confcheck_command(section, "token_command", &relay->token_command))
		return -1;
	return load_secret(section, &PASSWORD, &relay->password) ||
		       load_secret(section, &SESSION_TOKEN, &relay->session_token)
		   ? -1
		   : 0;
}

static void free_secret(char *secret)
{
	if (secret)
		explicit_bzero(secret, strlen(secret));
	free(secret);
}

void conflogin_free(struct relay_config *relay)
{
	free_secret(relay->password);
	free_secret(relay->session_token);
	free(relay->user);
	confcheck_free_words(relay->password_command);
	confcheck_free_words(relay->token_command);
}
