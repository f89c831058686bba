#include "message.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "io.h"

#define BUF_FIRST  ((size_t)32 * 1024) /* holds nearly every message whole */
#define READ_SPARE 4 /* octets that looking for the end may take behind the last piece */

void message_init(struct message *message)
{
	*message = (struct message){.fd = -1, .draft.fd = -1};
}

void message_free(struct message *message)
{
	message_close(message);
	envelope_free(&message->envelope);
	free(message->buf);
	message_init(message);
}

void message_close(struct message *message)
{
	/* Nothing was written through this descriptor, so nothing can be lost here. */
	if (message->fd != -1)
		(void)close(message->fd);
	message->fd = -1;
}

void message_renamed(struct message *message, const char *name)
{
	(void)snprintf(message->name, sizeof message->name, "%s", name);
	(void)entry_parse(message->name, &message->entry);
}

static enum message_loaded give_up(struct message *message, enum message_loaded result,
    struct envelope_fault *fault, const char *text)
{
	message_close(message);
	fault->status[0] = '\0';
	fault->text = text;
	return result;
}

static enum message_loaded open_failed(struct message *message, struct envelope_fault *fault)
{
	switch (errno) {
	case ENOENT:
		return give_up(message, MESSAGE_GONE, fault, "");
	case ELOOP:
		return give_up(message, MESSAGE_FOREIGN, fault, "a symbolic link");
	case EACCES:
	case EPERM:
		return give_up(message, MESSAGE_FOREIGN, fault, "not readable for this user");
	case ENXIO:
	case ENODEV:
		return give_up(message, MESSAGE_FOREIGN, fault, "not a regular file");
	default:
		return give_up(message, MESSAGE_ERROR, fault, strerror(errno));
	}
}

static int open_fd(int dirfd, const char *name)
{
	return openat(dirfd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
}

/* Opens the file and makes sure that it is one of ours. */
static enum message_loaded open_file(
    struct message *message, int dirfd, const char *name, struct envelope_fault *fault)
{
	struct stat st;

	message->fd = open_fd(dirfd, name);
	if (message->fd == -1)
		return open_failed(message, fault);
	if (fstat(message->fd, &st) == -1)
		return give_up(message, MESSAGE_ERROR, fault, strerror(errno));
	if (!S_ISREG(st.st_mode))
		return give_up(message, MESSAGE_FOREIGN, fault, "not a regular file");
	if (st.st_nlink == 0)
		return give_up(message, MESSAGE_GONE, fault, "");
	if (st.st_nlink > 1)
		return give_up(message, MESSAGE_FOREIGN, fault, "a file with several hard links");
	if (st.st_size == 0)
		return give_up(message, MESSAGE_FOREIGN, fault, "an empty file");
	message->device = st.st_dev;
	message->inode = st.st_ino;
	message->file_size = (uint64_t)st.st_size;
	message->mode = st.st_mode & 0777;
	return MESSAGE_LOADED;
}

/* Reads on until buf holds ROOM bytes or the whole file. */
static int fill_to(struct message *message, size_t room)
{
	ssize_t n;

	if (message->buf_room < room) {
		char *buf = realloc(message->buf, room);

		if (buf == NULL)
			return -1;
		message->buf = buf;
		message->buf_room = room;
	}
	if (room > message->file_size)
		room = (size_t)message->file_size;
	n = io_pread(message->fd, message->buf + message->buf_len, room - message->buf_len,
	    message->buf_len);
	if (n == -1)
		return -1;
	message->buf_len += (size_t)n;
	message->file_pos = message->buf_len;
	return 0;
}

/* Reads block and header; *LEN gets their length. */
static enum message_loaded read_head(
    struct message *message, size_t *len, struct envelope_fault *fault)
{
	message->buf_len = 0;
	for (size_t room = BUF_FIRST; room <= ENVELOPE_HEAD_MAX; room *= 2) {
		if (fill_to(message, room) == -1)
			return give_up(message, MESSAGE_ERROR, fault, strerror(errno));
		*len = envelope_head_len(message->buf, message->buf_len);
		if (*len == 0 && message->buf_len == message->file_size)
			*len = message->buf_len;
		if (*len > 0)
			return MESSAGE_LOADED;
		if (message->buf_len < room)
			return give_up(
			    message, MESSAGE_ERROR, fault, "it changed while it was read");
	}
	(void)give_up(message, MESSAGE_INVALID, fault, "its header is longer than 1 MiB");
	(void)snprintf(fault->status, sizeof fault->status, "5.6.0");
	return MESSAGE_INVALID;
}

/* Takes the block and Bcc out of what will be sent. */
static void cut_head(struct message *message, size_t head_len)
{
	const size_t block_len = message->envelope.block_len;
	char *header = message->buf + block_len;
	const size_t kept = envelope_drop_bcc(header, head_len - block_len);
	const size_t body_len = message->buf_len - head_len;

	memmove(header + kept, message->buf + head_len, body_len);
	message->header_len = kept;
	message->buf_pos = block_len;
	message->buf_len = block_len + kept + body_len;
	message->header_8bit = false;
	for (size_t i = 0; i < kept; i++)
		if ((unsigned char)header[i] > 127)
			message->header_8bit = true;
}

/* Goes once through what will be sent, to announce its size and kind. */
static int measure(struct message *message)
{
	char chunk[BUF_FIRST];
	struct body body = {0};
	uint64_t pos = message->file_pos;

	message->size = (struct body_size){0};
	body_measure(&body, message->buf + message->buf_pos, message->buf_len - message->buf_pos,
	    &message->size);
	while (pos < message->file_size) {
		const uint64_t left = message->file_size - pos;
		const size_t want = left < sizeof chunk ? (size_t)left : sizeof chunk;
		const ssize_t n = io_pread(message->fd, chunk, want, pos);

		if (n <= 0)
			return -1;
		body_measure(&body, chunk, (size_t)n, &message->size);
		pos += (uint64_t)n;
	}
	body_measure_end(&body, &message->size);
	return 0;
}

/* Of what was sent before, and how far that was. */
static void forget_results(struct message *message)
{
	message->verdict = MESSAGE_UNTRIED;
	message->refused_at_mail = 0;
	message->in_doubt = false;
	message->slow_down = false;
	message->retry_after = 0;
	message->body = (struct body){0};
	message->body_ended = false;
}

enum message_loaded message_open(
    struct message *message, int dirfd, const char *name, struct envelope_fault *fault)
{
	enum message_loaded loaded;
	size_t head_len;

	message_close(message);
	message_renamed(message, name);
	message->replaced = false;
	message->submitted = false;
	message->anew = false;
	message->put_off = 0;
	forget_results(message);
	loaded = open_file(message, dirfd, name, fault);
	if (loaded == MESSAGE_LOADED)
		loaded = read_head(message, &head_len, fault);
	if (loaded != MESSAGE_LOADED)
		return loaded;
	if (envelope_parse(&message->envelope, message->buf, head_len, fault) == -1) {
		message_close(message);
		return MESSAGE_INVALID;
	}
	cut_head(message, head_len);
	return MESSAGE_LOADED;
}

enum message_loaded message_load(
    struct message *message, int dirfd, const char *name, struct envelope_fault *fault)
{
	const enum message_loaded loaded = message_open(message, dirfd, name, fault);

	if (loaded == MESSAGE_LOADED && measure(message) == -1)
		return give_up(message, MESSAGE_ERROR, fault, "it changed while it was read");
	return loaded;
}

int message_rewind(struct message *message, int dirfd, struct envelope_fault *fault)
{
	size_t head_len;

	forget_results(message);
	if (message_reopen(message, dirfd) == -1) {
		fault->text = strerror(errno);
		return -1;
	}
	if (read_head(message, &head_len, fault) != MESSAGE_LOADED)
		return -1;
	cut_head(message, head_len);
	if (measure(message) == 0)
		return 0;
	fault->text = "it changed while it was read";
	return -1;
}

const char *message_header(const struct message *message, size_t *len)
{
	*len = message->header_len;
	return message->buf + message->buf_pos;
}

/* Reads the next part of the file into the used-up buffer; 0 at the end, -1 when it is short. */
static int refill(struct message *message)
{
	uint64_t left = message->file_size - message->file_pos;
	ssize_t n;

	if (left == 0)
		return 0;
	if (left > message->buf_room)
		left = message->buf_room;
	n = io_pread(message->fd, message->buf, (size_t)left, message->file_pos);
	if (n <= 0)
		return -1;
	message->file_pos += (uint64_t)n;
	message->buf_pos = 0;
	message->buf_len = (size_t)n;
	return 1;
}

/*
 * Gives back what only reading needs. Where room is set aside for a partial result the descriptor
 * is a part of it: once some recipients are served there must be no want of one.
 */
static void release(struct message *message)
{
	if (!message->replaced && message->draft.fd == -1)
		message_close(message);
	free(message->buf);
	message->buf = NULL;
	message->buf_room = message->buf_len = message->buf_pos = 0;
}

/* Encodes up to ROOM bytes of the file to OUT + *MADE. 0; or -1 when it is not what it was. */
static int encode_piece(struct message *message, size_t room, char *out, size_t *made)
{
	const size_t left = message->buf_len - message->buf_pos;
	const size_t len = left < room ? left : room;
	int got = 1;

	*made += body_encode(&message->body, message->buf + message->buf_pos, len, out + *made);
	message->buf_pos += len;
	if (message->buf_pos == message->buf_len)
		got = refill(message);
	if (got == 0) {
		message->body_ended = true;
		*made += body_finish(&message->body, out + *made);
	}
	return got == -1 || message->body.wire > message->size.wire ? -1 : 0;
}

ssize_t message_read(struct message *message, char *out, size_t size)
{
	const struct body *body = &message->body;
	size_t room = (size - READ_SPARE) / BODY_GROWTH;
	size_t made = 0;

	if (message->body_ended)
		return 0;
	/* A piece may give nothing: the LF of a CRLF whose CR came before. */
	while (!message->body_ended && (made == 0 || body->wire == message->size.wire)) {
		if (encode_piece(message, room, out, &made) == -1)
			return -1;
		if (made > 0)
			room = 1;
	}
	/* Written over in place, with other line ends, say: its end must not go out. */
	if (message->body_ended && body->wire != message->size.wire)
		return -1;
	if (message->body_ended)
		release(message);
	return (ssize_t)made;
}

int message_prefix(struct message *message, const char *text, size_t len)
{
	const size_t left = message->buf_len - message->buf_pos;
	struct body body = {0};
	char *buf = malloc(len + left + 1);

	if (buf == NULL)
		return -1;
	memcpy(buf, text, len);
	memcpy(buf + len, message->buf + message->buf_pos, left);
	free(message->buf);
	message->buf = buf;
	message->buf_pos = 0;
	message->buf_len = len + left;
	message->buf_room = len + left + 1;
	body_measure(&body, text, len, &message->size);
	return 0;
}

int message_pour(struct message *message, int fd)
{
	char buf[BUF_FIRST];
	ssize_t n;

	message->body.counted = true;
	while ((n = message_read(message, buf, sizeof buf)) > 0)
		if (io_write(fd, buf, body_decode(buf, (size_t)n)) == -1)
			return -1;
	if (n == -1)
		errno = ESTALE;
	return (int)n;
}

int message_reopen(struct message *message, int dirfd)
{
	struct stat st;

	if (message->fd != -1)
		return 0;
	message->fd = open_fd(dirfd, message->name);
	if (message->fd == -1)
		return -1;
	if (fstat(message->fd, &st) == 0 && st.st_dev == message->device &&
	    st.st_ino == message->inode)
		return 0;
	message_close(message);
	errno = ESTALE;
	return -1;
}

int message_write(const struct message *message, int fd)
{
	const struct envelope *envelope = &message->envelope;
	char line[ENVELOPE_LINE_MAX];

	if (fchmod(fd, message->mode) == -1)
		return -1;
	if (io_write(fd, line, envelope_write_sender(envelope, line)) == -1)
		return -1;
	for (size_t i = 0; i < envelope->count; i++) {
		const size_t len = envelope_write_recipient(&envelope->recipient[i], line);

		if (io_write(fd, line, len) == -1)
			return -1;
	}
	return io_copy(message->fd, envelope->block_len, message->file_size, fd);
}

void message_settle(
    struct message *message, enum recipient_state state, const char *status, const char *text)
{
	struct envelope *envelope = &message->envelope;

	for (size_t i = 0; i < envelope->count; i++)
		if (envelope->recipient[i].state == RECIPIENT_TODO)
			envelope_result(envelope, &envelope->recipient[i], state, status, text);
}
