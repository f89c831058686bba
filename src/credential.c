#include "credential.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "child.h"
#include "clock.h"
#include "guard.h"
#include "hash.h"
#include "secret.h"
#include "tokenfile.h"

#define RUN_MS	      (30 * INT64_C(1000))
#define GRACE_MS      (5 * INT64_C(1000))
#define KEEP_OUT      ((size_t)64 * 1024) /* bytes: JSON may hold more tokens than the one */
#define KEEP_ERR      ((size_t)1024)
#define MARGIN	      60 /* seconds before a token expires from which on it is of no use */
#define FRESH_MS      INT64_C(60000) /* a token asked for no longer ago has not gone stale */
#define RENEWED_MAX   10
#define WAIT_MS	      1000
#define COMPLAINT_MAX 200 /* bytes of what a program complains of */

/* ---- the command ---- */

static char *const *command_of(const struct relay_config *relay)
{
	return relay->token_command != NULL ? relay->token_command : relay->password_command;
}

static const char *option_of(const struct relay_config *relay)
{
	return relay->token_command != NULL ? "token_command" : "password_command";
}

/* What a token is got for: the command and its words, the account and the server. */
static uint64_t key_of(const struct relay_config *relay)
{
	uint64_t key = hash_bytes(0, relay->url, strlen(relay->url));

	if (relay->user != NULL)
		key = hash_bytes(key, relay->user, strlen(relay->user) + 1);
	for (char **word = relay->token_command; *word != NULL; word++)
		key = hash_bytes(key, *word, strlen(*word) + 1);
	return key;
}

/* FORMAT goes on after the name of the program. */
__attribute__((format(printf, 2, 3))) static void fail(
    struct credential *credential, const char *format, ...)
{
	const struct relay_config *relay = credential->relay;
	char what[CREDENTIAL_WHY_MAX];
	va_list args;

	va_start(args, format);
	(void)vsnprintf(what, sizeof what, format, args);
	va_end(args);
	(void)snprintf(credential->why, sizeof credential->why, "%s: %.100s %.350s",
	    option_of(relay), command_of(relay)[0], what);
	credential->state = CREDENTIAL_FAILED;
}

static void start(struct credential *credential)
{
	const struct child_plan plan = {.argv = command_of(credential->relay),
	    .envp = environ,
	    .input = -1,
	    .keep = {[CHILD_OUT] = KEEP_OUT, [CHILD_ERR] = KEEP_ERR},
	    .limits = {.run_ms = RUN_MS, .grace_ms = GRACE_MS}};
	struct error err;

	credential->asked_ms = clock_monotonic();
	credential->asked = clock_now();
	credential->state = CREDENTIAL_WORKING;
	credential->child = child_start(&plan, &err);
	if (credential->child != NULL)
		return;
	(void)snprintf(credential->why, sizeof credential->why, "%s: %.400s",
	    option_of(credential->relay), err.text);
	credential->state = CREDENTIAL_FAILED;
}

/* ---- what it has printed ---- */

static void use_token(struct credential *credential, const struct token *token)
{
	token_clear(&credential->fetched);
	credential->fetched = *token;
	credential->token = token->text;
	credential->expires = token->expires;
	credential->state = CREDENTIAL_READY;
}

static void take_token(struct credential *credential, const char *text, size_t len)
{
	const struct relay_config *relay = credential->relay;
	struct token token;
	const char *fault = token_read(text, len, credential->asked, &token);

	if (fault != NULL) {
		fail(credential, "%s", fault);
		return;
	}
	credential->kept = false;
	use_token(credential, &token);
	/* Where it can't be kept the next run asks again. */
	if (token.expires > credential->asked + MARGIN)
		(void)tokenfile_save(relay->name, key_of(relay), &token);
}

static const char *password_fault(enum secret_fault fault)
{
	switch (fault) {
	case SECRET_FINE:
		break;
	case SECRET_EMPTY:
		return "printed no password on the first line of its output";
	case SECRET_LONG:
		return "printed a first line longer than 1024 bytes, which is no password";
	case SECRET_CONTROL:
		return "printed a control character on the first line of its output";
	}
	return NULL;
}

static void take_password(struct credential *credential, const char *text, size_t len)
{
	const char *end = memchr(text, '\n', len);
	char *line;
	const char *fault;

	if (end != NULL)
		len = (size_t)(end - text) + 1;
	line = calloc(1, len + 1);
	if (line == NULL) {
		fail(credential, "gave a password for which there is no memory");
		return;
	}
	memcpy(line, text, len);
	fault = password_fault(secret_trim(line, len, SECRET_PASSWORD_MAX));
	if (fault != NULL) {
		explicit_bzero(line, len);
		free(line);
		fail(credential, "%s", fault);
		return;
	}
	credential->printed = line;
	credential->password = line;
	credential->state = CREDENTIAL_READY;
}

/* The first line of its complaints, behind ": ", or "". */
static const char *complaint(const struct child *child, char line[COMPLAINT_MAX])
{
	size_t len;
	const char *text = child_text(child, CHILD_ERR, &len);

	(void)snprintf(line, COMPLAINT_MAX, ": %.*s", (int)strcspn(text, "\r\n"), text);
	return line[2] != '\0' ? line : "";
}

static void fail_ended(struct credential *credential, const struct child_end *end)
{
	char line[COMPLAINT_MAX];
	const char *said = complaint(credential->child, line);

	if (end->too_long)
		fail(credential, "did not end within %d seconds%s", (int)(RUN_MS / 1000), said);
	else if (end->signal != 0)
		fail(credential, "was ended by signal %d%s", end->signal, said);
	else
		fail(credential, "failed with exit status %d%s", end->status, said);
}

static void take_end(struct credential *credential, const struct child_end *end)
{
	size_t len;
	const char *text = child_text(credential->child, CHILD_OUT, &len);

	if (end->too_long || end->status != 0)
		fail_ended(credential, end);
	else if (child_text_cut(credential->child, CHILD_OUT))
		fail(credential, "printed more than %zu bytes", KEEP_OUT);
	else if (credential->relay->token_command != NULL)
		take_token(credential, text, len);
	else
		take_password(credential, text, len);
}

/* ---- its life ---- */

void credential_begin(struct credential *credential, const struct relay_config *relay)
{
	struct token token;

	*credential = (struct credential){.relay = relay,
	    .user = relay->user,
	    .password = relay->password,
	    .session_token = relay->session_token,
	    .state = CREDENTIAL_READY};
	if (command_of(relay) == NULL)
		return;
	guard_memory();
	if (relay->token_command != NULL &&
	    tokenfile_load(relay->name, key_of(relay), clock_now() + MARGIN, &token)) {
		credential->kept = true;
		use_token(credential, &token);
	} else
		start(credential);
}

void credential_prepare(struct credential *credential, struct waits *waits)
{
	if (credential->child != NULL)
		child_prepare(credential->child, waits);
}

void credential_work(struct credential *credential, const struct waits *waits)
{
	struct child_end end;

	if (credential->child == NULL)
		return;
	child_work(credential->child, waits);
	if (!child_ended(credential->child, &end))
		return;
	take_end(credential, &end);
	child_close(credential->child);
	credential->child = NULL;
}

enum credential_state credential_state(const struct credential *credential)
{
	return credential->state;
}

/*
 * With each one the next must be twice as old: a relay that takes a minute to refuse each would
 * otherwise keep the run, and the issuer, at it for ever.
 */
static bool is_fresh(const struct credential *credential)
{
	return !credential->kept &&
	       clock_monotonic() - credential->asked_ms < FRESH_MS << credential->renewed;
}

bool credential_renew(struct credential *credential)
{
	const struct relay_config *relay = credential->relay;

	if (relay->token_command == NULL || credential->state != CREDENTIAL_READY)
		return false;
	/* Also one that is fresh: the next run is to ask for another, not to be refused with it. */
	tokenfile_drop(relay->name);
	if (is_fresh(credential))
		return false;
	if (credential->renewed < RENEWED_MAX)
		credential->renewed++;
	start(credential);
	return true;
}

int credential_get(
    struct credential *credential, const struct relay_config *relay, struct error *err)
{
	struct waits waits = {0};
	int result = 0;

	credential_begin(credential, relay);
	while (credential->state == CREDENTIAL_WORKING && result == 0) {
		waits_begin(&waits, WAIT_MS);
		credential_prepare(credential, &waits);
		result = waits_wait(&waits, err);
		if (result == 0)
			credential_work(credential, &waits);
	}
	waits_free(&waits);
	if (credential->state != CREDENTIAL_FAILED)
		return result;
	error_set(err, EX_TEMPFAIL, "%s\n%s", credential->why, credential_advice(credential));
	return -1;
}

const char *credential_why(const struct credential *credential)
{
	return credential->why;
}

const char *credential_advice(const struct credential *credential)
{
	if (credential->relay->token_command != NULL)
		return "run token_command by hand as the user who runs maildrain;\n"
		       "a person may have to log in again at the issuer of the token";
	return "run password_command by hand as the user who runs maildrain";
}

void credential_free(struct credential *credential)
{
	child_close(credential->child);
	token_clear(&credential->fetched);
	if (credential->printed != NULL)
		explicit_bzero(credential->printed, strlen(credential->printed));
	free(credential->printed);
	*credential = (struct credential){.state = CREDENTIAL_FAILED};
}
