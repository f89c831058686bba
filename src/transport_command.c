/*
 * The command transport: a program like sendmail(8) for each message, several at a time.
 *
 * The program gets the message as a file, which it may have read whole before it is told anything:
 * see child.h on why it is no pipe. How far it has read tells whether a message is in doubt when it
 * ends without a word.
 */
#include "transport.h"

#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

#include "child.h"
#include "clock.h"
#include "plain.h"
#include "results.h"
#include "sysexit.h"

#define STRIKES_MAX 3 /* programs in a row that came to no end of their own */
#define SAID_MAX    1024
#define GRACE_MS    2000
#define FINISH_MS   3000 /* that programs have to end by themselves when the run wants to end */

/* Without -i a line with a lone dot would end the message. */
static char *const usual_arguments[] = {(char *)"-i", NULL};

struct slot {
	struct child *child; /* NULL: the slot is free */
	struct message *message;
	FILE *input;
};

struct transport {
	const struct relay_config *relay;
	char **environment;
	struct slot *slot;
	unsigned count;
	unsigned strikes;
	enum transport_state state; /* UP, DOWN or MISCONFIGURED */
	bool finishing;
	struct results done;
	char why[1024];
};

static const char *command_version(void)
{
	return "";
}

static void command_close(struct transport *transport)
{
	if (transport == NULL)
		return;
	for (unsigned i = 0; transport->slot != NULL && i < transport->count; i++)
		child_close(transport->slot[i].child);
	free(transport->slot);
	free(transport->environment);
	free(transport);
}

static struct transport *command_open(
    const struct relay_config *relay, const struct credential *credential, struct error *err)
{
	struct transport *transport = calloc(1, sizeof *transport);

	(void)credential; /* who may send is the program's to know */
	if (transport != NULL) {
		transport->relay = relay;
		transport->state = TRANSPORT_UP;
		transport->count = relay->connections;
		transport->slot = calloc(relay->connections, sizeof *transport->slot);
		transport->environment = child_environment(NULL);
		if (transport->slot != NULL && transport->environment != NULL)
			return transport;
	}
	command_close(transport);
	error_set(err, EX_OSERR, "out of memory for %u programs", relay->connections);
	return NULL;
}

/* ---- what the program is called with ---- */

/* Words in an array that ends with NULL. BYTES is what they may take, as the system counts. */
struct words {
	char **word;
	size_t count;
	size_t bytes;
};

static bool words_add(struct words *words, const char *word)
{
	const size_t bytes = strlen(word) + 1 + sizeof word;

	if (words->bytes < bytes)
		return false;
	words->bytes -= bytes;
	words->word[words->count++] = (char *)word;
	return true;
}

/* Half of what there may be leaves room for the environment and whatever the program calls. */
static size_t bytes_of_words(void)
{
	const long most = sysconf(_SC_ARG_MAX);

	return most > 0 ? (size_t)most / 2 : 65536;
}

/*
 * The words for MESSAGE, to be freed. Recipients without room are put off: with the next attempt
 * they are the first.
 */
static char **make_words(const struct relay_config *relay, struct message *message)
{
	char *const *argument = relay->arguments != NULL ? relay->arguments : usual_arguments;
	struct envelope *envelope = &message->envelope;
	struct words words = {.bytes = bytes_of_words()};
	size_t arguments = 0;

	while (argument[arguments] != NULL)
		arguments++;
	words.word = calloc(arguments + envelope->count + 5, sizeof *words.word);
	if (words.word == NULL)
		return NULL;
	(void)words_add(&words, relay->path);
	for (size_t i = 0; i < arguments; i++)
		(void)words_add(&words, argument[i]);
	(void)words_add(&words, "-f");
	(void)words_add(&words, envelope->sender[0] != '\0' ? envelope->sender : "<>");
	(void)words_add(&words, "--");
	for (size_t i = 0; i < envelope->count; i++) {
		struct recipient *recipient = &envelope->recipient[i];

		if (recipient->state != RECIPIENT_TODO)
			continue;
		recipient->asked = words_add(&words, recipient->address);
		if (!recipient->asked)
			envelope_result(envelope, recipient, RECIPIENT_DEFERRED, "4.5.3",
			    "more recipients than one call of the program can take");
	}
	return words.word;
}

/* ---- a message ---- */

static void give_back(
    struct transport *transport, struct message *message, enum message_verdict verdict)
{
	message->verdict = verdict;
	results_add(&transport->done, message);
}

static void put_off(
    struct transport *transport, struct message *message, const char *status, const char *text)
{
	message_settle(message, RECIPIENT_DEFERRED, status, text);
	give_back(transport, message, MESSAGE_SETTLED);
}

/* The relay is of no use in this run. */
static void give_up(struct transport *transport, enum transport_state state, const char *why)
{
	transport->state = state;
	(void)snprintf(transport->why, sizeof transport->why, "%s", why);
}

/* Makes the file that SLOT's program reads. 0, or -1 with errno as of message_pour. */
static int make_input(struct slot *slot)
{
	int fd;

	slot->input = tmpfile();
	if (slot->input == NULL)
		return -1;
	fd = fileno(slot->input);
	if (message_pour(slot->message, fd) == -1)
		return -1;
	return lseek(fd, 0, SEEK_SET) == -1 ? -1 : 0;
}

static struct child *start(
    const struct transport *transport, const struct slot *slot, struct error *err)
{
	const struct relay_config *relay = transport->relay;
	char **words = make_words(relay, slot->message);
	const struct child_plan plan = {.argv = words,
	    .envp = transport->environment,
	    .input = fileno(slot->input),
	    .keep = {SAID_MAX, SAID_MAX},
	    .limits = {relay->timeout.dot * 1000, GRACE_MS}};
	struct child *child = NULL;

	if (words != NULL)
		child = child_start(&plan, err);
	else
		error_set(err, EX_OSERR, "out of memory for the arguments of %s", relay->path);
	free(words);
	return child;
}

/* Ends what SLOT holds, but for the message, which is returned. */
static struct message *clear(struct slot *slot)
{
	struct message *message = slot->message;

	child_close(slot->child);
	/* What was in there has been read by whom it was for, or never will be. */
	if (slot->input != NULL)
		(void)fclose(slot->input);
	*slot = (struct slot){.child = NULL};
	return message;
}

static void no_input(struct transport *transport, struct slot *slot, int code)
{
	struct error err;

	errno = code;
	if (code == ESTALE) {
		put_off(transport, clear(slot), "4.3.0", "the file changed while it was sent");
		return;
	}
	error_set_errno(&err, "can't copy the message to a file in " P_tmpdir);
	give_up(transport, TRANSPORT_DOWN, err.text);
	give_back(transport, clear(slot), MESSAGE_UNTRIED);
}

static struct slot *free_slot(struct transport *transport)
{
	for (unsigned i = 0; i < transport->count; i++)
		if (transport->slot[i].message == NULL)
			return &transport->slot[i];
	return NULL;
}

static bool command_ready(struct transport *transport, size_t waiting)
{
	(void)waiting;
	return transport->state == TRANSPORT_UP && !transport->finishing &&
	       free_slot(transport) != NULL;
}

static void command_submit(struct transport *transport, struct message *message)
{
	struct slot *slot = free_slot(transport);
	struct error err;

	slot->message = message;
	if (make_input(slot) == -1) {
		no_input(transport, slot, errno);
		return;
	}
	slot->child = start(transport, slot, &err);
	if (slot->child != NULL)
		return;
	give_up(
	    transport, err.status == EX_OSERR ? TRANSPORT_DOWN : TRANSPORT_MISCONFIGURED, err.text);
	give_back(transport, clear(slot), MESSAGE_UNTRIED);
}

/* ---- what comes of it ---- */

/* Whether the program has read its message to the end: it shares our place in the file. */
static bool has_read_all(const struct slot *slot)
{
	const int fd = fileno(slot->input);
	struct stat st;

	return fstat(fd, &st) == -1 || lseek(fd, 0, SEEK_CUR) >= st.st_size;
}

/* It came to no end of its own, so it is not known what it did. */
static void lose(struct transport *transport, struct slot *slot, const struct child_end *end)
{
	const bool in_doubt = has_read_all(slot);
	const char *path = transport->relay->path;
	char text[256];
	struct message *message = clear(slot);

	if (end->too_long)
		(void)snprintf(text, sizeof text, "%.128s had not ended after %lld seconds", path,
		    (long long)transport->relay->timeout.dot);
	else if (end->signal != 0)
		(void)snprintf(text, sizeof text, "%.128s was ended by signal %d (%s)", path,
		    end->signal, strsignal(end->signal));
	else
		(void)snprintf(text, sizeof text, "%.128s does not end", path);
	message->in_doubt = in_doubt;
	put_off(transport, message, "4.4.2", text);
	if (++transport->strikes >= STRIKES_MAX)
		give_up(transport, TRANSPORT_DOWN, text);
}

/* The program has said what it has to say, on its error output or else on the other. */
static void judge(struct transport *transport, struct slot *slot, int status)
{
	struct sysexit sysexit;
	size_t len;
	const char *said = child_text(slot->child, CHILD_ERR, &len);
	struct message *message;

	if (len == 0)
		said = child_text(slot->child, CHILD_OUT, &len);
	sysexit_read(status, said, &sysexit);
	message = clear(slot);
	transport->strikes = 0;
	if (sysexit.faulty) {
		give_up(transport, TRANSPORT_MISCONFIGURED, sysexit.reply.text);
		give_back(transport, message, MESSAGE_UNTRIED);
		return;
	}
	if (sysexit.general)
		message->refused_at_mail = 500 + status;
	message_settle(message, sysexit.state, sysexit.reply.status, sysexit.reply.text);
	give_back(transport, message, MESSAGE_SETTLED);
}

static void end(struct transport *transport, struct slot *slot)
{
	struct child_end end;

	if (!child_ended(slot->child, &end))
		return;
	if (end.too_long || end.status == -1)
		lose(transport, slot, &end);
	else
		judge(transport, slot, end.status);
}

static void command_withdraw(struct transport *transport, struct message *message)
{
	for (unsigned i = 0; i < transport->count; i++) {
		struct slot *slot = &transport->slot[i];

		if (slot->message == message && !has_read_all(slot))
			put_off(transport, clear(slot), "4.4.2",
			    "another run has taken over the message");
	}
}

static void command_prepare(struct transport *transport, struct waits *waits)
{
	if (transport->done.first != NULL)
		waits_within(waits, 0);
	for (unsigned i = 0; i < transport->count; i++)
		if (transport->slot[i].child != NULL)
			child_prepare(transport->slot[i].child, waits);
}

static void command_work(struct transport *transport, const struct waits *waits)
{
	for (unsigned i = 0; i < transport->count; i++) {
		struct slot *slot = &transport->slot[i];

		if (slot->child == NULL)
			continue;
		child_work(slot->child, waits);
		end(transport, slot);
	}
}

static struct message *command_result(struct transport *transport)
{
	return results_take(&transport->done);
}

static enum transport_state command_state(struct transport *transport, const char **why)
{
	*why = transport->why;
	return transport->state;
}

/* ---- the end ---- */

static bool any_left(const struct transport *transport)
{
	for (unsigned i = 0; i < transport->count; i++)
		if (transport->slot[i].child != NULL)
			return true;
	return false;
}

/* Goes on with what is left, until UNTIL_MS or, if that is 0, until each has come to its end. */
static void wind_up(struct transport *transport, int64_t until_ms)
{
	struct waits waits = {.fd = NULL};
	struct error err;

	while (any_left(transport)) {
		const int64_t left = until_ms - clock_monotonic();

		if (until_ms != 0 && left <= 0)
			break;
		waits_begin(&waits, until_ms != 0 ? left : INT64_MAX);
		for (unsigned i = 0; i < transport->count; i++)
			if (transport->slot[i].child != NULL)
				child_prepare(transport->slot[i].child, &waits);
		if (waits_wait(&waits, &err) == -1)
			break;
		command_work(transport, &waits);
	}
	waits_free(&waits);
}

static void command_finish(struct transport *transport)
{
	static const struct child_end killed = {.status = -1};

	transport->finishing = true;
	wind_up(transport, clock_monotonic() + FINISH_MS);
	for (unsigned i = 0; i < transport->count; i++)
		if (transport->slot[i].child != NULL)
			child_stop(transport->slot[i].child);
	wind_up(transport, 0);
	/* Only where there is no way to wait. */
	for (unsigned i = 0; i < transport->count; i++)
		if (transport->slot[i].child != NULL)
			lose(transport, &transport->slot[i], &killed);
}

/* ---- verify ---- */

static int no_program(const char *path, const char *what, struct error *err)
{
	error_set(err, EX_UNAVAILABLE,
	    "%s %s\ncheck url, or install the package that brings the program", path, what);
	return -1;
}

static int command_probe(const struct relay_config *relay, const struct credential *credential,
    FILE *out, struct error *err)
{
	char *const *argument = relay->arguments != NULL ? relay->arguments : usual_arguments;
	const struct passwd *user = getpwuid(geteuid());
	struct stat st;

	(void)credential;
	if (stat(relay->path, &st) == -1)
		return no_program(relay->path, strerror(errno), err);
	if (!S_ISREG(st.st_mode))
		return no_program(relay->path, "is no program", err);
	if (faccessat(AT_FDCWD, relay->path, X_OK, AT_EACCESS) == -1)
		return no_program(relay->path, "can't be executed by this user", err);
	(void)fprintf(out, "  calls: ");
	plain_text(out, relay->path);
	for (size_t i = 0; argument[i] != NULL; i++) {
		(void)fprintf(out, " ");
		plain_text(out, argument[i]);
	}
	(void)fprintf(out, " -f SENDER -- RECIPIENT...\n  as user: %s\n",
	    user != NULL ? user->pw_name : "without a name");
	(void)fprintf(out, "  at a time: %u, each for %lld seconds at most\n", relay->connections,
	    (long long)relay->timeout.dot);
	return 0;
}

const struct transport_kind transport_command = {
    .made_for = MAILDRAIN_VERSION,
    .version = command_version,
    .open = command_open,
    .ready = command_ready,
    .submit = command_submit,
    .withdraw = command_withdraw,
    .prepare = command_prepare,
    .work = command_work,
    .result = command_result,
    .state = command_state,
    .finish = command_finish,
    .close = command_close,
    .probe = command_probe,
};
