#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>

#include "error.h"

/* Reports are the last resort: one that can't be written must still be a string. */
static size_t error_write(struct error *err, const char *format, va_list args)
{
	int len = vsnprintf(err->text, sizeof err->text, format, args);

	if (len < 0) {
		err->text[0] = '\0';
		return 0;
	}
	return (size_t)len < sizeof err->text ? (size_t)len : sizeof err->text - 1;
}

static int error_status_of(int number)
{
	return number == EACCES || number == EPERM ? EX_NOPERM : EX_IOERR;
}

void error_set(struct error *err, int status, const char *format, ...)
{
	va_list args;

	err->status = status;
	va_start(args, format);
	error_write(err, format, args);
	va_end(args);
}

void error_set_errno(struct error *err, const char *format, ...)
{
	int number = errno;
	va_list args;
	size_t len;

	err->status = error_status_of(number);
	va_start(args, format);
	len = error_write(err, format, args);
	va_end(args);
	(void)snprintf(err->text + len, sizeof err->text - len, ": %s", strerror(number));
	errno = number;
}
