#include "command.h"

#include <stdio.h>
#include <string.h>
#include <sysexits.h>

#include "plain.h"
#include "privilege.h"
#include "units.h"

void call_help(const struct command *command)
{
	(void)printf("usage: maildrain [-c FILE] %s%s%s\n\n%s.\n", command->name,
	    command->words[0] != '\0' ? " " : "", command->words, command->summary);
	if (command->help[0] != '\0')
		(void)printf("\n%s", command->help);
	(void)printf("\nSee maildrain(8).\n");
}

int call_usage_error(const char *what, const char *which)
{
	(void)fprintf(stderr, "maildrain: %s", what);
	plain_text(stderr, which);
	(void)fprintf(stderr, "; see \"maildrain --help\"\n");
	return EX_USAGE;
}

bool call_duration(const char *text, int64_t *seconds)
{
	if (units_duration(text, seconds))
		return true;
	(void)call_usage_error("a duration is written as 90s, 5m, 2h or 7d, and not ", text);
	return false;
}

/* What it tells may name files, and others have named those; advice may be in lines of its own. */
int call_complain(const struct error *err)
{
	(void)fprintf(stderr, "maildrain: ");
	(void)plain_lines(stderr, err->text, strlen(err->text), true);
	(void)fprintf(stderr, "\n");
	return err->status;
}

/* The words that getopt_long has moved behind the options. */
static int take_words(struct call *call, int most)
{
	call->argc -= optind;
	call->argv += optind;
	if (call->argc <= most)
		return CALL_WORDS;
	(void)call_usage_error("too many words: ", call->argv[most]);
	return CALL_WRONG;
}

int call_option(struct call *call, const struct option *known, int most)
{
	int option;

	while ((option = getopt_long(call->argc, call->argv, "c:", known, NULL)) == 'c')
		call->config_path = optarg;
	switch (option) {
	case -1:
		return take_words(call, most);
	case 'h':
		call_help(call->command);
		return CALL_HELPED;
	case '?':
		(void)call_usage_error("that is not how it is called: ", call->command->name);
		return CALL_WRONG;
	default:
		return option;
	}
}

int call_plain(struct call *call, int most)
{
	static const struct option known[] = {CALL_OPTIONS};

	return call_option(call, known, most);
}

int call_status(int option)
{
	return option == CALL_HELPED ? EX_OK : EX_USAGE;
}

int call_try_open(const struct call *call, struct call_spool *opened, struct error *err)
{
	if (config_load(call->config_path, CONFIG_SPOOL, &opened->config, err) == -1)
		return -1;
	if (spool_open(&opened->spool, opened->config.spool, err) == 0)
		return 0;
	config_free(&opened->config);
	return -1;
}

int call_open(const struct call *call, struct call_spool *opened)
{
	struct error err;

	return call_try_open(call, opened, &err) == 0 ? EX_OK : call_complain(&err);
}

static int open_owned(bool look, struct call_spool *opened, struct error *err)
{
	if (privilege_drop(opened->config.spool, err) == -1 ||
	    spool_open(&opened->spool, opened->config.spool, err) == -1)
		return -1;
	if (look || spool_movable(&opened->spool, err) == 0)
		return 0;
	spool_close(&opened->spool);
	return -1;
}

int call_open_owned(const struct call *call, bool look, struct call_spool *opened)
{
	struct error err;

	if (config_load(call->config_path, CONFIG_SPOOL, &opened->config, &err) == -1)
		return call_complain(&err);
	if (open_owned(look, opened, &err) == 0)
		return EX_OK;
	privilege_advise(opened->config.spool, call->command->name, &err);
	config_free(&opened->config);
	return call_complain(&err);
}

void call_close(struct call_spool *opened)
{
	spool_close(&opened->spool);
	config_free(&opened->config);
}

int call_end(struct call_spool *opened, int result, const struct error *err)
{
	const int status = result == -1 ? call_complain(err) : EX_OK;

	call_close(opened);
	return status;
}
