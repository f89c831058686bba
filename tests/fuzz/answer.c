/* answer: whatever an API says makes words that can be shown and a status that can be recorded. */
#include "fuzz.h"

#include "entry.h"
#include "http_answer.h"
#include "utf8.h"

static void check_words(const char *text)
{
	size_t len = strlen(text);

	while (len > 0) {
		const size_t step = utf8_printable_len(text, len);

		assert(step > 0);
		text += step;
		len -= step;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz fuzz = fuzz_start(data, size);
	const long code = 200 + fuzz_byte(&fuzz) * 400 / 256;
	struct http_answer answer = {.code = code, .error = "", .id = "", .location = ""};
	struct http_result result;

	answer.body = fuzz.at;
	answer.len = fuzz.left;
	answer.json = json_loadb(answer.body, answer.len, JSON_ALLOW_NUL, NULL);
	http_result_begin(&result, &answer);
	http_result_end(&result, &answer);
	assert(strlen(result.text) < sizeof result.text && result.text[0] == '0' + code / 100);
	assert(entry_is_status(result.status, strlen(result.status)));
	check_words(result.text);
	http_result_cut(&result);
	assert(strlen(result.text) < REPLY_TEXT_MAX);
	check_words(result.text);
	json_decref(answer.json);
	return 0;
}
