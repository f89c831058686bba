/*
 * lostanswer: a library to preload that loses answers as NFS does. The server has done what was
 * asked, its answer is lost, the client asks again, and the name is gone: ENOENT after success.
 *
 *	LOSTANSWER_EVERY=N   every Nth rename or unlink that was done is said to have failed
 *	LOSTANSWER_PLAIN=1   renameat2 knows no flags, as on NFS
 *
 * A rename that exchanges two names is left alone: no network file system has it.
 */
#include <dlfcn.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

typedef int renameat_call(int, const char *, int, const char *);
typedef int renameat2_call(int, const char *, int, const char *, unsigned);
typedef int unlinkat_call(int, const char *, int);

/* ISO C has no cast from an object pointer to a function pointer. */
union symbol {
	void *object;
	renameat_call *renameat;
	renameat2_call *renameat2;
	unlinkat_call *unlinkat;
};

static union symbol next(const char *name)
{
	return (union symbol){.object = dlsym(RTLD_NEXT, name)};
}

static unsigned long number(const char *variable)
{
	const char *text = getenv(variable);

	return text != NULL ? strtoul(text, NULL, 10) : 0;
}

/* The answer to a call that came to RESULT. */
static int answer(int result)
{
	static atomic_ulong done;
	const unsigned long every = number("LOSTANSWER_EVERY");

	if (result == -1 || every == 0 || ++done % every != 0)
		return result;
	errno = ENOENT;
	return -1;
}

__attribute__((visibility("default"))) int renameat(
    int from_fd, const char *from, int to_fd, const char *to)
{
	return answer(next("renameat").renameat(from_fd, from, to_fd, to));
}

__attribute__((visibility("default"))) int renameat2(
    int from_fd, const char *from, int to_fd, const char *to, unsigned flags)
{
	int result;

	if (flags != 0 && number("LOSTANSWER_PLAIN") != 0) {
		errno = EINVAL;
		return -1;
	}
	result = next("renameat2").renameat2(from_fd, from, to_fd, to, flags);
	return (flags & RENAME_EXCHANGE) != 0 ? result : answer(result);
}

__attribute__((visibility("default"))) int unlinkat(int fd, const char *name, int flags)
{
	return answer(next("unlinkat").unlinkat(fd, name, flags));
}
