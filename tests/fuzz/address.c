/* address: lists of addresses, and what may stand between "<" and ">". */
#include "address.h"
#include "fuzz.h"
#include "utf8.h"

struct seen {
	size_t count;
	size_t stop_at; /* a value other than 0 is returned for this one */
	size_t len;	/* of the last one */
	char last[4096];
};

/* The rules of the header file, one after another. */
static bool has_good_bytes(const char *addr, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if ((unsigned char)addr[i] <= ' ' || strchr("<>\x7f", addr[i]) != NULL)
			return false;
	for (size_t i = 0; i < len;) {
		const size_t n = utf8_len(addr + i, len - i);

		if (n == 0)
			return false;
		i += n;
	}
	return len > 0 && len <= ADDRESS_MAX;
}

/* Whether none of what would have to stand in quotes is among ADDR[0..LEN), which has none. */
static bool is_bare(const char *addr, size_t len, const char *special)
{
	for (size_t i = 0; i < len; i++)
		if (strchr(special, addr[i]) != NULL)
			return false;
	return true;
}

/* Without quotes: one "@" that has something on both sides. In a domain a literal may stand. */
static bool is_good(const char *addr, size_t len)
{
	const char *at = len > 0 ? memchr(addr, '@', len) : NULL;

	return has_good_bytes(addr, len) && at != NULL && at != addr && at != addr + len - 1 &&
	       memrchr(addr, '@', len) == at && is_bare(addr, (size_t)(at - addr), "(),:;[\\]") &&
	       is_bare(at, len - (size_t)(at - addr), "(),;\\");
}

static void check_fault(const char *addr, size_t len)
{
	const bool good = address_fault(addr, len) == NULL;

	if (len == 0 || memchr(addr, '"', len) == NULL)
		assert(good == is_good(addr, len));
	else
		assert(!good || (has_good_bytes(addr, len) && memchr(addr, '@', len) != NULL));
}

static int note(void *context, const char *addr, size_t len)
{
	struct seen *seen = context;
	char *copy = malloc(len + 1); /* of just its size, for address_fault */

	assert(copy != NULL && len < sizeof seen->last);
	memcpy(copy, addr, len);
	memcpy(seen->last, addr, len);
	seen->len = len;
	check_fault(copy, len);
	free(copy);
	return ++seen->count == seen->stop_at ? 7 : 0;
}

/* Whether a "]" or "\\" that was quoted may stand in the domain literal of the last address. */
static bool is_odd_literal(const struct seen *seen, const char *text, size_t len)
{
	return seen->last[seen->len - 1] == ']' && memchr(text, '\\', len) != NULL;
}

/* An address that may be used is read as itself, alone or in "<>". */
static void check_again(const struct seen *seen, bool angle)
{
	struct seen again = {.count = 0};
	const size_t len = seen->len + (angle ? 2 : 0);
	const char *fault;
	char *text = malloc(len + 1);

	assert(text != NULL);
	memcpy(text + angle, seen->last, seen->len);
	if (angle) {
		text[0] = '<';
		text[len - 1] = '>';
	}
	assert(address_list(text, len, note, &again, &fault) == 0 && again.count == 1);
	assert(again.len == seen->len && memcmp(again.last, seen->last, seen->len) == 0);
	free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz fuzz = fuzz_start(data, size);
	struct seen all = {.count = 0};
	struct seen some = {.stop_at = 1 + fuzz_byte(&fuzz) % 4};
	const char *fault = NULL;
	const int result = address_list(fuzz.at, fuzz.left, note, &all, &fault);

	assert(result == 0 || (result == -1 && fault != NULL && *fault != '\0'));
	if (result == 0 && all.count > 0 && address_fault(all.last, all.len) == NULL &&
	    !is_odd_literal(&all, fuzz.at, fuzz.left)) {
		check_again(&all, false);
		check_again(&all, true);
	}
	if (all.count >= some.stop_at) {
		assert(address_list(fuzz.at, fuzz.left, note, &some, &fault) == 7);
		assert(some.count == some.stop_at);
	}
	check_fault(fuzz.at, fuzz.left);
	return 0;
}
