/*
 * error: why a call failed, for a person, with the exit status that goes with it.
 *
 * A function that can fail for a reason worth telling takes a struct error as its last parameter,
 * returns -1 (or NULL, or false) and leaves one sentence there: what, where, what to do. The
 * caller that gives up prints it and exits with its status; nobody else prints it.
 */
#ifndef MAILDRAIN_ERROR_H
#define MAILDRAIN_ERROR_H

#include <stddef.h>

struct error {
	int status; /* a code of sysexits(3) */
	char text[1024];
};

/* Sets both; a text that does not fit is cut. */
void error_set(struct error *err, int status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/*
 * The same for a failed system call: ": " and strerror(errno) are appended. The status is
 * EX_NOPERM for EACCES, EPERM and EROFS, and EX_IOERR for the rest.
 */
void error_set_errno(struct error *err, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#endif
