/* token: what a program prints that is asked for a token. */
#include "fuzz.h"
#include "token.h"

#define NOW INT64_C(1763790000)

static bool is_word(const char *text)
{
	for (; *text != '\0'; text++)
		if ((unsigned char)*text <= ' ' || (unsigned char)*text >= 0x7f)
			return false;
	return true;
}

/* Whether the bytes of WORD stand in DATA, so that none is made up; JSON may spell them otherwise.
 */
static bool is_within(const uint8_t *data, size_t size, const char *word)
{
	return memchr(data, '\\', size) != NULL || memmem(data, size, word, strlen(word)) != NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct token token;
	const char *fault = token_read((const char *)data, size, NOW, &token);

	assert((fault == NULL) == (token.text != NULL));
	if (fault == NULL) {
		const size_t len = strlen(token.text);

		assert(len > 0 && len <= TOKEN_MAX && is_word(token.text));
		assert(is_within(data, size, token.text));
		assert(token.expires == 0 || token.expires > NOW);
	} else
		assert(token.expires == 0);
	token_clear(&token);
	assert(token.text == NULL);
	return 0;
}
