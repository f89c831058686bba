/* names: file names, one on each line, as entries and as the names of dumps. */
#include "dump.h"
#include "entry.h"
#include "fuzz.h"

/* The grammar of the contract, byte by byte. */
static bool is_name(const char *name)
{
	const size_t len = strlen(name);

	for (size_t i = 0; i < len; i++)
		if ((unsigned char)name[i] < ' ' || name[i] == 0x7f || name[i] == '/')
			return false;
	return len > 0 && len <= ENTRY_NAME_MAX && strchr(".,:", name[0]) == NULL;
}

static void check_same(const struct entry *a, const struct entry *b)
{
	assert(a->unique_len == b->unique_len && memcmp(a->name, b->name, a->unique_len) == 0);
	assert(a->attempts == b->attempts && a->priority == b->priority);
	assert(a->not_before == b->not_before && a->expires == b->expires);
	assert(a->offset == b->offset && a->notify == b->notify && a->warned == b->warned);
	assert(a->claim_len == b->claim_len && (a->claim == NULL) == (b->claim == NULL));
	assert(a->claim == NULL || memcmp(a->claim, b->claim, a->claim_len) == 0);
	assert(strcmp(a->status, b->status) == 0);
	assert((a->flags == NULL) == (b->flags == NULL));
	assert(a->flags == NULL || strcmp(a->flags, b->flags) == 0);
}

/* The length of the field that ends at the next comma, colon or NUL. */
static size_t field_len(const char *field)
{
	size_t len = 0;

	while (field[len] != ',' && field[len] != ':' && field[len] != '\0')
		len++;
	return len;
}

/* How often a field stands in NAME. */
static size_t count_field(const char *name, const char *field)
{
	const size_t len = field_len(field);
	size_t count = 0;

	for (name += field_len(name); *name == ','; name += field_len(name)) {
		name++;
		count += field_len(name) == len && memcmp(name, field, len) == 0;
	}
	return count;
}

static bool is_ours(const char *field)
{
	return *field != '\0' && strchr("ACDENOPTX", *field) != NULL && field[1] == '=';
}

/* What AFTER is made of: each field of BEFORE that is not ours is kept, and keys are in order. */
static void check_fields(const char *before, const char *after)
{
	const char *last = "";

	for (const char *at = before + field_len(before); *at == ','; at += field_len(at)) {
		at++;
		if (!is_ours(at))
			assert(count_field(before, at) == count_field(after, at));
	}
	for (const char *at = after + field_len(after); *at == ','; at += field_len(at)) {
		const size_t key = strcspn(++at, "=,:");
		const size_t last_key = strcspn(last, "=,:");
		const int order = memcmp(last, at, key < last_key ? key : last_key);

		assert(order < 0 || (order == 0 && last_key <= key));
		last = at;
	}
}

/* Writes ENTRY to a block of just SIZE bytes; the copy of it is the caller's, NULL for -1. */
static char *format(const struct entry *entry, size_t size)
{
	char *buf = malloc(size);
	const int len = entry_format(entry, buf, size);

	assert(buf != NULL && (len == -1 || (size_t)len < size));
	if (len == -1) {
		free(buf);
		return NULL;
	}
	assert(len <= ENTRY_NAME_MAX && strlen(buf) == (size_t)len);
	return buf;
}

/* What a name says, it says again when it is written anew; nothing gets longer. */
static void check_round_trip(const struct entry *entry)
{
	char *again = format(entry, ENTRY_NAME_MAX + 1);
	char *third;
	struct entry parsed;

	assert(again != NULL && strlen(again) <= strlen(entry->name));
	assert(entry_parse(again, &parsed));
	check_same(entry, &parsed);
	check_fields(entry->name, again);
	third = format(&parsed, strlen(again) + 1);
	assert(third != NULL && strcmp(again, third) == 0);
	assert(format(&parsed, strlen(again)) == NULL);
	free(third);
	free(again);
}

/* Every change of state takes effect, whatever stood in the name before. */
static void check_change(const struct entry *entry, const char *claim, const char *status)
{
	struct entry changed = *entry;
	struct entry parsed;
	char *name;

	changed.attempts++;
	changed.claim = claim;
	changed.claim_len = strlen(claim);
	changed.not_before = INT64_C(1763795000);
	changed.expires = INT64_MAX;
	changed.offset = 4711;
	changed.notify = INT64_C(1763795001);
	changed.warned = INT64_C(1763795002);
	changed.priority = 1;
	changed.flags = "S";
	(void)strcpy(changed.status, status);
	name = format(&changed, ENTRY_NAME_MAX + 1);
	if (name != NULL && changed.attempts <= ENTRY_ATTEMPTS_MAX) {
		assert(entry_parse(name, &parsed));
		check_same(&changed, &parsed);
		check_fields(entry->name, name);
	}
	free(name);
}

static int sign(int order)
{
	return (order > 0) - (order < 0);
}

static void check_pair(const char *a_name, const char *b_name)
{
	struct entry a, b;

	if (!entry_parse(a_name, &a) || !entry_parse(b_name, &b))
		return;
	assert(entry_compare(&a, &a) == 0);
	assert(sign(entry_compare(&a, &b)) == -sign(entry_compare(&b, &a)));
}

static void check_name(const char *name)
{
	struct entry entry;
	uint64_t offset;
	long pid = 0;

	assert(entry_parse(name, &entry) == is_name(name));
	(void)dump_name_parse(name, &offset);
	if (!is_name(name))
		return;
	assert(entry.unique_len == field_len(name) && entry.priority <= 9);
	assert(entry.attempts <= ENTRY_ATTEMPTS_MAX && entry.not_before >= 0 && entry.expires >= 0);
	assert(entry.notify >= 0 && entry.warned >= 0);
	assert(entry.offset >= 0);
	assert(entry_birth(&entry) >= -1);
	assert(!entry_claimed_by_host(&entry, "web1", &pid) || pid > 0);
	check_round_trip(&entry);
	check_change(&entry, "web1-4242", "4.4.2");
	check_change(&entry, "h-1", "");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz fuzz = fuzz_start(data, size);
	char *last = fuzz_line(&fuzz);

	check_name(last);
	while (fuzz.left > 0) {
		char *name = fuzz_line(&fuzz);

		check_name(name);
		check_pair(last, name);
		free(last);
		last = name;
	}
	free(last);
	return 0;
}
