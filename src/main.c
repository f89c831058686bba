/* maildrain: finds the command, and calls it. */
#include <confuse.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>

#include "command.h"
#include "transport.h"

static const struct command *const commands[] = {
    &command_run,
    &command_init,
    &command_verify,
    &command_status,
    &command_list,
    &command_show,
    &command_retry,
    &command_purge,
    &command_check,
    &command_alert,
    &command_submit,
};

#define COMMANDS (sizeof commands / sizeof commands[0])

static void usage(FILE *out)
{
	(void)fputs("usage: maildrain [-c FILE] COMMAND [OPTION]\n"
		    "\n"
		    "Sends the mail that waits in a spool. Commands:\n",
	    out);
	for (size_t i = 0; i < COMMANDS; i++)
		(void)fprintf(out, "  %-8s %s\n", commands[i]->name, commands[i]->summary);
	(void)fputs("\n"
		    "  -c, --config FILE   instead of " MAILDRAIN_CONFIG "\n"
		    "      --help          also behind a command, for its options\n"
		    "      --version\n"
		    "\n"
		    "See maildrain(8), maildrain.conf(5) and maildrain-spool(5).\n",
	    out);
}

static int version(void)
{
	(void)printf("maildrain %s\n%s\nlibconfuse/%s\n", MAILDRAIN_VERSION, transport_version(),
	    confuse_version);
	return EX_OK;
}

static const struct command *find_command(const char *name)
{
	for (size_t i = 0; i < COMMANDS; i++)
		if (strcmp(commands[i]->name, name) == 0)
			return commands[i];
	return NULL;
}

/* Reads what stands before the command. The exit status, or -1 to go on at optind. */
static int read_options(int argc, char **argv, const char **config_path)
{
	static const struct option known[] = {{"version", no_argument, NULL, 'V'}, CALL_OPTIONS};
	int option;

	while ((option = getopt_long(argc, argv, "+c:", known, NULL)) != -1) {
		switch (option) {
		case 'c':
			*config_path = optarg;
			break;
		case 'h':
			usage(stdout);
			return EX_OK;
		case 'V':
			return version();
		default:
			return call_usage_error("that is not how it is called", "");
		}
	}
	return -1;
}

/* Output that could not be written is an error too. */
static int flush(int status)
{
	if (fflush(stdout) == 0 && ferror(stdout) == 0)
		return status;
	(void)fprintf(stderr, "maildrain: can't write the output\n");
	return status == EX_OK ? EX_IOERR : status;
}

static int call_command(int argc, char **argv, const char *config_path)
{
	struct call call = {.config_path = config_path, .argc = argc, .argv = argv};

	call.command = find_command(argv[0]);
	if (call.command == NULL)
		return call_usage_error("there is no command ", argv[0]);
	/* From here on getopt_long reads the command's own words, its name being their first. */
	optind = 0;
	return call.command->run(&call);
}

/*
 * Under a name of sendmail's the program is "submit", with the option that the name stands for;
 * other words of mailq and newaliases, which are sendmail's, mean nothing here. The exit status, or
 * -1: it goes by another name.
 */
static int call_guise(int argc, char **argv)
{
	static const struct {
		const char *name;
		char option[4];
	} guises[] = {{"sendmail", ""}, {"mailq", "-bp"}, {"newaliases", "-bi"}};
	const char *slash = strrchr(argv[0], '/');
	const char *name = slash != NULL ? slash + 1 : argv[0];

	for (size_t i = 0; i < sizeof guises / sizeof guises[0]; i++) {
		char submit[] = "submit";
		char option[sizeof guises[i].option];
		char *words[] = {submit, option, NULL};

		if (strcmp(name, guises[i].name) != 0)
			continue;
		memcpy(option, guises[i].option, sizeof option);
		if (option[0] != '\0')
			return call_command(2, words, MAILDRAIN_CONFIG);
		argv[0] = submit;
		return call_command(argc, argv, MAILDRAIN_CONFIG);
	}
	return -1;
}

int main(int argc, char **argv)
{
	const char *config_path = MAILDRAIN_CONFIG;
	int status;

	/* A limit on the size of files shall be an error of write(2), not the end. */
	(void)signal(SIGXFSZ, SIG_IGN);
	/* What is said in pieces is one write. */
	(void)setvbuf(stderr, NULL, _IOLBF, BUFSIZ);
	status = call_guise(argc, argv);
	if (status == -1)
		status = read_options(argc, argv, &config_path);
	if (status != -1)
		return flush(status);
	if (optind == argc) {
		usage(stderr);
		return EX_USAGE;
	}
	return flush(call_command(argc - optind, argv + optind, config_path));
}
