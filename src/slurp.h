/*
 * slurp: a small file read whole, whatever its path turns out to name.
 */
#ifndef MAILDRAIN_SLURP_H
#define MAILDRAIN_SLURP_H

#include <sys/stat.h>
#include <sys/types.h>

/*
 * Reads up to SIZE bytes of PATH, which must be a regular file, into BUF, and its metadata into ST.
 * Opened once, so both are of the same file. Returns how many bytes there were; or -1 with errno
 * and a phrase for a person in FAULT. SIZE may be 0, to find out whether it could be read.
 */
ssize_t slurp(const char *path, char *buf, size_t size, struct stat *st, const char **fault);

#endif
