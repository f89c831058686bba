#include "digest.h"

#include <stdlib.h>
#include <string.h>

#include "dsn.h"

static void count_status(struct digest *digest, const char *status)
{
	for (size_t i = 0; i < digest->statuses; i++) {
		if (strcmp(digest->count[i].status, status) == 0) {
			digest->count[i].messages++;
			return;
		}
	}
	if (digest->statuses == DIGEST_STATUSES) {
		digest->other++;
		return;
	}
	digest->count[digest->statuses].messages = 1;
	(void)snprintf(
	    digest->count[digest->statuses++].status, sizeof digest->count[0].status, "%s", status);
}

bool digest_add(struct digest *digest, const char *status)
{
	count_status(digest, status);
	return ++digest->messages <= DIGEST_LISTED;
}

/* The first recipient that the digest is about, NULL when there is none; MORE gets how many follow.
 */
static const struct recipient *first_concerned(
    const struct envelope *envelope, bool delayed, size_t *more)
{
	const struct recipient *first = NULL;

	*more = 0;
	for (size_t i = 0; i < envelope->count; i++) {
		if (!dsn_concerns(&envelope->recipient[i], delayed))
			continue;
		*more += first != NULL;
		first = first != NULL ? first : &envelope->recipient[i];
	}
	return first;
}

static void list_envelope(FILE *list, const struct entry *entry, const struct envelope *envelope)
{
	size_t more;
	const struct recipient *recipient =
	    first_concerned(envelope, entry_has_class(entry, '4'), &more);

	(void)fputs("    from <", list);
	notice_words(list, envelope->sender, NOTICE_ADDRESS_MAX);
	(void)fputs(">", list);
	if (recipient != NULL) {
		(void)fputs(" to <", list);
		notice_words(list, recipient->address, NOTICE_ADDRESS_MAX);
		(void)fputs(">", list);
		if (more > 0)
			(void)fprintf(list, " and %zu more", more);
		(void)fputs("\n    ", list);
		dsn_say(list, recipient, entry->status);
	}
}

void digest_list(
    FILE *list, const struct entry *entry, const struct envelope *envelope, const char *why)
{
	char id[ENTRY_NAME_MAX + 1];

	(void)snprintf(id, sizeof id, "%.*s", (int)entry->unique_len, entry->name);
	notice_words(list, id, sizeof id);
	(void)fputs("\n", list);
	if (envelope != NULL) {
		list_envelope(list, entry, envelope);
	} else {
		(void)fprintf(list, "    %s: ", entry->status);
		notice_words(list, why, NOTICE_WORDS_MAX);
	}
	(void)fputs("\n\n", list);
}

static void say_counts(FILE *out, const struct digest *digest)
{
	(void)fputs("status      messages\n", out);
	for (size_t i = 0; i < digest->statuses; i++)
		(void)fprintf(
		    out, "%-11s %8zu\n", digest->count[i].status, digest->count[i].messages);
	if (digest->other > 0)
		(void)fprintf(out, "%-11s %8zu\n", "others", digest->other);
}

static bool has_late(const struct digest *digest)
{
	for (size_t i = 0; i < digest->statuses; i++)
		if (digest->count[i].status[0] == '4')
			return true;
	return false;
}

static void say(FILE *out, const struct digest *digest, const char *host, const char *list)
{
	(void)fprintf(out,
	    "This is the mail system at %s.\n\n%zu message%s could not be delivered.\n", host,
	    digest->messages, digest->messages == 1 ? "" : "s");
	if (has_late(digest))
		(void)fputs("Those with a status that starts with 4 are only late.\n", out);
	(void)fputs("\n", out);
	say_counts(out, digest);
	(void)fprintf(out, "\n%s", list);
	if (digest->messages > DIGEST_LISTED)
		(void)fprintf(
		    out, "and %zu more: maildrain list\n", digest->messages - DIGEST_LISTED);
}

int digest_write(
    FILE *out, const struct digest *digest, const struct notice *notice, const char *list)
{
	struct notice own = *notice;
	char subject[80];
	char *text = NULL;
	size_t len = 0;
	FILE *memory = open_memstream(&text, &len);

	if (memory == NULL)
		return -1;
	say(memory, digest, notice->host, list);
	if (fclose(memory) != 0) {
		free(text);
		return -1;
	}
	(void)snprintf(subject, sizeof subject, "Mail could not be delivered: %zu message%s",
	    digest->messages, digest->messages == 1 ? "" : "s");
	own.subject = subject;
	notice_header(out, &own, "auto-generated");
	notice_body(out, "text/plain; charset=utf-8", text, len, NOTICE_LINE);
	free(text);
	return 0;
}
