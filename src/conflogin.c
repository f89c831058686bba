#include "conflogin.h"

#include <string.h>
#include <sys/stat.h>

#include "confcheck.h"
#include "confvalue.h"
#include "slurp.h"

#define PASSWORD_MAX 1024 /* bytes, without its newline */

/* The password in the LEN bytes of TEXT, which loses its newline. NULL, or why it can't be one. */
static const char *trim_password(char *text, size_t len)
{
	if (len > 0 && text[len - 1] == '\n')
		len -= len > 1 && text[len - 2] == '\r' ? 2 : 1;
	text[len] = '\0';
	if (len == 0)
		return "holds no password; write it there, on one line";
	if (len > PASSWORD_MAX)
		return "is longer than 1024 bytes; is it the right file?";
	if (strlen(text) != len || !confvalue_is_plain(text))
		return "holds a control character or a second line; leave only the password";
	return NULL;
}

/* Makes a password of the LEN bytes of TEXT, read from a file with MODE. */
static int take_password(
    const struct confparse_section *section, char *text, size_t len, mode_t mode, char **password)
{
	const char *path = cfg_getstr(section->cfg, "password_file"), *fault;

	if (mode & S_IRWXO)
		return confparse_fail(section->parse, confparse_line(section, "password_file"),
		    "password_file %s is open to everybody (mode %04o); run: chmod 0640 %s", path,
		    mode & 07777U, path);
	fault = trim_password(text, len);
	if (fault)
		return confparse_fail(section->parse, confparse_line(section, "password_file"),
		    "password_file %s %s", path, fault);
	*password = strdup(text);
	return *password ? 0 : confparse_fail_memory(section->parse);
}

static int load_password(const struct confparse_section *section, char **password)
{
	char text[PASSWORD_MAX + sizeof "\r\n" + 1];
	const char *path = cfg_getstr(section->cfg, "password_file"), *fault;
	struct stat st;
	ssize_t len;
	int result;

	if (path[0] != '/')
		return confcheck_fail(section, "password_file", 0, confcheck_not_absolute);
	len = slurp(path, text, sizeof text - 1, &st, &fault);
	result = len < 0 ? confcheck_fail_file(section, "password_file", fault)
			 : take_password(section, text, (size_t)len, st.st_mode, password);
	explicit_bzero(text, sizeof text);
	return result;
}

int conflogin_fill(
    const struct confparse_section *section, struct relay_config *relay, const char *host)
{
	bool user = confcheck_is_given(section, "user"),
	     file = confcheck_is_given(section, "password_file");

	if (user != file)
		return confparse_fail(section->parse,
		    confparse_line(section, user ? "user" : "password_file"),
		    user ? "user without password_file; add the file that holds the password"
			 : "password_file without user; add the user whose password it is");
	if (!user)
		return 0;
	if (relay->tls != RELAY_TLS_REQUIRED && !confvalue_is_loopback(host))
		return confparse_fail(section->parse, confparse_line(section, "user"),
		    "with this tls the password could go to %s unencrypted; write tls = "
		    "\"required\", or remove user and password_file",
		    host);
	if (confcheck_copy(section, "user", &relay->user))
		return -1;
	return section->parse->use == CONFIG_SEND ? load_password(section, &relay->password) : 0;
}
