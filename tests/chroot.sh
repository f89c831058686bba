# Chroots of Debian releases, for the scripts that source this one. They set ROOT, the source.
# shellcheck shell=bash

MIRROR=${MIRROR:-http://deb.debian.org/debian}
KEYRING=/usr/share/keyrings/debian-archive-keyring.gpg

die() {
	echo "${0##*/}: $*" >&2
	exit 1
}

# Runs a command in the chroot $1 with what a build and a mail server expect to find mounted.
# unshare --kill-child ends what the command left running; the namespace takes the mounts with it.
in_chroot() {
	local chroot=$1
	shift
	# shellcheck disable=SC2016 # expanded by the inner shell
	unshare --mount --propagation private --pid --fork --kill-child bash -euc '
		chroot=$1
		shift
		mount -t proc proc "$chroot/proc"
		mount -t tmpfs -o mode=755 tmpfs "$chroot/dev"
		for node in null zero full random urandom tty; do
			: >"$chroot/dev/$node"
			mount --bind "/dev/$node" "$chroot/dev/$node"
		done
		ln -s /proc/self/fd "$chroot/dev/fd"
		mkdir "$chroot/dev/pts"
		mount -t devpts -o newinstance,ptmxmode=666,mode=620 devpts "$chroot/dev/pts"
		ln -s pts/ptmx "$chroot/dev/ptmx"
		mkdir -m 1777 "$chroot/dev/shm"
		mount -t tmpfs -o mode=1777 tmpfs "$chroot/tmp"
		exec chroot "$chroot" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root \
			LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive "$@"
	' bash "$chroot" "$@"
}

# Makes the smallest root of suite $1 in $2, unless it is there.
make_base() {
	local suite=$1 chroot=$2
	if [ ! -e "$chroot/.base" ]; then
		rm -rf --one-file-system "$chroot"
		debootstrap --variant=minbase --keyring="$KEYRING" "$suite" "$chroot" "$MIRROR"
		touch "$chroot/.base"
	fi
	install -m 644 /etc/resolv.conf /etc/hosts "$chroot/etc/"
	# No daemon starts by being installed.
	printf '#!/bin/sh\nexit 101\n' >"$chroot/usr/sbin/policy-rc.d"
	chmod 755 "$chroot/usr/sbin/policy-rc.d"
}

# Copies what git knows, and what it doesn't know yet but does not ignore.
copy_source() {
	local target=$1/src/maildrain
	rm -rf "$target"
	mkdir -p "$target"
	git -C "$ROOT" ls-files -z --cached --others --exclude-standard |
		(cd "$ROOT" && while IFS= read -r -d '' file; do
			if [ -e "$file" ]; then printf '%s\0' "$file"; fi
		done | tar --create --null --files-from=- --owner=0 --group=0) |
		tar --extract --directory "$target"
}

# Ends the script where no chroots can be made.
need_chroots() {
	local tool
	[ "$(id -u)" = 0 ] || die "chroots and mounts need root: use sudo"
	for tool in debootstrap unshare git; do
		command -v "$tool" >/dev/null ||
			die "$tool is missing: apt install debootstrap util-linux git"
	done
}
