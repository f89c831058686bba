#include "filter.h"

#include <fnmatch.h>
#include <string.h>

#define STATUS_PARTS 3

bool filter_status_is_valid(const char *text)
{
	int parts = 0;

	if (text[0] != '4' && text[0] != '5')
		return false;
	for (;;) {
		const size_t digits = strspn(text, "0123456789");

		if (digits == 0 || digits > (parts == 0 ? 1 : 3) || ++parts > STATUS_PARTS)
			return false;
		if (text[digits] == '\0')
			return true;
		if (text[digits] != '.')
			return false;
		text += digits + 1;
	}
}

bool filter_asks_age(const struct filter *filter)
{
	return filter->older_than != -1 || filter->newer_than != -1;
}

bool filter_asks_envelope(const struct filter *filter)
{
	return filter->sender != NULL || filter->recipient != NULL || filter->relay != NULL;
}

bool filter_asks(const struct filter *filter)
{
	return filter->failed || filter->deferred || filter->status != NULL ||
	       filter_asks_age(filter) || filter_asks_envelope(filter);
}

/* Whole components only: 5.1 is the start of 5.1.1, and not of 5.10.0. */
static bool status_starts(const char *status, const char *start)
{
	const size_t len = strlen(start);

	return strncmp(status, start, len) == 0 && (status[len] == '\0' || status[len] == '.');
}

bool filter_matches_entry(const struct filter *filter, const struct entry *entry, bool failed)
{
	if (filter->failed != filter->deferred && filter->failed != failed)
		return false;
	return filter->status == NULL || status_starts(entry->status, filter->status);
}

bool filter_matches_age(const struct filter *filter, int64_t since, int64_t now)
{
	/* A name may claim any time: none in the future makes an age. */
	const int64_t age = since < now ? now - since : 0;

	return (filter->older_than == -1 || age >= filter->older_than) &&
	       (filter->newer_than == -1 || age < filter->newer_than);
}

static bool address_matches(const char *pattern, const char *address)
{
	if (strcmp(pattern, "<>") == 0)
		return address[0] == '\0';
	return fnmatch(pattern, address, FNM_CASEFOLD) == 0;
}

static bool some_recipient_matches(const char *pattern, const struct envelope *envelope)
{
	for (size_t i = 0; i < envelope->count; i++)
		if (envelope->recipient[i].state != RECIPIENT_DONE &&
		    address_matches(pattern, envelope->recipient[i].address))
			return true;
	return false;
}

bool filter_matches_envelope(const struct filter *filter, const struct envelope *envelope)
{
	if (filter->sender != NULL && !address_matches(filter->sender, envelope->sender))
		return false;
	if (filter->recipient != NULL && !some_recipient_matches(filter->recipient, envelope))
		return false;
	return filter->relay == NULL ||
	       (envelope->relay != NULL && strcmp(envelope->relay, filter->relay) == 0);
}
