#!/bin/bash
# Builds the Debian packages on releases of Debian, and installs them there.
#
#	tests/package.sh [RELEASE...]
#
# Run by "make check-package", as root. For each release there are three roots below PACKAGE_DIR
# (default build/package), kept for the next run: a fresh one, one with what Build-Depends names and
# lintian, and one with what the packages depend on. The packages are built twice, in different
# places, and must come out the same; tests/package/ then tries them in overlays of the last root.
# All mounts are made in private mount namespaces.

set -euo pipefail

RELEASES=(bookworm trixie)
ROOT=$(cd "$(dirname "$0")/.." && pwd)
PYTHON=${PYTHON:-/usr/bin/python3}

# shellcheck source=tests/chroot.sh
. "$ROOT/tests/chroot.sh"

# Makes the root $2 from $1 with packages that satisfy the dependencies $3.
make_root() {
	local base=$1 root=$2 wanted=$3
	if [ -e "$root/.has" ] && [ "$(cat "$root/.has")" = "$wanted" ]; then return; fi
	rm -rf --one-file-system "$root"
	cp -a "$base" "$root"
	in_chroot "$root" apt-get update
	in_chroot "$root" apt-get satisfy -y --no-install-recommends "$wanted"
	in_chroot "$root" apt-get clean
	echo "$wanted" >"$root/.has"
}

build_depends() {
	sed -n '/^Build-Depends:/,/^[^ ]/{/^ /p}' "$ROOT/etc/debian/control" | tr -d '\n' | sed 's/, *$//'
}

# What the packages in $1 depend on, but for one another.
depends() {
	local deb
	for deb in "$1"/*.deb; do
		dpkg-deb --field "$deb" Depends
	done | tr ',' '\n' | sed 's/^ *//' | grep -v '^maildrain' | sort -u | paste -sd , -
}

# Builds in the chroot $1, in its folder $2.
build() {
	local chroot=$1 place=$2
	rm -rf "${chroot:?}/$place"
	copy_source "$chroot"
	mkdir -p "$chroot/$place"
	mv "$chroot/src/maildrain" "$chroot/$place/"
	in_chroot "$chroot" env SOURCE_DATE_EPOCH="$SOURCE_DATE_EPOCH" "/$place/maildrain/etc/debian/build.sh"
}

# In the chroot as nobody: lintian wants no root.
lint() {
	local said
	in_chroot "$1" apt-get install -y --no-install-recommends lintian
	said=$(in_chroot "$1" sh -c 'cd /one/maildrain/build/deb &&
		setpriv --reuid=65534 --regid=65534 --clear-groups env HOME=/tmp \
			lintian -EviIL +pedantic ./*.changes' 2>&1) || true
	echo "$said"
	if grep '^[EW]:' <<<"$said"; then return 1; fi
	grep -q 'maildrain' <<<"$said"
}

set_up() {
	local release=$1 dir=$PACKAGE_DIR/$1
	make_base "$release" "$dir/base"
	make_root "$dir/base" "$dir/build" "build-essential, $(build_depends)"
	build "$dir/build" one
	build "$dir/build" two/further/down
	rm -rf "$dir/debs"
	mkdir "$dir/debs"
	cp "$dir/build/one/maildrain/build/"*.deb "$dir/debs/"
	make_root "$dir/base" "$dir/fresh" "$(depends "$dir/debs")"
}

reproducible() {
	local deb
	for deb in "$1"/one/maildrain/build/*.deb; do
		cmp "$deb" "$1/two/further/down/maildrain/build/${deb##*/}"
	done
}

# One line: what it is, and ok or failed.
say() {
	local what=$1 log=$2
	shift 2
	# In the background because "set -e" does not hold in what an if tests.
	"$@" >"$log" 2>&1 </dev/null &
	if wait $!; then
		echo "$what: ok $(tail -n 1 "$log" | grep -E '^[0-9]+ passed' || true)"
	else
		tail -n 40 "$log"
		echo "$what: FAILED, see $log"
		failed=1
		return 1
	fi
}

test_release() {
	MAILDRAIN_DEBS=$1/debs MAILDRAIN_ROOT=$1/fresh PYTHONDONTWRITEBYTECODE=1 \
		"$PYTHON" -m pytest -q -p no:cacheprovider "$ROOT/tests/package/test_install.py"
}

need_chroots
PACKAGE_DIR=${PACKAGE_DIR:-$ROOT/build/package}
mkdir -p "$PACKAGE_DIR"
PACKAGE_DIR=$(cd "$PACKAGE_DIR" && pwd)
exec 9>"$PACKAGE_DIR/lock"
flock --nonblock 9 || die "another run uses $PACKAGE_DIR: wait for it, or set PACKAGE_DIR"
SOURCE_DATE_EPOCH=$(git -C "$ROOT" log -1 --format=%ct)
failed=0
if [ $# -gt 0 ]; then RELEASES=("$@"); fi
for release in "${RELEASES[@]}"; do
	dir=$PACKAGE_DIR/$release
	mkdir -p "$dir"
	say "$release: build" "$dir/build.log" set_up "$release" || continue
	say "$release: reproducible" "$dir/reproducible.log" reproducible "$dir/build" || true
	say "$release: lintian" "$dir/lintian.log" lint "$dir/build" || true
	say "$release: install" "$dir/install.log" test_release "$dir" || true
done
[ "$failed" = 0 ]
