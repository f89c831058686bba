#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "io.h"
#include "message.h"

#define BLOCK "X-Maildrain-From: <a@x>\nX-Maildrain-To: <b@x>\n"
#define NAME  "1.M1P1Q1.h,A=2"

struct folder {
	char path[64];
	int fd;
	struct message message;
};

static int make_folder(void **state)
{
	struct folder *folder = calloc(1, sizeof *folder);

	if (folder == NULL)
		return -1;
	(void)strcpy(folder->path, "/tmp/test_message.XXXXXX");
	if (mkdtemp(folder->path) == NULL)
		return -1;
	folder->fd = open(folder->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	message_init(&folder->message);
	*state = folder;
	return folder->fd == -1 ? -1 : 0;
}

static int remove_folder(void **state)
{
	struct folder *folder = *state;

	message_free(&folder->message);
	(void)unlinkat(folder->fd, NAME, 0);
	(void)unlinkat(folder->fd, "other", 0);
	(void)unlinkat(folder->fd, NAME, AT_REMOVEDIR);
	(void)close(folder->fd);
	(void)rmdir(folder->path);
	free(folder);
	return 0;
}

static void put_file(const struct folder *folder, const char *bytes, size_t len)
{
	const int fd = openat(folder->fd, NAME, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);

	assert_true(fd != -1);
	assert_int_equal(fchmod(fd, 0640), 0);
	assert_int_equal(io_write(fd, bytes, len), 0);
	assert_int_equal(close(fd), 0);
}

static enum message_loaded load(struct folder *folder, struct envelope_fault *fault)
{
	return message_load(&folder->message, folder->fd, NAME, fault);
}

static void load_text(struct folder *folder, const char *text)
{
	struct envelope_fault fault;

	put_file(folder, text, strlen(text));
	assert_int_equal(load(folder, &fault), MESSAGE_LOADED);
}

/* Reads the wire form in pieces of SIZE; -1 when it can't be read. */
static ssize_t read_all(struct message *message, char *out, size_t size)
{
	char piece[4096];
	size_t len = 0;
	ssize_t n;

	while ((n = message_read(message, piece, size)) > 0) {
		assert_true((size_t)n <= size);
		memcpy(out + len, piece, (size_t)n);
		len += (size_t)n;
	}
	return n == -1 ? -1 : (ssize_t)len;
}

static void the_wire_form_is_the_same_for_any_piece(void **state)
{
	struct folder *folder = *state;
	static const char expected[] = "A: b\r\n\r\n..one\r\ntwo\r\n\r\nthree\r\n...\r\nend\r\n";
	char wire[256];

	for (size_t size = 64; size < 80; size++) {
		load_text(folder, BLOCK "Bcc: x@x\nA: b\n\n.one\rtwo\r\n\r\nthree\n..\nend");
		assert_int_equal(folder->message.size.wire, strlen(expected) - 2);
		assert_int_equal(read_all(&folder->message, wire, size), strlen(expected));
		assert_memory_equal(wire, expected, strlen(expected));
		assert_int_equal(message_read(&folder->message, wire, size), 0);
	}
	assert_false(folder->message.header_8bit);
	assert_false(folder->message.size.has_8bit);
}

static void facts_for_the_transport(void **state)
{
	struct folder *folder = *state;

	load_text(folder, BLOCK "A: b\n\n\xc3\xb6");
	assert_false(folder->message.header_8bit);
	assert_true(folder->message.size.has_8bit);
	load_text(folder, BLOCK "A: \xc3\xb6\n\nb");
	assert_true(folder->message.header_8bit);
	/* What Bcc says is not sent. */
	load_text(folder, BLOCK "A: b\nBcc: \xc3\xb6 <x@x>\n\nb");
	assert_false(folder->message.header_8bit);
	assert_false(folder->message.size.has_8bit);
	assert_int_equal(folder->message.entry.attempts, 2);
	assert_string_equal(folder->message.name, NAME);
	assert_int_equal(folder->message.mode, 0640);
}

static void a_large_message_is_streamed(void **state)
{
	struct folder *folder = *state;
	const size_t body_len = 3000000;
	const size_t head_len = strlen(BLOCK "A: b\n\n");
	char *text = malloc(head_len + body_len);
	char *wire = malloc(2 * body_len);
	struct envelope_fault fault;
	size_t lines = 0;

	assert_non_null(text);
	assert_non_null(wire);
	memcpy(text, BLOCK "A: b\n\n", head_len);
	for (size_t i = 0; i < body_len; i++) {
		text[head_len + i] = i % 61 == 60 ? '\n' : 'x';
		lines += i % 61 == 60;
	}
	put_file(folder, text, head_len + body_len);
	assert_int_equal(load(folder, &fault), MESSAGE_LOADED);
	assert_true(folder->message.buf_room <= 64 * 1024);
	assert_int_equal(folder->message.size.wire, 8 + body_len + lines + 2);
	assert_int_equal(read_all(&folder->message, wire, 4096), folder->message.size.wire);
	free(text);
	free(wire);
}

static void a_file_that_shrinks_can_not_be_read(void **state)
{
	struct folder *folder = *state;
	const size_t len = 200000;
	char *text = malloc(len);
	char *wire = malloc(2 * len);
	struct envelope_fault fault;

	assert_non_null(text);
	assert_non_null(wire);
	memset(text, 'x', len);
	memcpy(text, BLOCK "A: b\n\n", strlen(BLOCK "A: b\n\n"));
	put_file(folder, text, len);
	assert_int_equal(load(folder, &fault), MESSAGE_LOADED);
	put_file(folder, text, len - 1);
	assert_int_equal(read_all(&folder->message, wire, 4096), -1);
	/* And when it grows, what was measured is sent. */
	put_file(folder, text, len - 1);
	assert_int_equal(load(folder, &fault), MESSAGE_LOADED);
	put_file(folder, text, len);
	assert_int_equal(read_all(&folder->message, wire, 4096), folder->message.size.wire);
	free(text);
	free(wire);
}

/* As long as before, but not on the wire: what was announced can't be sent. */
static void a_file_that_is_written_over_can_not_be_read(void **state)
{
	struct folder *folder = *state;
	static const char *const ends[] = {"\nx", "x\n", "\r\n", "x\r", "yy"};
	const size_t len = 200000;
	char *text = malloc(len);
	char *wire = malloc(2 * len);
	struct envelope_fault fault;

	assert_non_null(text);
	assert_non_null(wire);
	for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++) {
		const bool same = strcmp(ends[i], "yy") == 0;

		memset(text, 'x', len);
		memcpy(text, BLOCK "A: b\n\n", strlen(BLOCK "A: b\n\n"));
		put_file(folder, text, len);
		assert_int_equal(load(folder, &fault), MESSAGE_LOADED);
		memcpy(text + len - 2, ends[i], 2);
		put_file(folder, text, len);
		assert_int_equal(read_all(&folder->message, wire, 4096),
		    same ? (ssize_t)folder->message.size.wire : -1);
	}
	free(text);
	free(wire);
}

static void expect_foreign(struct folder *folder, const char *word)
{
	struct envelope_fault fault;

	assert_int_equal(load(folder, &fault), MESSAGE_FOREIGN);
	assert_non_null(strstr(fault.text, word));
	assert_int_equal(folder->message.fd, -1);
	(void)unlinkat(folder->fd, NAME, 0);
}

static void what_is_not_ours_is_told(void **state)
{
	struct folder *folder = *state;
	struct envelope_fault fault;

	assert_int_equal(load(folder, &fault), MESSAGE_GONE);
	put_file(folder, "", 0);
	expect_foreign(folder, "empty");
	put_file(folder, "x", 1);
	assert_int_equal(linkat(folder->fd, NAME, folder->fd, "other", 0), 0);
	expect_foreign(folder, "hard links");
	assert_int_equal(symlinkat("other", folder->fd, NAME), 0);
	expect_foreign(folder, "symbolic link");
	assert_int_equal(symlinkat("nowhere", folder->fd, NAME), 0);
	expect_foreign(folder, "symbolic link");
	assert_int_equal(mkfifoat(folder->fd, NAME, 0600), 0);
	expect_foreign(folder, "regular");
	assert_int_equal(mkdirat(folder->fd, NAME, 0700), 0);
	expect_foreign(folder, "regular");
}

static void what_is_no_message_is_told(void **state)
{
	struct folder *folder = *state;
	struct envelope_fault fault;
	char *text = calloc(1, ENVELOPE_HEAD_MAX + 10);

	assert_non_null(text);
	put_file(folder, text, ENVELOPE_HEAD_MAX + 10);
	assert_int_equal(load(folder, &fault), MESSAGE_INVALID);
	assert_string_equal(fault.status, "5.6.0");
	put_file(folder, text, 70000);
	assert_int_equal(load(folder, &fault), MESSAGE_INVALID);
	assert_string_equal(fault.status, "5.6.0");
	memset(text, 'x', ENVELOPE_HEAD_MAX);
	memcpy(text, BLOCK "A: ", strlen(BLOCK "A: "));
	put_file(folder, text, ENVELOPE_HEAD_MAX + 10);
	assert_int_equal(load(folder, &fault), MESSAGE_INVALID);
	assert_non_null(strstr(fault.text, "1 MiB"));
	put_file(folder, text, ENVELOPE_HEAD_MAX);
	assert_int_equal(load(folder, &fault), MESSAGE_LOADED);
	free(text);
}

static void the_file_is_written_with_its_states(void **state)
{
	struct folder *folder = *state;
	static const char expected[] = "X-Maildrain-From: <a@x>\n"
				       "X-Maildrain-Done: <b@x> 250 Ok\n"
				       "X-Maildrain-To: <c@x>\n"
				       "A: b\r\nBcc: secret@x\n\n.body\r";
	struct envelope *envelope = &folder->message.envelope;
	char got[512];
	struct stat st;
	int fd;

	load_text(folder, BLOCK "X-Maildrain-To: <c@x>\nA: b\r\nBcc: secret@x\n\n.body\r");
	envelope_result(envelope, &envelope->recipient[0], RECIPIENT_DONE, "2.0.0", "250 Ok");
	envelope_result(envelope, &envelope->recipient[1], RECIPIENT_DEFERRED, "4.0.0", "450");
	fd = openat(folder->fd, "other", O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	assert_int_equal(message_write(&folder->message, fd), 0);
	assert_int_equal(io_pread(fd, got, sizeof got, 0), strlen(expected));
	assert_memory_equal(got, expected, strlen(expected));
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0640);
	(void)close(fd);
	assert_int_equal(message_write(&folder->message, -1), -1);
	assert_int_equal(errno, EBADF);
}

static void a_write_that_fails_is_told(void **state)
{
	struct folder *folder = *state;
	const int full = open("/dev/full", O_WRONLY | O_CLOEXEC);

	if (full == -1)
		skip();
	load_text(folder, BLOCK "A: b\n\nbody");
	folder->message.mode = 0666;
	assert_int_equal(message_write(&folder->message, full), -1);
	(void)close(full);
}

static void a_rename_is_noted(void **state)
{
	struct folder *folder = *state;

	load_text(folder, BLOCK "A: b\n\nbody");
	message_renamed(&folder->message, "1.M1P1Q1.h,A=3,C=h-1,T=9");
	assert_int_equal(folder->message.entry.attempts, 3);
	assert_ptr_equal(folder->message.entry.name, folder->message.name);
}

/* ---- while it is in flight ---- */

/* How many octets are given out of BEFORE, loaded, when its file has become AFTER. */
static size_t given_out(struct folder *folder, const char *before, const char *after, size_t size)
{
	struct message *message = &folder->message;
	char out[256];
	size_t total = 0;
	ssize_t n;

	load_text(folder, before);
	/* Nothing but the descriptor is left of it. */
	message->buf_len = message->file_pos = message->buf_pos;
	put_file(folder, after, strlen(after));
	while ((n = message_read(message, out, size)) > 0)
		total += (size_t)n;
	assert_int_equal(n, -1);
	return total;
}

/* Of a file that was written over in place: what is too much would be read as commands. */
static void never_all_octets_of_another_text(void **state)
{
	static const char before[] = BLOCK "From: a@x\n\nabc\r\ndef\r\n";
	static const char *const after[] = {
	    BLOCK "From: a@x\n\nabc\n\n\n\n\n\n\n",
	    BLOCK "From: a@x\n\nabc\r\nde\n\n\n",
	    BLOCK "From: a@x\n\nabc\r\ndef",
	    BLOCK "From: a@x\n\nabc\r\rdef\r\n",
	    BLOCK "From: a@x\n\nabcdefgh\n\n",
	};
	struct folder *folder = *state;

	for (size_t i = 0; i < sizeof after / sizeof after[0]; i++)
		for (size_t size = 6; size < 80; size++) {
			const size_t given = given_out(folder, before, after[i], size);

			assert_true(given < folder->message.size.wire);
		}
}

static void opened_again_only_as_the_same(void **state)
{
	struct folder *folder = *state;
	struct message *message = &folder->message;
	char out[256];

	load_text(folder, BLOCK "From: a@x\n\ntext\n");
	assert_true(message_read(message, out, sizeof out) > 0);
	assert_int_equal(message->fd, -1);
	assert_null(message->buf);
	assert_int_equal(message_reopen(message, folder->fd), 0);
	assert_true(message->fd != -1);
	assert_int_equal(message_reopen(message, folder->fd), 0);
	message_close(message);
	assert_int_equal(renameat(folder->fd, NAME, folder->fd, "other"), 0);
	assert_int_equal(message_reopen(message, folder->fd), -1);
	assert_int_equal(errno, ENOENT);
	put_file(folder, "x", 1);
	assert_int_equal(message_reopen(message, folder->fd), -1);
	assert_int_equal(errno, ESTALE);
	assert_int_equal(message->fd, -1);
}

static void kept_open_where_it_could_not_be_opened_again(void **state)
{
	struct folder *folder = *state;
	char out[256];

	load_text(folder, BLOCK "From: a@x\n\ntext\n");
	folder->message.draft.fd = folder->fd;
	assert_true(message_read(&folder->message, out, sizeof out) > 0);
	assert_true(folder->message.fd != -1);
	folder->message.draft.fd = -1;

	load_text(folder, BLOCK "From: a@x\n\ntext\n");
	folder->message.replaced = true;
	assert_true(message_read(&folder->message, out, sizeof out) > 0);
	assert_true(folder->message.fd != -1);
}

static void what_is_put_in_front_is_sent_and_counted(void **state)
{
	struct folder *folder = *state;
	static const char expected[] = "X: 1\r\nY: 2\r\nA: b\r\n\r\ntext\r\n";
	char wire[256];

	for (size_t size = 6; size < 40; size++) {
		load_text(folder, BLOCK "Bcc: x@x\nA: b\n\ntext\n");
		assert_int_equal(message_prefix(&folder->message, "X: 1\nY: 2\n", 10), 0);
		assert_int_equal(folder->message.size.wire, strlen(expected));
		assert_int_equal(read_all(&folder->message, wire, size), strlen(expected));
		assert_memory_equal(wire, expected, strlen(expected));
	}
}

static void what_is_put_in_front_is_not_in_the_file(void **state)
{
	struct folder *folder = *state;
	const int fd = openat(folder->fd, "other", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	char text[256];

	load_text(folder, BLOCK "A: b\n\ntext\n");
	assert_int_equal(message_prefix(&folder->message, "X: 1\n", 5), 0);
	assert_int_equal(message_write(&folder->message, fd), 0);
	assert_int_equal(io_pread(fd, text, sizeof text, 0), strlen(BLOCK "A: b\n\ntext\n"));
	assert_memory_equal(text, BLOCK "A: b\n\ntext\n", strlen(BLOCK "A: b\n\ntext\n"));
	assert_int_equal(close(fd), 0);
}

static void it_is_poured_with_the_line_ends_of_this_host(void **state)
{
	struct folder *folder = *state;
	static const char expected[] = "X: 1\nA: b\n\n.\n..\none\ntwo\n\nend\n";
	const int fd = openat(folder->fd, "other", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	char text[256];

	load_text(folder, BLOCK "Bcc: c@x\nA: b\n\n.\n..\r\none\rtwo\r\n\nend");
	assert_int_equal(message_prefix(&folder->message, "X: 1\n", 5), 0);
	assert_int_equal(message_pour(&folder->message, fd), 0);
	assert_int_equal(io_pread(fd, text, sizeof text, 0), strlen(expected));
	assert_memory_equal(text, expected, strlen(expected));
	assert_int_equal(close(fd), 0);
}

/* In whichever pieces it is read, their ends falling within CRLFs. */
static void a_large_one_is_poured_whole(void **state)
{
	struct folder *folder = *state;
	const size_t lines = 100000;
	const int fd = openat(folder->fd, "other", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	char *text = malloc(lines * 3 + 100);
	size_t len = (size_t)sprintf(text, BLOCK "A: b\n\n");
	const size_t start = strlen(BLOCK);
	char *got;

	assert_non_null(text);
	for (size_t i = 0; i < lines; i++)
		text[len++] = i % 3 == 0 ? '.' : '\n';
	text[len++] = '\n';
	text[len] = '\0';
	load_text(folder, text);
	assert_int_equal(message_pour(&folder->message, fd), 0);
	got = malloc(len);
	assert_int_equal(io_pread(fd, got, len, 0), len - start);
	assert_memory_equal(got, text + start, len - start);
	assert_int_equal(close(fd), 0);
	free(got);
	free(text);
}

static void what_can_not_be_poured_is_told(void **state)
{
	struct folder *folder = *state;
	const int full = open("/dev/full", O_WRONLY | O_CLOEXEC);
	const int fd = openat(folder->fd, "other", O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	load_text(folder, BLOCK "A: b\n\ntext\n");
	assert_int_equal(message_pour(&folder->message, full), -1);
	assert_int_equal(errno, ENOSPC);
	load_text(folder, BLOCK "A: b\n\ntext\n");
	folder->message.size.wire++;
	assert_int_equal(message_pour(&folder->message, fd), -1);
	assert_int_equal(errno, ESTALE);
	assert_int_equal(close(full), 0);
	assert_int_equal(close(fd), 0);
}

int main(void)
{
#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, make_folder, remove_folder)
	const struct CMUnitTest tests[] = {
	    IN_FOLDER(the_wire_form_is_the_same_for_any_piece),
	    IN_FOLDER(facts_for_the_transport),
	    IN_FOLDER(a_large_message_is_streamed),
	    IN_FOLDER(a_file_that_shrinks_can_not_be_read),
	    IN_FOLDER(a_file_that_is_written_over_can_not_be_read),
	    IN_FOLDER(what_is_not_ours_is_told),
	    IN_FOLDER(what_is_no_message_is_told),
	    IN_FOLDER(the_file_is_written_with_its_states),
	    IN_FOLDER(a_write_that_fails_is_told),
	    IN_FOLDER(a_rename_is_noted),
	    IN_FOLDER(never_all_octets_of_another_text),
	    IN_FOLDER(opened_again_only_as_the_same),
	    IN_FOLDER(kept_open_where_it_could_not_be_opened_again),
	    IN_FOLDER(what_is_put_in_front_is_sent_and_counted),
	    IN_FOLDER(what_is_put_in_front_is_not_in_the_file),
	    IN_FOLDER(it_is_poured_with_the_line_ends_of_this_host),
	    IN_FOLDER(a_large_one_is_poured_whole),
	    IN_FOLDER(what_can_not_be_poured_is_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
