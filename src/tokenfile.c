#include "tokenfile.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "io.h"

#define NAME_SIZE 64
#define FILE_SIZE (TOKEN_MAX + 64)

static const char DRAFT[] = ".new";

/* Whether FD is of TYPE and ours, and nobody else has one of the rights NOT. */
static bool is_ours(int fd, mode_t type, mode_t not )
{
	struct stat st;

	return fstat(fd, &st) == 0 && (st.st_mode & S_IFMT) == type && st.st_uid == geteuid() &&
	       (st.st_mode & not ) == 0;
}

/* The folder, open, or -1. Of several that systemd names, it is the first. */
static int open_folder(void)
{
	const char *named = getenv("RUNTIME_DIRECTORY");
	char *path = named != NULL && *named == '/' ? strndup(named, strcspn(named, ":"))
						    : strdup("/run/maildrain");
	int fd = -1;

	if (path != NULL)
		fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	free(path);
	if (fd == -1 || is_ours(fd, S_IFDIR, S_IWGRP | S_IWOTH))
		return fd;
	(void)close(fd);
	return -1;
}

static void name_file(char name[NAME_SIZE], const char *relay, const char *suffix)
{
	(void)snprintf(name, NAME_SIZE, "token-%s%s", relay, suffix);
}

/* Writes the file's first line into TEXT; its length. */
static size_t write_head(char *text, size_t size, uint64_t key, int64_t expires)
{
	return (size_t)snprintf(
	    text, size, "maildrain-token %016" PRIx64 " %" PRId64 "\n", key, expires);
}

/* Takes a file's TEXT[0..LEN) apart; false unless it is whole, of KEY and not expired at NOW. */
static bool take(const char *text, size_t len, uint64_t key, int64_t now, struct token *token)
{
	char head[64];
	const char *line = memchr(text, '\n', len);
	uint64_t its_key;
	size_t head_len;

	if (line == NULL || text[len - 1] != '\n' ||
	    sscanf(text, "maildrain-token %" SCNx64 " %" SCNd64, &its_key, &token->expires) != 2)
		return false;
	head_len = write_head(head, sizeof head, key, token->expires);
	line++;
	if (its_key != key || token->expires <= now || head_len != (size_t)(line - text) ||
	    memcmp(head, text, head_len) != 0)
		return false;
	len -= head_len + 1;
	token->text = token_is_good(line, len) ? strndup(line, len) : NULL;
	return token->text != NULL;
}

bool tokenfile_load(const char *name, uint64_t key, int64_t now, struct token *token)
{
	const int folder = open_folder();
	char file[NAME_SIZE];
	char text[FILE_SIZE + 1];
	ssize_t len = -1;
	int fd = -1;

	*token = (struct token){.text = NULL};
	if (folder == -1)
		return false;
	name_file(file, name, "");
	fd = openat(folder, file, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd != -1 && is_ours(fd, S_IFREG, S_IRWXG | S_IRWXO))
		len = io_pread(fd, text, FILE_SIZE, 0);
	if (len > 0) {
		text[len] = '\0';
		if (!take(text, (size_t)len, key, now, token))
			token_clear(token);
		explicit_bzero(text, (size_t)len);
	}
	if (fd != -1)
		(void)close(fd);
	(void)close(folder);
	return token->text != NULL;
}

/* Writes TEXT[0..LEN) into the new file DRAFT. */
static bool write_draft(int folder, const char *draft, const char *text, size_t len)
{
	int fd;
	int result;

	/* Left by a run that was killed. */
	(void)unlinkat(folder, draft, 0);
	fd = openat(
	    folder, draft, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, S_IRUSR | S_IWUSR);
	if (fd == -1)
		return false;
	result = io_write(fd, text, len);
	return close(fd) == 0 && result == 0;
}

static bool save(int folder, const char *name, const char *text, size_t len)
{
	char file[NAME_SIZE];
	char draft[NAME_SIZE];

	name_file(file, name, "");
	name_file(draft, name, DRAFT);
	if (write_draft(folder, draft, text, len) && renameat(folder, draft, folder, file) == 0)
		return true;
	(void)unlinkat(folder, draft, 0);
	return false;
}

bool tokenfile_save(const char *name, uint64_t key, const struct token *token)
{
	const int folder = open_folder();
	const size_t len = strlen(token->text);
	char text[FILE_SIZE];
	size_t head_len;
	bool saved;

	if (folder == -1)
		return false;
	head_len = write_head(text, sizeof text, key, token->expires);
	memcpy(text + head_len, token->text, len);
	text[head_len + len] = '\n';
	saved = save(folder, name, text, head_len + len + 1);
	explicit_bzero(text, sizeof text);
	(void)close(folder);
	return saved;
}

void tokenfile_drop(const char *name)
{
	const int folder = open_folder();
	char file[NAME_SIZE];

	if (folder == -1)
		return;
	name_file(file, name, "");
	/* What can't be removed is asked for anew by each run. */
	(void)unlinkat(folder, file, 0);
	(void)close(folder);
}
