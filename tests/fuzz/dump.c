/* dump: a file of stock Django, in any pieces and from any record on. */
#include <strings.h>

#include "dump.h"
#include "fuzz.h"

#define RECORDS_MAX 64

struct records {
	struct dump_record record[RECORDS_MAX];
	size_t count;
	bool between;
};

static void add(struct records *records, const struct dump_record *record)
{
	if (records->count < RECORDS_MAX)
		records->record[records->count++] = *record;
}

/* Reads the file from offset FROM on, in pieces when FUZZ is there to choose them. */
static void read_dump(
    const char *text, size_t len, size_t from, struct fuzz *fuzz, struct records *records)
{
	struct dump *dump = malloc(sizeof *dump);
	struct dump_record record;

	assert(dump != NULL);
	records->count = 0;
	dump_init(dump, from);
	while (from < len) {
		const size_t piece = fuzz != NULL ? fuzz_piece(fuzz, len - from) : len - from;
		const char *at = text + from;

		while (dump_next(dump, &at, text + from + piece, &record)) {
			assert(at <= text + from + piece);
			add(records, &record);
		}
		assert(at == text + from + piece);
		from += piece;
	}
	assert(dump->offset == len || records->count == RECORDS_MAX);
	if (dump_last(dump, &record))
		add(records, &record);
	records->between = dump_between(dump);
	free(dump);
}

static void check_same(const struct records *a, const struct records *b, size_t skip)
{
	assert(a->count >= skip && a->between == b->between);
	for (size_t i = skip; i < a->count && i - skip < b->count; i++) {
		const struct dump_record *x = &a->record[i];
		const struct dump_record *y = &b->record[i - skip];

		assert(x->start == y->start && x->end == y->end && x->next == y->next);
		assert(x->doubt == y->doubt);
	}
	assert(b->count == a->count - skip || b->count == RECORDS_MAX || a->count == RECORDS_MAX);
}

/* Records follow one another; each ends with its rule, and what is in no doubt is a message. */
static void check_records(const char *text, size_t len, const struct records *records)
{
	uint64_t last = 0;

	for (size_t i = 0; i < records->count; i++) {
		const struct dump_record *record = &records->record[i];

		assert(last <= record->start && record->start <= record->end);
		assert(record->end < record->next && record->next <= len);
		assert(record->next - record->end >= DUMP_RULE + 2);
		assert(text[record->end] == '\n' && text[record->end + 1] == '-');
		assert(text[record->next - 1] == '\n');
		assert(dump_doubt_text(record->doubt)[0] != '\0');
		if (record->doubt == DUMP_CLEAR)
			assert(strncasecmp(text + record->start, "X-Maildrain-", 12) != 0);
		last = record->next;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz fuzz = fuzz_start(data, size);
	struct records whole, pieces, rest;

	fuzz_seed(&fuzz);
	read_dump(fuzz.at, fuzz.left, 0, NULL, &whole);
	read_dump(fuzz.at, fuzz.left, 0, &fuzz, &pieces);
	check_same(&whole, &pieces, 0);
	check_records(fuzz.at, fuzz.left, &whole);
	for (size_t i = 0; i < whole.count && i < 4; i++) {
		read_dump(fuzz.at, fuzz.left, whole.record[i].next, &fuzz, &rest);
		check_same(&whole, &rest, i + 1);
	}
	return 0;
}
