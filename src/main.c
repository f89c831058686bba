/* maildrain: commands and options. */
#include <confuse.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#include "config.h"
#include "dry.h"
#include "log.h"
#include "privilege.h"
#include "run.h"
#include "status.h"
#include "transport.h"
#include "verify.h"

struct options {
	const char *config_path;
	bool dry_run;
	bool verbose;
	bool all;
	char **arguments;
	int argument_count;
};

struct command {
	const char *name;
	int (*run)(const struct options *options);
	const char *options; /* of getopt_long's long ones, those it takes: first letters */
	int arguments_max;
};

static void usage(FILE *out)
{
	(void)fputs("usage: maildrain [-c FILE] COMMAND [OPTION]\n"
		    "\n"
		    "Sends the mail that waits in a spool. Commands:\n"
		    "  run            send what is due\n"
		    "    --dry-run    only say what would be sent\n"
		    "    --verbose    on a terminal, show each message\n"
		    "  init [DIR]     make the spool, or mend its modes\n"
		    "  verify         check the config, the spool and each relay\n"
		    "  status         count what waits, is deferred, failed or sent\n"
		    "  list           a line for each message that is not sent\n"
		    "    --all        the sent ones too\n"
		    "\n"
		    "  -c, --config FILE   instead of " MAILDRAIN_CONFIG "\n"
		    "      --help, --version\n"
		    "\n"
		    "See maildrain(8), maildrain.conf(5) and maildrain-spool(5).\n",
	    out);
}

static int complain(const struct error *err)
{
	(void)fprintf(stderr, "maildrain: %s\n", err->text);
	return err->status;
}

static int usage_error(const char *what, const char *which)
{
	(void)fprintf(stderr, "maildrain: %s%s; see \"maildrain --help\"\n", what, which);
	return EX_USAGE;
}

typedef int look_at(
    const struct spool *spool, const struct config *config, bool all, struct error *err);

/* Opens the spool that the config names, for those who only look. */
static int inspect(const struct options *options, look_at *look)
{
	struct config config;
	struct spool spool;
	struct error err;
	int status = EX_OK;

	if (config_load(options->config_path, CONFIG_INSPECT, &config, &err) == -1)
		return complain(&err);
	if (spool_open(&spool, config.spool, &err) == -1) {
		config_free(&config);
		return complain(&err);
	}
	if (look(&spool, &config, options->all, &err) == -1)
		status = complain(&err);
	spool_close(&spool);
	config_free(&config);
	return status;
}

static int look_dry(
    const struct spool *spool, const struct config *config, bool all, struct error *err)
{
	(void)all;
	return dry_run(spool, &config->retry, err);
}

static int command_run(const struct options *options)
{
	struct config config;
	struct error err;
	struct log log;
	int status;

	if (options->dry_run)
		return inspect(options, look_dry);
	if (config_load(options->config_path, CONFIG_SEND, &config, &err) == -1)
		return complain(&err);
	log_open(&log, options->verbose);
	if (privilege_drop(config.spool, &err) == -1)
		status = complain(&err);
	else
		status = run_spool(&config, &log);
	log_close(&log);
	config_free(&config);
	return status;
}

static int init_at(const char *path)
{
	struct spool_owner owner;
	struct error err;

	if (spool_init(path, privilege_owner(&owner) ? &owner : NULL, &err) == -1)
		return complain(&err);
	(void)printf("the spool %s is ready\n", path);
	return EX_OK;
}

static int command_init(const struct options *options)
{
	struct config config;
	struct error err;
	int status;

	if (options->argument_count == 1)
		return init_at(options->arguments[0]);
	if (config_load(options->config_path, CONFIG_INSPECT, &config, &err) == -1)
		return complain(&err);
	status = init_at(config.spool);
	config_free(&config);
	return status;
}

static int command_verify(const struct options *options)
{
	struct config config;
	struct error err;
	int status;

	if (config_load(options->config_path, CONFIG_SEND, &config, &err) == -1)
		return complain(&err);
	status = verify_all(&config);
	config_free(&config);
	return status;
}

static int look_status(
    const struct spool *spool, const struct config *config, bool all, struct error *err)
{
	(void)config;
	(void)all;
	return status_show(spool, err);
}

static int command_status(const struct options *options)
{
	return inspect(options, look_status);
}

static int look_list(
    const struct spool *spool, const struct config *config, bool all, struct error *err)
{
	(void)config;
	return status_list(spool, all, err);
}

static int command_list(const struct options *options)
{
	return inspect(options, look_list);
}

static int version(void)
{
	(void)printf("maildrain %s\n%s\nlibconfuse/%s\n", MAILDRAIN_VERSION, transport_version(),
	    confuse_version);
	return EX_OK;
}

static const struct command commands[] = {
    {"run", command_run, "dv", 0},
    {"init", command_init, "", 1},
    {"verify", command_verify, "", 0},
    {"status", command_status, "", 0},
    {"list", command_list, "a", 0},
};

static const struct command *find_command(const char *name)
{
	for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++)
		if (strcmp(commands[i].name, name) == 0)
			return &commands[i];
	return NULL;
}

enum { OPTION_HELP = 'h', OPTION_VERSION = 'V' };

/* What getopt_long returned, for what stands before the command and behind it. */
static int take_option(int option, const struct command *command, struct options *options)
{
	if (option != 'c' && (command == NULL || strchr(command->options, option) == NULL))
		return -1;
	switch (option) {
	case 'c':
		options->config_path = optarg;
		return 0;
	case 'd':
		options->dry_run = true;
		return 0;
	case 'v':
		options->verbose = true;
		return 0;
	case 'a':
		options->all = true;
		return 0;
	default:
		return -1;
	}
}

/* Reads the options up to the first other word; the exit status, or -1 to go on. */
static int read_options(
    int argc, char **argv, const struct command *command, struct options *options)
{
	static const struct option known[] = {
	    {"config", required_argument, NULL, 'c'},
	    {"dry-run", no_argument, NULL, 'd'},
	    {"verbose", no_argument, NULL, 'v'},
	    {"all", no_argument, NULL, 'a'},
	    {"help", no_argument, NULL, OPTION_HELP},
	    {"version", no_argument, NULL, OPTION_VERSION},
	    {NULL, 0, NULL, 0},
	};
	int option;

	while ((option = getopt_long(argc, argv, "+c:", known, NULL)) != -1) {
		if (option == OPTION_HELP) {
			usage(stdout);
			return EX_OK;
		}
		if (option == OPTION_VERSION)
			return version();
		if (option == '?')
			return usage_error("that is not how it is called", "");
		if (take_option(option, command, options) == -1)
			return usage_error("an option of another command: ", argv[optind - 1]);
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

int main(int argc, char **argv)
{
	struct options options = {.config_path = MAILDRAIN_CONFIG};
	const struct command *command;
	int status = read_options(argc, argv, NULL, &options);

	if (status != -1)
		return flush(status);
	/* A limit on the size of files shall be an error of write(2), not the end. */
	(void)signal(SIGXFSZ, SIG_IGN);
	if (optind == argc) {
		usage(stderr);
		return EX_USAGE;
	}
	command = find_command(argv[optind]);
	if (command == NULL)
		return usage_error("there is no command ", argv[optind]);
	optind++;
	status = read_options(argc, argv, command, &options);
	if (status != -1)
		return flush(status);
	options.arguments = argv + optind;
	options.argument_count = argc - optind;
	if (options.argument_count > command->arguments_max)
		return usage_error("too many words: ", argv[optind + command->arguments_max]);
	return flush(command->run(&options));
}
