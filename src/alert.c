#include "alert.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>

#include "plain.h"
#include "units.h"

struct sentence {
	char *text;
	size_t used;
};

static void put(struct sentence *sentence, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void put(struct sentence *sentence, const char *format, ...)
{
	const size_t room = ALERT_TEXT_MAX - sentence->used;
	va_list args;
	int len;

	va_start(args, format);
	len = vsnprintf(sentence->text + sentence->used, room, format, args);
	va_end(args);
	if (len > 0)
		sentence->used += (size_t)len < room ? (size_t)len : room - 1;
}

/* What an exit status of maildrain(8) means; NULL for another. */
static const char *meaning(int64_t status)
{
	switch (status) {
	case EX_IOERR:
		return "the spool or a file can't be read or written";
	case EX_TEMPFAIL:
		return "no relay takes mail";
	case EX_NOPERM:
		return "a permission is missing";
	case EX_CONFIG:
		return "something is wrong in the configuration";
	default:
		return NULL;
	}
}

static void put_reason(struct sentence *sentence, const struct alert *alert)
{
	const char *words = NULL;
	int64_t status;

	if (alert->result == NULL)
		return;
	if (strcmp(alert->result, "exit-code") != 0 || alert->status == NULL) {
		put(sentence, " (%s)", alert->result);
		return;
	}
	if (units_number(alert->status, 255, &status))
		words = meaning(status);
	put(sentence, ": %s%sexit status %s%s", words != NULL ? words : "",
	    words != NULL ? " (" : "", alert->status, words != NULL ? ")" : "");
}

static void put_queue(struct sentence *sentence, const struct survey *survey)
{
	const size_t due = survey->due.count;
	char age[PLAIN_DURATION_MAX];

	if (due == 0)
		put(sentence, "; no message is due");
	else
		put(sentence, "; %zu message%s due, the oldest for %s", due,
		    due == 1 ? " is" : "s are", plain_duration(survey_due_age(survey), age));
}

static void put_relays(struct sentence *sentence, const struct history *history, int64_t now)
{
	char since[PLAIN_DURATION_MAX];

	for (size_t i = 0; i < history->relay_count; i++)
		if (history_is_down(&history->relay[i]))
			put(sentence, "; relay %s is down for %s", history->relay[i].name,
			    plain_duration(now - history->relay[i].since, since));
}

void alert_sentence(const struct alert *alert, char text[ALERT_TEXT_MAX])
{
	struct sentence sentence = {.text = text};

	text[0] = '\0';
	put(&sentence, "%s on %s has failed", alert->unit, alert->host);
	put_reason(&sentence, alert);
	if (alert->survey != NULL && alert->history != NULL) {
		put_queue(&sentence, alert->survey);
		put_relays(&sentence, alert->history, alert->survey->now);
	} else {
		put(&sentence, "; its queue can't be read: %s", alert->fault);
	}
}
