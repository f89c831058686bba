#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <sysexits.h>

#include "command.h"
#include "compose.h"
#include "submit.h"

/*
 * The options of Sendmail, Postfix, OpenSMTPD and msmtp; all but a few mean nothing here. The first
 * word ends them: words can come from outside, and shall not become options.
 */
static const char LETTERS[] =
    "+:A:B:C::D::E::F:GIJ::L:M::N:O:Q::R:UV:X::b:d::e:f:h:imno:p:q::r:tvx";

/* What can't be done, or would let whoever chooses the options read and write other files. */
static const struct {
	char letter;
	const char *why;
} refused[] = {
    {'C', "-C: the config is always " MAILDRAIN_CONFIG},
    {'D', "-D: no log is written"},
    {'M', "-M: see \"maildrain list\" for what is queued"},
    {'Q', "-Q: nothing is quarantined"},
    {'X', "-X: no log is written"},
    {'q', "-q: the timer, or \"maildrain run\", sends what is queued"},
};

enum mode { MODE_SUBMIT, MODE_QUEUE, MODE_ALIASES, MODE_HELP };

struct options {
	enum mode mode;
	struct submit submit;
};

static int fail_letter(const char *what, int letter)
{
	const char option[] = {'-', (char)letter, '\0'};

	return call_usage_error(what, option);
}

static int fail_unknown(const struct call *call)
{
	if (optopt != 0)
		return fail_letter("there is no option ", optopt);
	return call_usage_error("there is no option ", call->argv[optind - 1]);
}

static int take_mode(struct options *options, const char *mode)
{
	if (strcmp(mode, "m") == 0)
		options->mode = MODE_SUBMIT;
	else if (strcmp(mode, "p") == 0)
		options->mode = MODE_QUEUE;
	else if (strcmp(mode, "i") == 0)
		options->mode = MODE_ALIASES;
	else
		return call_usage_error(
		    "only a message on standard input is taken, so there is no -b", mode);
	return EX_OK;
}

/* Whether the option makes a line with a dot text: -i, -oi, or -O with Sendmail's name for it. */
static bool is_dot_text(int letter, const char *text)
{
	static const char name[] = "IgnoreDots";
	const size_t len = sizeof name - 1;

	if (letter != 'O')
		return letter == 'i' || text[0] == 'i';
	if (strncasecmp(text, name, len) != 0)
		return false;
	return text[len] == '\0' || (text[len] == '=' && strchr("fFnN0", text[len + 1]) == NULL);
}

static int take_name(struct options *options, const char *name)
{
	options->submit.full_name = name;
	return compose_is_name(name) ? EX_OK : call_usage_error("that is no name for -F", "");
}

static int check_refused(int letter)
{
	for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++)
		if (refused[i].letter == letter)
			return call_usage_error("this is not done, ", refused[i].why);
	return EX_OK;
}

/* EX_OK, or the exit status with all said. */
static int take_option(struct options *options, int letter)
{
	switch (letter) {
	case 't':
		options->submit.extract = true;
		return EX_OK;
	case 'i':
	case 'o':
	case 'O':
		options->submit.dot_is_text |= is_dot_text(letter, optarg);
		return EX_OK;
	case 'f':
	case 'r':
		options->submit.sender = optarg;
		return EX_OK;
	case 'F':
		return take_name(options, optarg);
	case 'b':
		return take_mode(options, optarg);
	case 'I':
		return take_mode(options, "i");
	case 'H':
		options->mode = MODE_HELP;
		return EX_OK;
	case ':':
		return fail_letter("nothing stands behind ", optopt);
	default:
		return check_refused(letter);
	}
}

static int read_options(const struct call *call, struct options *options)
{
	static const struct option known[] = {{"help", no_argument, NULL, 'H'}, {NULL, 0, NULL, 0}};
	int status = EX_OK;
	int letter;

	opterr = 0;
	while (status == EX_OK &&
	       (letter = getopt_long(call->argc, call->argv, LETTERS, known, NULL)) != -1)
		status = letter == '?' ? fail_unknown(call) : take_option(options, letter);
	options->submit.recipient = call->argv + optind;
	for (int i = optind; status == EX_OK && i < call->argc; i++)
		if (call->argv[i][0] == '-')
			status = call_usage_error(
			    "options stand before the recipients: ", call->argv[i]);
	return status;
}

static int submit(const struct call *call, const struct submit *what)
{
	struct config config;
	struct error err;
	int status = EX_OK;

	if (what->recipient[0] == NULL && !what->extract)
		return call_usage_error("say who it is for, or -t for those of the header", "");
	/* The run must be able to read the file, whatever the caller's mask is. */
	(void)umask(027);
	if (config_load(call->config_path, CONFIG_SPOOL, &config, &err) == -1)
		return call_complain(&err);
	if (submit_message(what, &config, &err) == -1)
		status = call_complain(&err);
	config_free(&config);
	return status;
}

/* "mailq". */
static int list(const struct call *call)
{
	char name[] = "list";
	char *words[] = {name, NULL};
	struct call other = {&command_list, call->config_path, 1, words};

	optind = 0;
	return command_list.run(&other);
}

static int run(struct call *call)
{
	struct options options = {.mode = MODE_SUBMIT};
	const int status = read_options(call, &options);

	if (status != EX_OK)
		return status;
	switch (options.mode) {
	case MODE_HELP:
		call_help(&command_submit);
		return EX_OK;
	case MODE_QUEUE:
		return list(call);
	case MODE_ALIASES:
		(void)printf("maildrain has no aliases, so there is nothing to do\n");
		return EX_OK;
	default:
		return submit(call, &options.submit);
	}
}

const struct command command_submit = {
    .name = "submit",
    .words = "[OPTION] [RECIPIENT ...]",
    .summary = "Queue a message from standard input, as sendmail does",
    .help = "  -t          the recipients in To, Cc and Bcc count too\n"
	    "  -i, -oi     a line with a single dot does not end the message\n"
	    "  -f, -r ADDR the envelope sender; '' is the null sender\n"
	    "  -F NAME     who it is from, where the header does not say\n"
	    "  -bp         show the queue: maildrain list\n"
	    "Other options of sendmail have no effect, or are refused.\n",
    .run = run,
};
