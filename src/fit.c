#include "fit.h"

#include <string.h>
#include <wchar.h>

#include "utf8.h"

static const char MARK[] = "…";

/* The columns that the character TEXT[0..LEN) takes. */
static size_t width_of(const char *text, size_t len)
{
	mbstate_t state = {0};
	wchar_t wide;
	int width;

	if (len == 1 || mbrtowc(&wide, text, len, &state) != len)
		return 1;
	width = wcwidth(wide);
	return width < 0 ? 1 : (size_t)width;
}

/* Adds one character, or what stands for it. */
static void put_one(struct fit *fit, const char *text, size_t len, size_t width)
{
	if (fit->columns == 0) {
		(void)fwrite(text, 1, len, fit->out);
		fit->used += width;
		return;
	}
	if (fit->over || fit->used + width > fit->columns || fit->len + len > sizeof fit->text) {
		fit->over = true;
		return;
	}
	memcpy(fit->text + fit->len, text, len);
	fit->len += len;
	fit->used += width;
	if (fit->used < fit->columns)
		fit->cut = fit->len;
}

void fit_begin(struct fit *fit, FILE *out, size_t columns)
{
	fit->out = out;
	fit->columns = columns;
	fit->used = fit->len = fit->cut = 0;
	fit->over = false;
}

void fit_put(struct fit *fit, const char *text, size_t len)
{
	while (len > 0) {
		const size_t shown = utf8_printable_len(text, len);
		const size_t step = shown > 0 ? shown : 1;

		if (shown > 0)
			put_one(fit, text, shown, width_of(text, shown));
		else
			put_one(fit, "?", 1, 1);
		text += step;
		len -= step;
	}
}

void fit_pad(struct fit *fit, size_t column)
{
	do
		put_one(fit, " ", 1, 1);
	while (fit->used < column && !fit->over);
}

void fit_code(struct fit *fit, const char *code)
{
	put_one(fit, code, strlen(code), 0);
}

void fit_end(struct fit *fit)
{
	(void)fwrite(fit->text, 1, fit->over ? fit->cut : fit->len, fit->out);
	(void)fprintf(fit->out, "%s\n", fit->over ? MARK : "");
}
