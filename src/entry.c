#include "entry.h"

#include <string.h>

#include "decimal.h"

#define FIELDS_MAX ENTRY_NAME_MAX /* each takes its comma */
#define PID_LIMIT  INT32_MAX

/* In the order in which they stand in a name. */
enum key { KEY_A, KEY_C, KEY_D, KEY_E, KEY_N, KEY_O, KEY_P, KEY_T, KEY_X, KEYS, KEY_NONE = KEYS };

/* One "KEY=VALUE", or whatever stands between two commas. */
struct field {
	const char *text;
	size_t len;
	size_t key_len;
};

/* The fields that a new name will have: those of the struct, and the kept ones of the old name. */
struct fields {
	struct field field[FIELDS_MAX + KEYS];
	size_t count;
	char own[ENTRY_NAME_MAX + 1];
	size_t own_len;
	bool too_long;
};

struct output {
	char *buf;
	size_t len;
	size_t size;
	bool full;
};

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* Whether C ends UNIQUE or may not stand in a name; one test per byte, as a scan is made of it. */
static bool is_special(unsigned char c)
{
	const uint64_t specials = UINT64_C(0xffffffff) | 1ULL << ',' | 1ULL << '/' | 1ULL << ':';

	return c < 64 ? specials >> c & 1 : c == 0x7f;
}

/* Plain digits that make at most LIMIT. */
static bool number_parse(const char *text, size_t len, int64_t limit, int64_t *value)
{
	int64_t sum = 0;

	if (len == 0)
		return false;
	for (size_t i = 0; i < len; i++) {
		int digit = text[i] - '0';

		if (digit < 0 || digit > 9 || sum > (limit - digit) / 10)
			return false;
		sum = sum * 10 + digit;
	}
	*value = sum;
	return true;
}

/* HOST "-" PID, where HOST may have dashes itself; returns HOST's length, 0 when it is none. */
static size_t claim_parse(const char *text, size_t len, long *pid)
{
	const char *dash = memrchr(text, '-', len);
	size_t host_len = dash ? (size_t)(dash - text) : 0;
	int64_t number;

	if (host_len == 0 || !number_parse(dash + 1, len - host_len - 1, PID_LIMIT, &number) ||
	    number == 0)
		return 0;
	*pid = (long)number;
	return host_len;
}

/* One to three digits. */
static size_t status_part(const char *text, size_t len)
{
	size_t i = 0;

	while (i < len && i < 3 && is_digit(text[i]))
		i++;
	return i;
}

bool entry_is_status(const char *text, size_t len)
{
	size_t subject, detail;

	if (len < 5 || strchr("245", text[0]) == NULL || text[1] != '.')
		return false;
	subject = status_part(text + 2, len - 2);
	if (subject == 0 || 2 + subject >= len || text[2 + subject] != '.')
		return false;
	detail = status_part(text + subject + 3, len - subject - 3);
	return detail > 0 && subject + 3 + detail == len;
}

/* Takes the field behind the comma at AT; returns what ends it, or NULL when there is none. */
static const char *field_next(const char *at, struct field *field)
{
	const char *p;

	if (*at != ',')
		return NULL;
	field->text = ++at;
	for (p = at; *p != '\0' && *p != ',' && *p != ':' && *p != '='; p++)
		;
	field->key_len = (size_t)(p - at);
	while (*p != '\0' && *p != ',' && *p != ':')
		p++;
	field->len = (size_t)(p - at);
	return p;
}

static enum key field_key(const struct field *field)
{
	if (field->key_len != 1 || field->len == 1)
		return KEY_NONE;
	switch (field->text[0]) {
	case 'A':
		return KEY_A;
	case 'C':
		return KEY_C;
	case 'D':
		return KEY_D;
	case 'E':
		return KEY_E;
	case 'N':
		return KEY_N;
	case 'O':
		return KEY_O;
	case 'P':
		return KEY_P;
	case 'T':
		return KEY_T;
	case 'X':
		return KEY_X;
	default:
		return KEY_NONE;
	}
}

static bool read_claim(struct entry *entry, const char *value, size_t len)
{
	long pid;

	if (claim_parse(value, len, &pid) == 0)
		return false;
	entry->claim = value;
	entry->claim_len = len;
	return true;
}

static bool read_status(struct entry *entry, const char *value, size_t len)
{
	if (!entry_is_status(value, len))
		return false;
	memcpy(entry->status, value, len);
	entry->status[len] = '\0';
	return true;
}

static bool read_unsigned(unsigned *to, const char *value, size_t len, int64_t limit)
{
	int64_t number;

	if (!number_parse(value, len, limit, &number))
		return false;
	*to = (unsigned)number;
	return true;
}

/* Puts FIELD's value into ENTRY; returns its key, KEY_NONE when the field means nothing. */
static enum key field_read(const struct field *field, struct entry *entry)
{
	enum key key = field_key(field);
	const char *value = key == KEY_NONE ? NULL : field->text + 2;
	size_t len = key == KEY_NONE ? 0 : field->len - 2;
	bool parsed = false;

	switch (key) {
	case KEY_A:
		parsed = read_unsigned(&entry->attempts, value, len, ENTRY_ATTEMPTS_MAX);
		break;
	case KEY_C:
		parsed = read_claim(entry, value, len);
		break;
	case KEY_D:
		parsed = number_parse(value, len, INT64_MAX, &entry->warned);
		break;
	case KEY_E:
		parsed = read_status(entry, value, len);
		break;
	case KEY_N:
		parsed = number_parse(value, len, INT64_MAX, &entry->notify);
		break;
	case KEY_O:
		parsed = number_parse(value, len, INT64_MAX, &entry->offset);
		break;
	case KEY_P:
		parsed = read_unsigned(&entry->priority, value, len, 9);
		break;
	case KEY_T:
		parsed = number_parse(value, len, INT64_MAX, &entry->not_before);
		break;
	case KEY_X:
		parsed = number_parse(value, len, INT64_MAX, &entry->expires);
		break;
	case KEY_NONE:
		break;
	}
	return parsed ? key : KEY_NONE;
}

/* Sets the field of KEY to its "absent" value. */
static void field_clear(struct entry *entry, enum key key)
{
	switch (key) {
	case KEY_A:
		entry->attempts = 0;
		break;
	case KEY_C:
		entry->claim = NULL;
		entry->claim_len = 0;
		break;
	case KEY_D:
		entry->warned = 0;
		break;
	case KEY_E:
		entry->status[0] = '\0';
		break;
	case KEY_N:
		entry->notify = 0;
		break;
	case KEY_O:
		entry->offset = 0;
		break;
	case KEY_P:
		entry->priority = ENTRY_PRIORITY_DEFAULT;
		break;
	case KEY_T:
		entry->not_before = 0;
		break;
	case KEY_X:
		entry->expires = 0;
		break;
	case KEY_NONE:
		break;
	}
}

/* Reads all fields from AT on, counts the values that parse in SEEN; returns where they end. */
static const char *fields_read(const char *at, struct entry *entry, unsigned seen[KEYS])
{
	struct field field;
	const char *next;

	while ((next = field_next(at, &field)) != NULL) {
		enum key key = field_read(&field, entry);

		if (key != KEY_NONE && seen[key]++ > 0)
			field_clear(entry, key);
		at = next;
	}
	return at;
}

/* Finds the length of UNIQUE; 0 when NAME is no name of ours. */
static size_t unique_parse(const char *name)
{
	size_t len = 0;
	size_t unique_len;

	while (!is_special((unsigned char)name[len]))
		len++;
	unique_len = len;
	while (name[len] == ',' || name[len] == ':' || !is_special((unsigned char)name[len]))
		len++;
	return name[len] != '\0' || len > ENTRY_NAME_MAX || name[0] == '.' ? 0 : unique_len;
}

bool entry_parse(const char *name, struct entry *entry)
{
	unsigned seen[KEYS] = {0};
	const char *info;

	*entry = (struct entry){.name = name, .priority = ENTRY_PRIORITY_DEFAULT};
	entry->unique_len = unique_parse(name);
	if (entry->unique_len == 0)
		return false;
	info = fields_read(name + entry->unique_len, entry, seen);
	if (strncmp(info, ":2,", 3) == 0)
		entry->flags = info + 3;
	return true;
}

static void fields_add(struct fields *fields, const struct field *field)
{
	fields->field[fields->count++] = *field;
}

/* Adds the field KEY=VALUE, whose text is put into FIELDS itself. */
static void fields_own(struct fields *fields, char key, const char *value, size_t len)
{
	struct field field = {fields->own + fields->own_len, len + 2, 1};

	if (len + 2 > sizeof fields->own - fields->own_len) {
		fields->too_long = true;
		return;
	}
	fields->own[fields->own_len++] = key;
	fields->own[fields->own_len++] = '=';
	memcpy(fields->own + fields->own_len, value, len);
	fields->own_len += len;
	fields_add(fields, &field);
}

static void fields_own_number(struct fields *fields, char key, int64_t number)
{
	char digits[DECIMAL_MAX];

	fields_own(fields, key, digits, decimal_write((uint64_t)number, 1, digits));
}

/* Adds the field of KEY unless it is absent; returns whether it was added. */
static bool fields_own_key(struct fields *fields, const struct entry *entry, enum key key)
{
	size_t before = fields->count;

	if (key == KEY_A && entry->attempts > 0)
		fields_own_number(fields, 'A', entry->attempts);
	else if (key == KEY_C && entry->claim)
		fields_own(fields, 'C', entry->claim, entry->claim_len);
	else if (key == KEY_D && entry->warned != 0)
		fields_own_number(fields, 'D', entry->warned);
	else if (key == KEY_E && entry->status[0] != '\0')
		fields_own(fields, 'E', entry->status, strlen(entry->status));
	else if (key == KEY_N && entry->notify != 0)
		fields_own_number(fields, 'N', entry->notify);
	else if (key == KEY_O && entry->offset != 0)
		fields_own_number(fields, 'O', entry->offset);
	else if (key == KEY_P && entry->priority != ENTRY_PRIORITY_DEFAULT)
		fields_own_number(fields, 'P', entry->priority);
	else if (key == KEY_T && entry->not_before != 0)
		fields_own_number(fields, 'T', entry->not_before);
	else if (key == KEY_X && entry->expires != 0)
		fields_own_number(fields, 'X', entry->expires);
	return fields->count > before;
}

/*
 * Adds the struct's fields, then those of the old name that mean nothing. Of several values for
 * one key none counts; once that key gets a value they go, or the new one would not count either.
 * Returns the old info part.
 */
static const char *fields_collect(struct fields *fields, const struct entry *entry)
{
	const char *at = entry->name + entry->unique_len;
	unsigned seen[KEYS] = {0};
	bool drop[KEYS];
	struct entry old;
	struct field field;
	const char *next;

	fields_read(at, &old, seen);
	for (int key = 0; key < KEYS; key++)
		drop[key] = fields_own_key(fields, entry, (enum key)key) || seen[key] == 1;
	while ((next = field_next(at, &field)) != NULL) {
		enum key key = field_read(&field, &old);

		if (key == KEY_NONE || !drop[key])
			fields_add(fields, &field);
		at = next;
	}
	return at;
}

/* Whether the key of B stands before that of A. */
static bool field_is_after(const struct field *a, const struct field *b)
{
	size_t shorter = a->key_len < b->key_len ? a->key_len : b->key_len;
	int order = memcmp(a->text, b->text, shorter);

	return order > 0 || (order == 0 && a->key_len > b->key_len);
}

/* By insertion: the few fields are nearly in order, and equal keys must keep theirs. */
static void fields_sort(struct fields *fields)
{
	for (size_t i = 1; i < fields->count; i++) {
		struct field field = fields->field[i];
		size_t j = i;

		for (; j > 0 && field_is_after(&fields->field[j - 1], &field); j--)
			fields->field[j] = fields->field[j - 1];
		fields->field[j] = field;
	}
}

static void output_add(struct output *output, const char *text, size_t len)
{
	if (output->full || len >= output->size - output->len) {
		output->full = true;
		return;
	}
	memcpy(output->buf + output->len, text, len);
	output->len += len;
	output->buf[output->len] = '\0';
}

static void output_info(struct output *output, const struct entry *entry, const char *old)
{
	if (entry->flags) {
		output_add(output, ":2,", 3);
		output_add(output, entry->flags, strlen(entry->flags));
	} else if (strncmp(old, ":2,", 3) != 0) {
		output_add(output, old, strlen(old));
	}
}

int entry_format(const struct entry *entry, char *buf, size_t size)
{
	struct output output = {buf, 0, size > ENTRY_NAME_MAX ? ENTRY_NAME_MAX + 1 : size, false};
	struct fields fields;
	const char *info;

	fields.count = fields.own_len = 0;
	fields.too_long = false;
	info = fields_collect(&fields, entry);
	fields_sort(&fields);
	output_add(&output, entry->name, entry->unique_len);
	for (size_t i = 0; i < fields.count; i++) {
		output_add(&output, ",", 1);
		output_add(&output, fields.field[i].text, fields.field[i].len);
	}
	output_info(&output, entry, info);
	return output.full || fields.too_long ? -1 : (int)output.len;
}

int entry_compare(const struct entry *a, const struct entry *b)
{
	size_t shorter = a->unique_len < b->unique_len ? a->unique_len : b->unique_len;
	int order;

	if (a->priority != b->priority)
		return a->priority < b->priority ? -1 : 1;
	if ((a->attempts == 0) != (b->attempts == 0))
		return a->attempts == 0 ? -1 : 1;
	order = memcmp(a->name, b->name, shorter);
	if (order != 0)
		return order;
	return (a->unique_len > b->unique_len) - (a->unique_len < b->unique_len);
}

/* Steps over MARK and the digits behind it; NULL when they are not there. */
static const char *skip_number(const char *at, const char *mark)
{
	size_t len = strlen(mark);

	if (!at || strncmp(at, mark, len) != 0 || !is_digit(at[len]))
		return NULL;
	for (at += len; is_digit(*at); at++)
		;
	return at;
}

int64_t entry_birth(const struct entry *entry)
{
	const char *end = skip_number(entry->name, "");
	const char *host = skip_number(skip_number(skip_number(end, ".M"), "P"), "Q");
	int64_t seconds;

	if (!host || *host != '.' || host + 1 >= entry->name + entry->unique_len ||
	    !number_parse(entry->name, (size_t)(end - entry->name), INT64_MAX, &seconds))
		return -1;
	return seconds;
}

bool entry_claimed_by_host(const struct entry *entry, const char *host, long *pid)
{
	size_t len = entry->claim ? claim_parse(entry->claim, entry->claim_len, pid) : 0;

	return len > 0 && strlen(host) == len && memcmp(entry->claim, host, len) == 0;
}

bool entry_has_class(const struct entry *entry, char class)
{
	return entry->status[0] != '\0' && entry->status[0] == class;
}
