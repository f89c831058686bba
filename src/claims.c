#include "claims.h"

#include <errno.h>
#include <signal.h>

#include "clock.h"

#define DAY 86400

void claims_init(struct claims *claims, struct spool *spool, const struct config *config)
{
	*claims = (struct claims){
	    .spool = spool, .seconds = config->claim, .shared = config->shared_spool};
	LIST_INIT(&claims->held);
}

int64_t claims_until(const struct claims *claims)
{
	return clock_now() + claims->seconds;
}

/* Whether no process has PID; one that is somebody else's counts as alive. */
static bool is_dead(long pid)
{
	return kill((pid_t)pid, 0) == -1 && errno == ESRCH;
}

bool claims_over(const struct claims *claims, const struct entry *entry, int64_t now, bool mine)
{
	const struct spool *spool = claims->spool;
	long pid;
	const bool here = entry_claimed_by_host(entry, spool->host, &pid);

	if (here && pid == spool->pid)
		return !mine;
	/* No claim is made for longer than a day: further ahead only a wrong clock can be. */
	if (entry->not_before <= now || entry->not_before - now > DAY)
		return true;
	if (!here)
		return false;
	/* With the lock of a spool that is not shared no other run of this host can live. */
	return claims->shared ? is_dead(pid) : !mine;
}

enum spool_moved claims_take(struct claims *claims, struct message *message, struct error *err)
{
	char to[ENTRY_NAME_MAX + 1];
	const enum spool_moved moved =
	    spool_claim(claims->spool, &message->entry, claims_until(claims), to, err);

	if (moved != SPOOL_MOVED)
		return moved;
	message_renamed(message, to);
	LIST_INSERT_HEAD(&claims->held, message, claimed);
	message->is_claimed = true;
	message->withdrawn = false;
	return moved;
}

void claims_drop(struct message *message)
{
	if (message->is_claimed)
		LIST_REMOVE(message, claimed);
	message->is_claimed = false;
}

static enum spool_moved renew(struct claims *claims, struct message *message, struct error *err)
{
	char to[ENTRY_NAME_MAX + 1];
	const enum spool_moved moved =
	    spool_renew(claims->spool, &message->entry, claims_until(claims), to, err);

	if (moved == SPOOL_MOVED)
		message_renamed(message, to);
	return moved;
}

/* Also when the clock has been set back: T is then too far ahead. */
static bool needs_renewal(const struct claims *claims, const struct message *message, int64_t now)
{
	const int64_t left = message->entry.not_before - now;

	return left <= claims->seconds / 2 || left > claims->seconds;
}

struct message *claims_renew(struct claims *claims, enum spool_moved *moved, struct error *err)
{
	const int64_t now = clock_now();
	struct message *message = LIST_FIRST(&claims->held);

	if (now == claims->looked)
		return NULL;
	for (; message != NULL; message = LIST_NEXT(message, claimed)) {
		if (!needs_renewal(claims, message, now))
			continue;
		*moved = renew(claims, message, err);
		if (*moved != SPOOL_MOVED) {
			claims_drop(message);
			return message;
		}
	}
	claims->looked = now;
	return NULL;
}
