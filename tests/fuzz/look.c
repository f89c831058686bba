/* What shows a message: in whatever pieces its bytes come, the same, and nothing that is obeyed. */
#include <jansson.h>
#include <stdio.h>

#include "export.h"
#include "fit.h"
#include "fuzz.h"
#include "plain.h"
#include "utf8.h"

struct paper {
	FILE *out;
	char *text;
	size_t size;
};

static void paper_open(struct paper *paper)
{
	paper->out = open_memstream(&paper->text, &paper->size);
	assert(paper->out != NULL);
}

/* How many bytes of the piece TEXT[0..LEN) are used. */
typedef size_t put_piece(FILE *out, const char *text, size_t len, bool last);

static size_t put_lines(FILE *out, const char *text, size_t len, bool last)
{
	return plain_lines(out, text, len, last);
}

static size_t put_json(FILE *out, const char *text, size_t len, bool last)
{
	struct error err;
	size_t used;

	assert(export_body(out, text, len, last, &used, &err) == 0);
	return used;
}

static void in_pieces(
    struct paper *paper, put_piece *put, const char *text, size_t len, size_t step)
{
	size_t at = 0;

	for (size_t end = 0; at < len; end += step) {
		const size_t to = end < len ? end : len;

		if (to > at)
			at += put(paper->out, text + at, to - at, to == len);
		assert(at <= to && to - at < UTF8_MAX);
	}
}

static void is_harmless(const char *text, size_t len)
{
	for (size_t i = 0; i < len;) {
		const size_t n = utf8_printable_len(text + i, len - i);

		assert(n > 0 || text[i] == '\n' || text[i] == '\t');
		i += n > 0 ? n : 1;
	}
}

static void check_lines(const char *text, size_t len, size_t step)
{
	struct paper whole, pieces;

	paper_open(&whole);
	paper_open(&pieces);
	in_pieces(&whole, put_lines, text, len, len);
	in_pieces(&pieces, put_lines, text, len, step);
	(void)fclose(whole.out);
	(void)fclose(pieces.out);
	assert(whole.size == pieces.size && memcmp(whole.text, pieces.text, whole.size) == 0);
	is_harmless(whole.text, whole.size);
	free(whole.text);
	free(pieces.text);
}

/* What jansson reads again is the text, each byte that is no UTF-8 replaced. */
static void check_json(const char *text, size_t len, size_t step)
{
	struct paper paper;
	json_t *string;
	const char *at;

	paper_open(&paper);
	(void)fputc('"', paper.out);
	in_pieces(&paper, put_json, text, len, step);
	(void)fputc('"', paper.out);
	(void)fclose(paper.out);
	string = json_loadb(paper.text, paper.size, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
	assert(string != NULL);
	at = json_string_value(string);
	for (size_t i = 0, n; i<len; i += n> 0 ? n : 1) {
		n = utf8_len(text + i, len - i);
		assert(memcmp(at, n > 0 ? text + i : "\xef\xbf\xbd", n > 0 ? n : 3) == 0);
		at += n > 0 ? n : 3;
	}
	assert(at == json_string_value(string) + json_string_length(string));
	json_decref(string);
	free(paper.text);
}

static void check_fit(const char *text, size_t len, size_t columns)
{
	struct fit fit;
	struct paper paper;

	paper_open(&paper);
	fit_begin(&fit, paper.out, columns);
	fit_put(&fit, text, len);
	fit_end(&fit);
	(void)fclose(paper.out);
	assert(columns == 0 || fit.used <= columns);
	assert(paper.size > 0 && paper.text[paper.size - 1] == '\n');
	is_harmless(paper.text, paper.size - 1);
	free(paper.text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz fuzz = fuzz_start(data, size);
	const size_t step = fuzz_byte(&fuzz) % 32 + 1;

	check_lines(fuzz.at, fuzz.left, step);
	check_json(fuzz.at, fuzz.left, step);
	check_fit(fuzz.at, fuzz.left, step - 1);
	return 0;
}
