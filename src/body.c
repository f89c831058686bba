#include <string.h>

#include "body.h"

/*
 * Where the next CR and the next LF stand. Each is looked for only when passed, so that every
 * byte is seen at most once for either, whatever the mix of line ends.
 */
struct scan {
	const char *at;
	const char *end;
	const char *cr;
	const char *lf;
};

static const char *find(const char *from, const char *end, char c)
{
	const char *found = from < end ? memchr(from, c, (size_t)(end - from)) : NULL;

	return found ? found : end;
}

/* Begins at IN, behind an LF whose CR was the last byte before. */
static void scan_init(struct scan *scan, struct body *body, const char *in, size_t len)
{
	scan->at = in;
	scan->end = in + len;
	if (body->after_cr && *in == '\n')
		scan->at++;
	body->after_cr = false;
	scan->cr = find(scan->at, scan->end, '\r');
	scan->lf = find(scan->at, scan->end, '\n');
}

/* Passes the text up to the next line end and that end; returns the text's length. */
static size_t scan_line(struct scan *scan, struct body *body)
{
	const char *stop = scan->cr < scan->lf ? scan->cr : scan->lf;
	size_t len = (size_t)(stop - scan->at);

	body->mid_line = stop == scan->end;
	scan->at = stop;
	if (body->mid_line)
		return len;
	scan->at++;
	if (*stop == '\r') {
		body->after_cr = scan->at == scan->end;
		if (scan->lf == scan->at)
			scan->at += !body->after_cr;
		scan->cr = find(scan->at, scan->end, '\r');
	}
	if (scan->lf < scan->at)
		scan->lf = find(scan->at, scan->end, '\n');
	return len;
}

size_t body_encode(struct body *body, const char *in, size_t len, char *out)
{
	char *to = out;
	size_t dots = 0;
	struct scan scan;

	if (len == 0)
		return 0;
	scan_init(&scan, body, in, len);
	while (scan.at < scan.end) {
		const char *text = scan.at;
		bool dot = !body->counted && !body->mid_line && *text == '.';
		size_t text_len = scan_line(&scan, body);

		if (dot)
			*to++ = '.';
		dots += dot;
		memcpy(to, text, text_len);
		to += text_len;
		if (!body->mid_line) {
			*to++ = '\r';
			*to++ = '\n';
		}
	}
	body->wire += (size_t)(to - out) - dots;
	return (size_t)(to - out);
}

size_t body_finish(struct body *body, char *out)
{
	if (!body->mid_line)
		return 0;
	body->mid_line = false;
	body->wire += 2;
	out[0] = '\r';
	out[1] = '\n';
	return 2;
}

size_t body_decode(char *wire, size_t len)
{
	const char *in = wire;
	char *to = wire;

	while (in < wire + len) {
		const char *stop = find(in, wire + len, '\r');

		memmove(to, in, (size_t)(stop - in));
		to += stop - in;
		in = stop + 1;
	}
	return (size_t)(to - wire);
}

/* Whether a byte is over 127; by words, as most mail has none and all of it is looked at. */
static bool has_8bit(const char *in, size_t len)
{
	uint64_t word[4];
	uint64_t bits = 0;

	for (; len >= sizeof word; len -= sizeof word, in += sizeof word) {
		memcpy(word, in, sizeof word);
		bits |= word[0] | word[1] | word[2] | word[3];
	}
	for (; len > 0; len--)
		bits |= (unsigned char)*in++;
	return (bits & UINT64_C(0x8080808080808080)) != 0;
}

void body_measure(struct body *body, const char *in, size_t len, struct body_size *size)
{
	struct scan scan;

	if (len == 0)
		return;
	if (!size->has_8bit)
		size->has_8bit = has_8bit(in, len);
	scan_init(&scan, body, in, len);
	while (scan.at < scan.end) {
		size->wire += scan_line(&scan, body);
		if (!body->mid_line)
			size->wire += 2;
	}
}

void body_measure_end(struct body *body, struct body_size *size)
{
	char end[2];

	size->wire += body_finish(body, end);
}
