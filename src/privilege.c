#include "privilege.h"

#include <grp.h>
#include <pwd.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

/* Where the programs that we start look for their own settings. */
static int set_home(const struct passwd *user)
{
	if (setenv("HOME", user->pw_dir, 1) == -1 || setenv("USER", user->pw_name, 1) == -1)
		return -1;
	return setenv("LOGNAME", user->pw_name, 1);
}

int privilege_drop(const char *path, struct error *err)
{
	struct stat st;
	const struct passwd *user;

	/* A spool that can't be looked at is spool_open's to complain about. */
	if (geteuid() != 0 || stat(path, &st) == -1 || st.st_uid == 0)
		return 0;
	user = getpwuid(st.st_uid);
	if ((user != NULL ? initgroups(user->pw_name, st.st_gid) : setgroups(0, NULL)) == 0 &&
	    setgid(st.st_gid) == 0 && setuid(st.st_uid) == 0 &&
	    (user == NULL || set_home(user) == 0))
		return 0;
	error_set_errno(err, "can't become the user who owns the spool %s", path);
	return -1;
}

void privilege_advise(const char *path, const char *command, struct error *err)
{
	const struct error plain = *err;
	const struct passwd *user;
	struct stat st;

	if (err->status != EX_NOPERM || stat(path, &st) == -1 || st.st_uid == geteuid())
		return;
	user = getpwuid(st.st_uid);
	if (user != NULL)
		error_set(err, plain.status, "%s; try: sudo -u %s maildrain %s", plain.text,
		    user->pw_name, command);
	else
		error_set(err, plain.status, "%s; try: sudo -u '#%lu' maildrain %s", plain.text,
		    (unsigned long)st.st_uid, command);
}

bool privilege_owner(struct spool_owner *owner)
{
	const struct passwd *user = geteuid() == 0 ? getpwnam("maildrain") : NULL;

	if (user == NULL)
		return false;
	owner->uid = user->pw_uid;
	owner->gid = user->pw_gid;
	return true;
}
