#include "submit.h"

#include <errno.h>
#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

#include "clock.h"
#include "compose.h"
#include "envelope.h"
#include "intake.h"
#include "io.h"
#include "origin.h"
#include "spool.h"

#define CHUNK ((size_t)64 * 1024)

/* Standard input, and the signals that may end the wait for it. */
struct input {
	sigset_t before; /* what was blocked */
	int signals;	 /* descriptor */
	bool raw;	 /* a dot is text */
	struct intake_dot dot;
	char chunk[CHUNK];
};

/* The message's start: its header, and what of the body came with it. */
struct start {
	char *text; /* of ENVELOPE_HEAD_MAX + CHUNK + INTAKE_SPARE bytes */
	size_t len;
	bool whole; /* there is no more to read */
	struct intake_head head;
};

/* ---- reading ---- */

/* Blocks the signals that would end the process. One that is ignored stays so. */
static int input_open(struct input *input, bool raw, struct error *err)
{
	static const int ending[] = {SIGHUP, SIGINT, SIGTERM};
	struct sigaction action;
	sigset_t set;

	input->raw = raw;
	input->dot = (struct intake_dot){.ended = false};
	(void)sigemptyset(&set);
	for (size_t i = 0; i < sizeof ending / sizeof ending[0]; i++)
		if (sigaction(ending[i], NULL, &action) == 0 && action.sa_handler == SIG_DFL)
			(void)sigaddset(&set, ending[i]);
	(void)sigprocmask(SIG_BLOCK, &set, &input->before);
	input->signals = signalfd(-1, &set, SFD_CLOEXEC);
	if (input->signals != -1)
		return 0;
	error_set_errno(err, "can't watch for signals");
	return -1;
}

/* What has come in the meantime takes effect now. */
static void input_close(struct input *input)
{
	if (input->signals != -1)
		(void)close(input->signals);
	(void)sigprocmask(SIG_SETMASK, &input->before, NULL);
}

/* Waits for input. -1 with ERR when a signal has come. */
static int input_wait(const struct input *input, struct error *err)
{
	struct pollfd fds[] = {
	    {.fd = STDIN_FILENO, .events = POLLIN}, {.fd = input->signals, .events = POLLIN}};

	if (TEMP_FAILURE_RETRY(poll(fds, 2, -1)) == -1) {
		error_set_errno(err, "can't wait for the message");
		return -1;
	}
	if (fds[1].revents == 0)
		return 0;
	error_set(err, EX_TEMPFAIL, "ended by a signal; nothing is queued");
	return -1;
}

/* Reads the next bytes of the message to OUT, of CHUNK + INTAKE_SPARE bytes. 0 at its end. */
static ssize_t input_read(struct input *input, char *out, struct error *err)
{
	size_t made = 0;

	while (made == 0 && !input->dot.ended) {
		ssize_t n;

		if (input_wait(input, err) == -1)
			return -1;
		n = read(STDIN_FILENO, input->raw ? out : input->chunk, CHUNK);
		if (n == -1 && (errno == EINTR || errno == EAGAIN))
			continue;
		if (n == -1)
			error_set_errno(err, "can't read the message from standard input");
		if (n <= 0)
			return n;
		made = input->raw ? (size_t)n
				  : intake_dot_take(&input->dot, input->chunk, (size_t)n, out);
	}
	return (ssize_t)made;
}

/* Reads up to the end of the header. */
static int read_start(struct input *input, struct start *start, struct error *err)
{
	while (!intake_head_find(&start->head, start->text, start->len, start->whole)) {
		ssize_t n;

		/* A first line of that length may still be of a body without a header. */
		if (start->len >= ENVELOPE_HEAD_MAX) {
			(void)intake_head_find(&start->head, start->text, start->len, true);
			if (start->head.end < start->len)
				return 0;
			error_set(
			    err, EX_DATAERR, "the header is more than 1 MiB; nothing is queued");
			return -1;
		}
		n = input_read(input, start->text + start->len, err);
		if (n == -1)
			return -1;
		start->whole = n == 0;
		start->len += (size_t)n;
	}
	return 0;
}

/* ---- writing ---- */

static void set_date(char *date, size_t size)
{
	const time_t now = (time_t)clock_now();
	struct tm tm = {.tm_sec = 0};

	(void)localtime_r(&now, &tm);
	(void)strftime(date, size, "%a, %d %b %Y %H:%M:%S %z", &tm);
}

/* One message on its way. */
struct passage {
	const struct submit *submit;
	struct origin origin;
	char author[ORIGIN_LOGIN_MAX + CONFVALUE_HOST_MAX + 2]; /* who calls, as an address */
	struct spool spool;
	struct envelope envelope;
	struct input input;
	struct start start;
	struct spool_draft draft;
};

/* The sender, and the recipients of the command line. */
static int take_envelope(struct passage *passage, struct error *err)
{
	const struct submit *submit = passage->submit;
	const char *sender = submit->sender != NULL ? submit->sender : passage->author;
	const char *domain = passage->origin.domain;

	if (compose_sender(&passage->envelope, sender, domain, err) == -1)
		return -1;
	for (char *const *word = submit->recipient; *word != NULL; word++)
		if (compose_recipients(&passage->envelope, *word, strlen(*word), domain, err) == -1)
			return -1;
	return 0;
}

/* Writes block and header to OUT; the length, or -1. */
static ssize_t make_head(struct passage *passage, char *out, struct error *err)
{
	const struct submit *submit = passage->submit;
	const struct origin *origin = &passage->origin;
	const struct start *start = &passage->start;
	const bool given = submit->sender != NULL && passage->envelope.sender[0] != '\0';
	char unique[sizeof passage->draft.target];
	char date[64];
	struct compose compose = {
	    .domain = origin->domain,
	    .host = origin->host,
	    .unique = unique,
	    .date = date,
	    .uid = origin->uid,
	    .author = given ? passage->envelope.sender : passage->author,
	    .full_name = given ? "" : origin->full_name,
	    .extract = submit->extract,
	};

	if (submit->full_name != NULL)
		compose.full_name = submit->full_name;
	set_date(date, sizeof date);
	(void)snprintf(unique, sizeof unique, "%s", passage->draft.target);
	/* A host whose name may not stand in a header is left out. */
	if (confvalue_helo(passage->spool.host) != NULL)
		unique[strcspn(unique, "Q")] = '\0';
	return compose_head(&compose, &passage->envelope, start->text + start->head.start,
	    start->head.end - start->head.start, out, err);
}

static int write_out(struct passage *passage, const char *bytes, size_t len, struct error *err)
{
	if (io_write(passage->draft.fd, bytes, len) == 0)
		return 0;
	error_set_errno(err, "can't write the message to %s/tmp", passage->spool.path);
	return -1;
}

static int write_head(struct passage *passage, struct error *err)
{
	char *out = malloc(ENVELOPE_HEAD_MAX);
	ssize_t len = -1;
	int result = -1;

	if (out == NULL)
		error_set_errno(err, "can't get memory for the header");
	else
		len = make_head(passage, out, err);
	if (len != -1)
		result = write_out(passage, out, (size_t)len, err);
	free(out);
	return result;
}

static int write_body(struct passage *passage, struct error *err)
{
	struct start *start = &passage->start;
	const size_t body = start->head.body;
	ssize_t n = 0;

	if (write_out(passage, start->text + body, start->len - body, err) == -1)
		return -1;
	/* On a terminal more could follow the end. */
	while (!start->whole && (n = input_read(&passage->input, start->text, err)) > 0)
		if (write_out(passage, start->text, (size_t)n, err) == -1)
			return -1;
	return n == -1 ? -1 : 0;
}

static int queue(struct passage *passage, struct error *err)
{
	if (read_start(&passage->input, &passage->start, err) == -1)
		return -1;
	if (spool_draft_open(&passage->spool, &passage->draft, err) == -1)
		return -1;
	if (write_head(passage, err) == 0 && write_body(passage, err) == 0)
		return spool_draft_commit(&passage->spool, &passage->draft, err);
	spool_draft_abandon(&passage->spool, &passage->draft);
	return -1;
}

/* Reads and queues. Signals stay blocked when that is done: it can't be undone any more. */
static int pass(struct passage *passage, struct error *err)
{
	struct start *start = &passage->start;
	int result = -1;

	*start = (struct start){.text = malloc(ENVELOPE_HEAD_MAX + CHUNK + INTAKE_SPARE)};
	if (start->text == NULL) {
		error_set_errno(err, "can't get memory for the message");
		return -1;
	}
	if (input_open(&passage->input, passage->submit->dot_is_text, err) == 0)
		result = queue(passage, err);
	free(start->text);
	if (result == -1)
		input_close(&passage->input);
	return result;
}

/* ---- the whole ---- */

/* Who may not write to the spool is told how to get there. */
static void advise(const struct origin *origin, const char *path, struct error *err)
{
	const struct group *group = NULL;
	struct stat st;

	if (err->status != EX_NOPERM)
		return;
	if (stat(path, &st) == 0)
		group = getgrgid(st.st_gid);
	error_set(err, EX_NOPERM,
	    "%s may not write to the spool %s; nothing is queued. Who is in its group may: as root "
	    "\"usermod -aG %s %s\", then log in again",
	    origin->login, path, group != NULL ? group->gr_name : "maildrain", origin->login);
}

static int submit_to(struct passage *passage, const char *spool, struct error *err)
{
	int result;

	if (take_envelope(passage, err) == -1)
		return -1;
	result = spool_open(&passage->spool, spool, err);
	if (result == 0) {
		result = pass(passage, err);
		spool_close(&passage->spool);
	}
	if (result == -1)
		advise(&passage->origin, spool, err);
	return result;
}

int submit_message(const struct submit *submit, const struct config *config, struct error *err)
{
	struct passage *passage = calloc(1, sizeof *passage);
	int result;

	if (passage == NULL) {
		error_set(err, EX_TEMPFAIL, "out of memory; nothing is queued");
		return -1;
	}
	passage->submit = submit;
	origin_find(&passage->origin, config->domain);
	(void)snprintf(passage->author, sizeof passage->author, "%s@%s", passage->origin.login,
	    passage->origin.domain);
	result = submit_to(passage, config->spool, err);
	if (result == -1 && err->status == EX_IOERR)
		err->status = EX_TEMPFAIL;
	envelope_free(&passage->envelope);
	free(passage);
	return result;
}
