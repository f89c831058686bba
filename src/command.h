/*
 * command: what the program's commands share. Each is a file command_NAME.c that defines one struct
 * command; main.c lists them.
 */
#ifndef MAILDRAIN_COMMAND_H
#define MAILDRAIN_COMMAND_H

#include <getopt.h>
#include <stdbool.h>
#include <stdint.h>

#include "config.h"
#include "error.h"
#include "spool.h"

struct call;

struct command {
	const char *name;
	const char *words;   /* that may follow it, as the usage shows them; "" for none */
	const char *summary; /* what it does, in half a line */
	const char *help;    /* a line for each option, with its newline; or "" */
	int (*run)(struct call *call); /* returns the exit status */
};

/* One call of the program: its command, and the words behind it. */
struct call {
	const struct command *command;
	const char *config_path;
	int argc;
	char **argv; /* argv[0] is the command's name */
};

extern const struct command command_alert;
extern const struct command command_check;
extern const struct command command_init;
extern const struct command command_list;
extern const struct command command_purge;
extern const struct command command_retry;
extern const struct command command_run;
extern const struct command command_show;
extern const struct command command_status;
extern const struct command command_submit;
extern const struct command command_verify;

/* Options that every command has; ends the array of getopt_long that call_option takes. */
#define CALL_OPTIONS                                                                               \
	{"config", required_argument, NULL, 'c'}, {"help", no_argument, NULL, 'h'},                \
	{                                                                                          \
		NULL, 0, NULL, 0                                                                   \
	}

enum {
	CALL_WORDS = -1,  /* no option is left; argc and argv hold the words */
	CALL_HELPED = -2, /* the help is shown: exit with 0 */
	CALL_WRONG = -3	  /* what is wrong is said: exit with EX_USAGE */
};

/*
 * The next option of CALL, one of KNOWN, with optarg set; or one of the above. At most MOST words
 * may be left.
 */
int call_option(struct call *call, const struct option *known, int most);

/* For a command without options of its own: CALL_WORDS, CALL_HELPED or CALL_WRONG. */
int call_plain(struct call *call, int most);

/* The exit status after call_option has said CALL_HELPED or CALL_WRONG. */
int call_status(int option);

/* Shows the help of COMMAND. */
void call_help(const struct command *command);

/* Says on stderr what is wrong with how the program was called; EX_USAGE. */
int call_usage_error(const char *what, const char *which);

/* Reads the duration TEXT of an option; false with all said when it is none. */
bool call_duration(const char *text, int64_t *seconds);

/* Says on stderr what ERR says; its exit status. */
int call_complain(const struct error *err);

/* The config and the spool that it names, open. 0, or the exit status with all said. */
struct call_spool {
	struct config config;
	struct spool spool;
};

/* For those who only look. */
int call_open(const struct call *call, struct call_spool *opened);
/* The same for those who complain in their own way. 0, or -1 with ERR. */
int call_try_open(const struct call *call, struct call_spool *opened, struct error *err);
/*
 * For those who move messages: root becomes the owner of the spool. With LOOK it is not asked
 * whether they can be moved.
 */
int call_open_owned(const struct call *call, bool look, struct call_spool *opened);
void call_close(struct call_spool *opened);

/* Closes what came to RESULT: 0, or -1 with ERR, which is said. The exit status. */
int call_end(struct call_spool *opened, int result, const struct error *err);

#endif
