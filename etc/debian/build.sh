#!/bin/bash
# Builds the Debian packages of this tree into build/, as "make deb" does.
#
# debian/ has to stand at the top of a source tree, and here it doesn't: so what git knows is copied
# to build/deb/, with debian/ at its top, and built there.
set -euo pipefail
cd "$(dirname "$0")/../.."
umask 022

work=build/deb
version=$(dpkg-parsechangelog -l etc/debian/changelog -S Version)
tree=$work/maildrain-$version

# Whether this is a checkout of its own, and no archive that somebody has unpacked in another one.
is_checkout() {
	[ "$(git rev-parse --show-toplevel 2>/dev/null)" = "$(pwd -P)" ]
}

# The files of the tree, without what git ignores; in an unpacked archive, all but what is built.
files() {
	if is_checkout; then
		git ls-files -z --cached --others --exclude-standard
	else
		find . -path ./build -prune -o ! -type d -print0
	fi
}

present() {
	local file
	while IFS= read -r -d '' file; do
		if [ -e "$file" ]; then printf '%s\0' "$file"; fi
	done
}

# The same tree shall give the same packages, whenever they are built.
if is_checkout; then export SOURCE_DATE_EPOCH="${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}"; fi

rm -rf "$work"
mkdir -p "$tree"
files | present | tar --create --null --files-from=- | tar --extract --directory "$tree"
mv "$tree/etc/debian" "$tree/debian"

export DEB_BUILD_OPTIONS="noautodbgsym ${DEB_BUILD_OPTIONS:-}"
if ! (cd "$tree" && dpkg-buildpackage -b -us -uc) >"$work/log" 2>&1; then
	tail -n 60 "$work/log" >&2
	echo "make deb: failed, the whole log is $work/log" >&2
	exit 1
fi
rm -f build/*.deb
cp "$work"/*.deb build/

arch=$(dpkg --print-architecture)
cat <<END
Built:
$(printf '  %s\n' build/*.deb)

Next:
  sudo apt install ./build/maildrain_${version}_$arch.deb ./build/python3-maildrain_${version}_all.deb
  sudo editor /etc/maildrain.conf      # three values, marked with "<--"; then: sudo maildrain verify
END
