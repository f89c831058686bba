/*
 * body: the wire form of a text, against one that is made line by line.
 *
 * The text is encoded in pieces, measured in other pieces, and read from a file as a message is,
 * with buffers of any size; all must give the same octets.
 */
#include <sys/mman.h>
#include <unistd.h>

#include "body.h"
#include "fuzz.h"
#include "message.h"

struct wire {
	char *text;
	size_t len;
	size_t dots;
};

static struct wire wire_new(size_t len)
{
	struct wire wire = {.text = malloc(BODY_GROWTH * len + 4)};

	assert(wire.text != NULL);
	return wire;
}

/* The slow one: cuts a line off, whatever its end is; writes it with a dot before a dot. */
static struct wire encode_slowly(const char *in, size_t len)
{
	struct wire wire = wire_new(len);
	size_t i = 0;

	while (i < len) {
		if (in[i] == '.') {
			wire.text[wire.len++] = '.';
			wire.dots++;
		}
		while (i < len && in[i] != '\r' && in[i] != '\n')
			wire.text[wire.len++] = in[i++];
		wire.text[wire.len++] = '\r';
		wire.text[wire.len++] = '\n';
		if (i < len && in[i] == '\r' && i + 1 < len && in[i + 1] == '\n')
			i++;
		i++;
	}
	return wire;
}

/* Each piece goes into a block of just the size that was promised to suffice. */
static struct wire encode_in_pieces(const char *in, size_t len, struct fuzz *fuzz)
{
	struct wire wire = wire_new(len);
	struct body body = {0};

	while (len > 0) {
		const size_t piece = fuzz_piece(fuzz, len);
		char *out = malloc(BODY_GROWTH * piece);
		const size_t n = body_encode(&body, in, piece, out);

		assert(out != NULL && n <= BODY_GROWTH * piece);
		memcpy(wire.text + wire.len, out, n);
		wire.len += n;
		in += piece;
		len -= piece;
		free(out);
	}
	wire.len += body_finish(&body, wire.text + wire.len);
	return wire;
}

static struct body_size measure_in_pieces(const char *in, size_t len, struct fuzz *fuzz)
{
	struct body body = {0};
	struct body_size size = {0};

	while (len > 0) {
		const size_t piece = fuzz_piece(fuzz, len);

		body_measure(&body, in, piece, &size);
		in += piece;
		len -= piece;
	}
	body_measure_end(&body, &size);
	return size;
}

/* As a transport reads it: a part is in memory, the rest comes from a file. */
static struct wire read_message(
    const char *in, size_t len, const struct body_size *size, struct fuzz *fuzz)
{
	struct wire wire = wire_new(len);
	struct message message;
	const size_t head = fuzz_choose(fuzz, 0, len);
	ssize_t n;

	message_init(&message);
	message.fd = memfd_create("body", MFD_CLOEXEC);
	assert(message.fd != -1 && write(message.fd, in, len) == (ssize_t)len);
	message.buf_room = fuzz_choose(fuzz, head > 0 ? head : 1, len + 1);
	message.buf = malloc(message.buf_room);
	assert(message.buf != NULL);
	memcpy(message.buf, in, head);
	message.buf_len = message.file_pos = head;
	message.file_size = len;
	message.size = *size;
	do {
		const size_t room = fuzz_choose(fuzz, 64, 300);
		char *out = malloc(room);

		n = message_read(&message, out, room);
		assert(n >= 0 && (size_t)n <= room);
		memcpy(wire.text + wire.len, out, (size_t)n);
		wire.len += (size_t)n;
		free(out);
	} while (n > 0);
	message_free(&message);
	return wire;
}

static void check_same(const struct wire *a, struct wire b)
{
	assert(a->len == b.len && memcmp(a->text, b.text, a->len) == 0);
	free(b.text);
}

/* Nothing in it can end the message, or be taken for another kind of line end. */
static void check_safe(const struct wire *wire)
{
	const char *text = wire->text;

	assert(wire->len == 0 || (wire->len >= 2 && text[wire->len - 1] == '\n'));
	for (size_t i = 0; i < wire->len; i++) {
		if (text[i] == '\r')
			assert(i + 1 < wire->len && text[i + 1] == '\n');
		if (text[i] == '\n')
			assert(i > 0 && text[i - 1] == '\r');
		if (text[i] == '.' && (i == 0 || text[i - 1] == '\n'))
			assert(i + 1 < wire->len && text[i + 1] == '.');
	}
}

/* LF for each line end, and one behind the last line. */
static struct wire canonical(const char *in, size_t len)
{
	struct wire plain = wire_new(len);

	for (size_t i = 0; i < len; i++)
		if (in[i] != '\n' || i == 0 || in[i - 1] != '\r')
			plain.text[plain.len++] = in[i] == '\r' ? '\n' : in[i];
	if (plain.len > 0 && plain.text[plain.len - 1] != '\n')
		plain.text[plain.len++] = '\n';
	return plain;
}

/* What a server makes of WIRE: the first of two dots goes, CRLF is a line end. */
static struct wire received(const struct wire *wire)
{
	struct wire plain = wire_new(wire->len);

	for (size_t i = 0; i < wire->len; i++) {
		const bool starts = i == 0 || wire->text[i - 1] == '\n';

		if (wire->text[i] != '\r' && !(starts && wire->text[i] == '.'))
			plain.text[plain.len++] = wire->text[i];
	}
	return plain;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz fuzz = fuzz_start(data, size);
	struct body_size measured;
	struct wire wire, plain;
	bool eight = false;

	fuzz_seed(&fuzz);
	wire = encode_slowly(fuzz.at, fuzz.left);
	for (size_t i = 0; i < fuzz.left; i++)
		eight = eight || (unsigned char)fuzz.at[i] > 127;
	measured = measure_in_pieces(fuzz.at, fuzz.left, &fuzz);
	assert(measured.wire == wire.len - wire.dots && measured.has_8bit == eight);
	check_safe(&wire);
	check_same(&wire, encode_in_pieces(fuzz.at, fuzz.left, &fuzz));
	check_same(&wire, read_message(fuzz.at, fuzz.left, &measured, &fuzz));
	plain = canonical(fuzz.at, fuzz.left);
	check_same(&plain, received(&wire));
	free(plain.text);
	free(wire.text);
	return 0;
}
