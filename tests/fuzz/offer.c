/* offer: the lines of a reply to EHLO. */
#include <ctype.h>

#include "fuzz.h"
#include "smtp.h"

/* WORD alone, or with a space behind it. */
static bool starts(const char *text, const char *word)
{
	for (; *word != '\0'; text++, word++)
		if (toupper((unsigned char)*text) != *word)
			return false;
	return *text == '\0' || *text == ' ';
}

static void expect(struct smtp_offer *offer, const char *line)
{
	char *text = fuzz_string(line, strlen(line));
	size_t len = strlen(text);

	while (len > 0 && strchr("\r ", text[len - 1]) != NULL)
		text[--len] = '\0';
	if (len >= 4 && strncmp(text, "250", 3) == 0) {
		offer->pipelining |= starts(text + 4, "PIPELINING");
		offer->eightbit |= starts(text + 4, "8BITMIME");
		offer->smtputf8 |= starts(text + 4, "SMTPUTF8");
		offer->size |= starts(text + 4, "SIZE");
	}
	free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz fuzz = fuzz_start(data, size);
	struct smtp_offer offer = {.pipelining = false};
	struct smtp_offer expected = {.pipelining = false};

	while (fuzz.left > 0) {
		const char *at = fuzz.at;
		char *line = fuzz_line(&fuzz);

		/* From the block itself: the end of a line may be the end of all. */
		smtp_offer_line(&offer, at, strlen(line));
		expect(&expected, line);
		free(line);
	}
	assert(offer.pipelining == expected.pipelining && offer.eightbit == expected.eightbit);
	assert(offer.smtputf8 == expected.smtputf8 && offer.size == expected.size);
	assert(offer.size || offer.size_max == 0);
	return 0;
}
