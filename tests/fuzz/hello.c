/* hello: a server's greeting and its reply to LHLO, in pieces of any size. */
#include "fuzz.h"
#include "smtp_hello.h"

static void count_line(void *context, const char *line, size_t len)
{
	size_t *lines = context;

	assert(len > 0 && (line[len - 1] == '\n' || len == REPLY_LINE_MAX));
	++*lines;
}

static bool is_over(const struct smtp_hello *hello)
{
	return hello->state == SMTP_HELLO_DONE || hello->state == SMTP_HELLO_FAILED;
}

/* LHLO goes out once, behind the greeting and before anything of the reply to it. */
static void talk(struct smtp_hello *hello, struct fuzz *fuzz)
{
	size_t lines = 0, said = 0;
	char buf[32];

	hello->on_line = count_line;
	hello->context = &lines;
	while (fuzz->left > 0 && !is_over(hello)) {
		const size_t piece = fuzz_piece(fuzz, fuzz->left);
		const size_t len = smtp_hello_output(hello, buf, sizeof buf);

		assert(
		    len == 0 || (said++ == 0 && lines > 0 && memcmp(buf, "LHLO a\r\n", len) == 0));
		smtp_hello_input(hello, fuzz->at, piece);
		fuzz->at += piece;
		fuzz->left -= piece;
	}
	assert(hello->state != SMTP_HELLO_DONE || (said == 1 && lines > 1 && hello->offer.lmtp));
	assert((hello->state == SMTP_HELLO_FAILED) == (hello->fault != NULL));
	assert(!is_over(hello) || smtp_hello_output(hello, buf, sizeof buf) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz fuzz = fuzz_start(data, size);
	struct smtp_hello *hello = malloc(sizeof *hello);

	assert(hello != NULL);
	fuzz_seed(&fuzz);
	smtp_hello_init(hello, "a");
	talk(hello, &fuzz);
	free(hello);
	return 0;
}
