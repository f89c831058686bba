#include "route.h"

#include <fnmatch.h>
#include <string.h>

static bool fits(const char *pattern, const char *text)
{
	return fnmatch(pattern, text, FNM_CASEFOLD) == 0;
}

static bool address_fits(const char *pattern, const char *address)
{
	const char *at = strrchr(address, '@');

	if (strchr(pattern, '@') || !at)
		return fits(pattern, address);
	return fits(pattern, at + 1);
}

bool route_allows(const struct config *config, const char *address)
{
	for (size_t i = 0; i < config->allow_count; i++)
		if (address_fits(config->allow[i], address))
			return true;
	return config->allow_count == 0;
}
