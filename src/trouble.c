#include "trouble.h"

#include <stdint.h>
#include <sysexits.h>

#include "clock.h"

#define REPORTS_MAX 100 /* lines about files; the rest is counted */

void trouble_init(struct trouble *trouble, struct log *log)
{
	*trouble = (struct trouble){.log = log, .skip = {.seed = (uint64_t)clock_now_us()}};
}

void trouble_free(struct trouble *trouble)
{
	skip_free(&trouble->skip);
}

void trouble_file(struct trouble *trouble, const char *name, const char *why)
{
	if (!skip_add(&trouble->skip, name) || ++trouble->reports > REPORTS_MAX)
		return;
	log_begin(trouble->log, LOG_LEVEL_WARNING, "ignored");
	log_text(trouble->log, "file", name);
	log_text(trouble->log, "text", why);
	log_end(trouble->log);
}

void trouble_fault(struct trouble *trouble, const char *name, const char *why)
{
	trouble_file(trouble, name, why);
	trouble->status = EX_IOERR;
}

void trouble_move(struct trouble *trouble, const char *name, enum spool_moved moved)
{
	if (moved == SPOOL_TOO_LONG) {
		trouble_file(trouble, name, "its name is too long to take one more field");
	} else if (moved == SPOOL_ERROR && trouble->err.status == EX_NOPERM) {
		trouble_file(trouble, name, trouble->err.text);
		trouble->status = EX_NOPERM;
	} else if (moved == SPOOL_ERROR) {
		trouble_stop(trouble);
	}
}

void trouble_note(struct trouble *trouble)
{
	log_say(trouble->log, LOG_LEVEL_ERROR, "error", trouble->err.text);
	switch (trouble->err.status) {
	case EX_NOPERM:
	case EX_OSERR:
		trouble->status = trouble->err.status;
		break;
	default:
		trouble->status = EX_IOERR;
	}
}

void trouble_stop(struct trouble *trouble)
{
	trouble_note(trouble);
	trouble->stop = true;
}

void trouble_summary(const struct trouble *trouble)
{
	if (trouble->reports <= REPORTS_MAX)
		return;
	log_begin(trouble->log, LOG_LEVEL_WARNING, "ignored");
	log_number(trouble->log, "more", (int64_t)(trouble->reports - REPORTS_MAX));
	log_end(trouble->log);
}
