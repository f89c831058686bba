/*
 * io: whole reads and writes, where read(2) and write(2) may do a part.
 */
#ifndef MAILDRAIN_IO_H
#define MAILDRAIN_IO_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Writes all LEN bytes. 0, or -1 with errno. */
int io_write(int fd, const char *bytes, size_t len);

/* Reads at OFFSET until LEN bytes or the end of the file; the count, or -1 with errno. */
ssize_t io_pread(int fd, char *buf, size_t len, uint64_t offset);

/* Appends bytes [FROM, TO) of IN to OUT. 0, or -1 with errno (EIO when IN is shorter). */
int io_copy(int in, uint64_t from, uint64_t to, int out);

#endif
