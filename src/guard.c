#include "guard.h"

#include <sys/prctl.h>
#include <sys/resource.h>

/*
 * Either may be forbidden where the other is not, and mail is better sent than not, so the results
 * are of no use. A limit of 0 holds for children too, but not where cores are piped to a program;
 * there the first one does.
 */
void guard_memory(void)
{
	const struct rlimit none = {0, 0};

	(void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
	(void)setrlimit(RLIMIT_CORE, &none);
}
