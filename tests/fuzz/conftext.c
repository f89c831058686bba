/* conftext: the text of a configuration file. */
#include "conftext.h"
#include "fuzz.h"

static const char *const spared[] = {"password_file", NULL};

/* Variables whose names say what they hold. */
static char *env(const char *name)
{
	static char set[] = "value", empty[] = "";

	assert(strlen(name) > 0 && strlen(name) <= 64);
	return name[0] == 'U' ? NULL : name[0] == 'E' ? empty : set;
}

static bool is_within(const struct conftext *ct, const char *text, size_t len)
{
	return text >= ct->text && len <= ct->len && text + len <= ct->text + ct->len;
}

static unsigned line_of(const char *text, const char *at)
{
	unsigned line = 1;

	for (; text < at; text++)
		line += *text == '\n';
	return line;
}

static void check_item(const struct conftext *ct, const struct conftext_item *item)
{
	assert(item->name_len > 0 && is_within(ct, item->name, item->name_len));
	assert(item->line == line_of(ct->text, item->name));
	assert(item->section_line <= item->line);
	if (item->title != NULL)
		assert(item->kind == CONFTEXT_SECTION && item->title > item->name &&
		       is_within(ct, item->title, item->title_len));
	for (size_t i = 0; i < item->name_len; i++)
		assert(strchr(" \t\r\n=\"'{}#", item->name[i]) == NULL);
}

/* Reads it all; returns the last result. */
static int read_all(struct conftext *ct, size_t *items)
{
	struct conftext_item item;
	const char *last = ct->text;
	int got;

	*items = 0;
	while ((got = conftext_next(ct, &item)) == 1) {
		assert(item.name >= last && ct->pos <= ct->len);
		last = item.name;
		check_item(ct, &item);
		++*items;
	}
	return got;
}

static void check_fault(const struct conftext *ct)
{
	assert(ct->fault_line >= 1 && ct->fault_line <= line_of(ct->text, ct->text + ct->len));
	assert(ct->fault[0] != '\0' && strlen(ct->fault) < sizeof ct->fault);
	for (const char *at = ct->fault; *at != '\0'; at++)
		assert(*at >= ' ' && *at < 0x7f);
}

/* Only comments are overwritten, with spaces; what is then read again says the same. */
static void check_blanked(const char *before, char *text, size_t len, size_t items)
{
	struct conftext again;
	size_t count;

	for (size_t i = 0; i < len; i++)
		assert(text[i] == before[i] || (text[i] == ' ' && before[i] != '\n'));
	conftext_start(&again, text, len, env, spared);
	assert(read_all(&again, &count) == 0 && count == items);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = malloc(size);
	struct conftext ct;
	size_t items;

	assert(text != NULL || size == 0);
	if (size > 0)
		memcpy(text, data, size);
	conftext_start(&ct, text, size, env, spared);
	if (read_all(&ct, &items) == -1)
		check_fault(&ct);
	else
		check_blanked((const char *)data, text, size, items);
	free(text);
	return 0;
}
