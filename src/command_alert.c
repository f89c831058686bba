#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "alert.h"
#include "command.h"
#include "log.h"
#include "privilege.h"
#include "launch.h"

#define RUN_MS	 30000
#define GRACE_MS 5000

/* What is known of the failure. */
struct look {
	struct alert alert;
	struct config config;
	struct survey survey;
	struct history history;
	struct error err;
	char host[256];
	char text[ALERT_TEXT_MAX];
};

/*
 * The config of UNIT, in PATH: that of maildrain@NAME.service is NAME.conf in the folder
 * maildrain/ beside the usual one. False for names that are none of a unit.
 */
static bool config_of(const char *unit, const char *usual, char *path, size_t size)
{
	static const char TEMPLATE[] = "maildrain@";
	static const char SERVICE[] = ".service";
	const char *name = unit + strlen(TEMPLATE);
	size_t len;
	int used;

	if (strncmp(unit, TEMPLATE, strlen(TEMPLATE)) != 0 || strcmp(usual, MAILDRAIN_CONFIG) != 0)
		return snprintf(path, size, "%s", usual) < (int)size;
	len = strlen(name);
	if (len > strlen(SERVICE) && strcmp(name + len - strlen(SERVICE), SERVICE) == 0)
		len -= strlen(SERVICE);
	if (len == 0 || name[0] == '.' || memchr(name, '/', len) != NULL)
		return false;
	used = snprintf(path, size, "%.*s/%.*s.conf", (int)(strlen(usual) - strlen(".conf")), usual,
	    (int)len, name);
	return used > 0 && (size_t)used < size;
}

static void look_into(struct look *look)
{
	struct spool spool;

	look->alert.fault = look->err.text;
	if (spool_open(&spool, look->config.spool, &look->err) == -1)
		return;
	if (survey_take(&spool, &look->survey, &look->err) == 0 &&
	    history_load(&spool, &look->config, &look->history, &look->err) == 0) {
		look->alert.survey = &look->survey;
		look->alert.history = &look->history;
	}
	spool_close(&spool);
}

static void log_down(struct log *log, const struct history *history)
{
	for (size_t i = 0; i < history->relay_count; i++)
		if (history_is_down(&history->relay[i])) {
			log_text(log, "relay", history->relay[i].name);
			return;
		}
}

static void log_alert(struct log *log, const struct look *look)
{
	const struct survey *survey = look->alert.survey;

	log_begin(log, LOG_LEVEL_ALERT, "alert");
	log_text(log, "unit", look->alert.unit);
	if (survey != NULL) {
		log_number(log, "waiting", (int64_t)survey->state[SURVEY_WAITING].count);
		log_number(log, "deferred", (int64_t)survey->state[SURVEY_DEFERRED].count);
		log_number(log, "failed", (int64_t)survey->state[SURVEY_FAILED].count);
		log_number(log, "oldest", survey_due_age(survey));
		log_down(log, &look->history);
	}
	log_text(log, "text", look->text);
	log_end(log);
	log_flush(log);
}

static void log_end_of(struct log *log, const char *command, const struct child_end *end)
{
	log_begin(log, end->status == 0 ? LOG_LEVEL_NOTICE : LOG_LEVEL_ERROR, "alert-command");
	log_text(log, "command", command);
	if (end->signal != 0)
		log_number(log, "signal", end->signal);
	else
		log_number(log, "exit", end->status);
	log_tenths(log, "seconds", (end->took + 50) / 100);
	if (end->too_long)
		log_text(log, "text", "it took longer than 30 seconds and was ended");
	log_end(log);
}

/* The config's command, with the sentence as its last word. The exit status. */
static int call_somebody(struct log *log, struct look *look)
{
	static const struct child_limits limits = {RUN_MS, GRACE_MS};
	char *argv[CONFIG_WORDS_MAX + 2] = {NULL};
	char *const *words = look->config.alert_command;
	struct child_end end;

	if (words == NULL)
		return EX_OK;
	for (size_t i = 0; words[i] != NULL; i++) {
		argv[i] = words[i];
		argv[i + 1] = look->text;
	}
	if (setenv("MAILDRAIN_UNIT", look->alert.unit, 1) == -1 ||
	    setenv("MAILDRAIN_ALERT", look->text, 1) == -1) {
		log_say(log, LOG_LEVEL_ERROR, "error", "out of memory for the alert");
		return EX_OSERR;
	}
	if (launch_run(argv, environ, &limits, &end, &look->err) == -1) {
		log_say(log, LOG_LEVEL_ERROR, "error", look->err.text);
		return look->err.status;
	}
	log_end_of(log, argv[0], &end);
	return end.status == 0 ? EX_OK : EX_UNAVAILABLE;
}

/* Says what is the matter, with a config or without. The exit status. */
static int alert(struct log *log, struct look *look, const char *path)
{
	const bool loaded = config_load(path, CONFIG_SPOOL, &look->config, &look->err) == 0;
	int status = EX_OK;

	look->alert.fault = look->err.text;
	if (!loaded || privilege_drop(look->config.spool, &look->err) == -1)
		status = look->err.status;
	else
		look_into(look);
	alert_sentence(&look->alert, look->text);
	log_alert(log, look);
	if (status == EX_OK)
		status = call_somebody(log, look);
	if (loaded)
		config_free(&look->config);
	return status;
}

static int run(struct call *call)
{
	char path[4096];
	struct look look = {.alert = {.host = "?"}};
	struct log log;
	int status = call_plain(call, 1);

	if (status != CALL_WORDS)
		return call_status(status);
	if (call->argc == 0)
		return call_usage_error("alert needs the name of the unit that has failed", "");
	if (!config_of(call->argv[0], call->config_path, path, sizeof path))
		return call_usage_error("that is no unit of maildrain: ", call->argv[0]);
	look.alert.unit = call->argv[0];
	if (gethostname(look.host, sizeof look.host - 1) == 0)
		look.alert.host = look.host;
	/* Set by systemd, see systemd.exec(5). */
	look.alert.result = getenv("MONITOR_SERVICE_RESULT");
	look.alert.status = getenv("MONITOR_EXIT_STATUS");
	log_open(&log, false);
	status = alert(&log, &look, path);
	log_close(&log);
	return status;
}

const struct command command_alert = {
    .name = "alert",
    .words = "UNIT",
    .summary = "Tell that a unit has failed, and call somebody",
    .help = "",
    .run = run,
};
