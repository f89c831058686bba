#!/bin/bash
# Builds and tests maildrain on other Debian releases, each in a chroot made by debootstrap.
#
#	tests/matrix.sh [RELEASE...]
#
# Run by "make check-matrix", as root. The chroots and the logs are kept in MATRIX_DIR (default
# build/matrix), so that a second run installs nothing: remove a chroot to make it afresh. All
# mounts are made in a private mount namespace, so none outlives the script, however it ends.
#
# For each release one line is printed: versions, then passed and failed of every suite. The exit
# status is 0 when all of them passed.

set -euo pipefail

RELEASES=(trixie trixie-backports unstable)
PACKAGES=(
	gcc make pkg-config libc6-dev libcurl4-openssl-dev libconfuse-dev libjansson-dev libcmocka-dev
	python3 python3-django python3-pip python3-pytest python3-setuptools python3-wheel
	python3-build mypy gunicorn
	python3-aiosmtpd python3-pyte postfix sasl2-bin libsasl2-modules dovecot-imapd dovecot-lmtpd
	openssl strace
	e2fsprogs s-nail git-email libmailtools-perl php-cli faketime bash-completion zsh
)
ROOT=$(cd "$(dirname "$0")/.." && pwd)

# shellcheck source=tests/chroot.sh
. "$ROOT/tests/chroot.sh"

# The suite that debootstrap makes for a release.
suite_of() {
	echo "${1%-backports}"
}

# The further suite that packages of a release are taken from; empty when there is none.
overlay_of() {
	case $1 in
	*-backports) echo "$1" ;;
	unstable) echo experimental ;;
	esac
}

# The packages that the overlay must give: what the matrix is there to vary.
overlay_packages_of() {
	case $1 in
	*-backports) echo python3-django libcurl4-openssl-dev libcurl4t64 ;;
	unstable) echo python3-django ;;
	esac
}

# The release files of unstable and experimental may be out of date: both are only asked for
# what they have.
write_sources() {
	local release=$1 chroot=$2 overlay options=""
	overlay=$(overlay_of "$release")
	if [ "$release" = unstable ]; then options="[check-valid-until=no] "; fi
	for suite in $(suite_of "$release") $overlay; do
		echo "deb $options$MIRROR $suite main"
	done >"$chroot/etc/apt/sources.list"
}

# Makes the chroot of a release unless it is there with the present list of packages.
make_chroot() {
	local release=$1 chroot=$2 overlay wanted stamp=$2/.matrix-packages
	wanted="${PACKAGES[*]} $(overlay_packages_of "$release")"
	if [ -e "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ]; then
		return
	fi
	make_base "$(suite_of "$release")" "$chroot"
	write_sources "$release" "$chroot"
	in_chroot "$chroot" apt-get update
	in_chroot "$chroot" apt-get install -y --no-install-recommends "${PACKAGES[@]}"
	overlay=$(overlay_of "$release")
	if [ -n "$overlay" ]; then
		# shellcheck disable=SC2046 # a list of words
		in_chroot "$chroot" apt-get install -y --no-install-recommends -t "$overlay" \
			$(overlay_packages_of "$release")
	fi
	in_chroot "$chroot" apt-get clean
	echo "$wanted" >"$stamp"
}

# What the last line of a log says that it counted, as "12 passed, 0 failed".
counts() {
	awk '
		/^[0-9]+ (passed|failed|error)|^no tests ran/ { passed = failed = 0 }
		/^[0-9]+ (passed|failed|error)/ {
			for (i = 2; i <= NF; i++) {
				if ($i ~ /^passed/) passed += $(i - 1)
				if ($i ~ /^(failed|error)/) failed += $(i - 1)
			}
		}
		END { printf "%d passed, %d failed", passed, failed }
	' "$1"
}

# Runs a command in the source of the chroot; prints "; NAME " and what became of it. A suite of
# tests that counts none has failed, whatever its status.
step() {
	local name=$1 chroot=$2 log=$3 status=0 result=""
	shift 3
	in_chroot "$chroot" sh -c "cd /src/maildrain && $*" >"$log" 2>&1 </dev/null || status=$?
	if [ "$name" != build ]; then
		result=$(counts "$log")
		if [[ $result == "0 passed"* ]]; then status=1; fi
	fi
	if [ "$status" != 0 ]; then
		result+=" FAILED, see $log"
		touch "$MATRIX_DIR/failed"
	fi
	printf '; %s %s' "$name" "${result:-ok}"
}

versions() {
	# shellcheck disable=SC2016 # expanded in the chroot
	in_chroot "$1" sh -c '
		python3 -c "import platform, django; print(
			\"Python\", platform.python_version() + \", Django\", django.get_version(), end=\"\")"
		printf ", libcurl %s" "$(pkg-config --modversion libcurl)"'
}

run_release() {
	local release=$1 chroot=$MATRIX_DIR/$1 log=$MATRIX_DIR/$1
	# In the background because "set -e" does not hold in what an if tests.
	make_chroot "$release" "$chroot" >"$log.setup.log" 2>&1 </dev/null &
	if ! wait $!; then
		tail -n 20 "$log.setup.log" >&2
		die "$release: no chroot, see $log.setup.log"
	fi
	copy_source "$chroot"
	printf '%s: %s' "$release" "$(versions "$chroot")"
	step build "$chroot" "$log.build.log" make all
	step unit "$chroot" "$log.unit.log" make check-unit
	step django "$chroot" "$log.django.log" make check-django
	step e2e "$chroot" "$log.e2e.log" make check-e2e
	echo
}

need_chroots
MATRIX_DIR=${MATRIX_DIR:-$ROOT/build/matrix}
mkdir -p "$MATRIX_DIR"
MATRIX_DIR=$(cd "$MATRIX_DIR" && pwd)
exec 9>"$MATRIX_DIR/lock"
flock --nonblock 9 || die "another run uses $MATRIX_DIR: wait for it, or set MATRIX_DIR"
rm -f "$MATRIX_DIR/failed"
if [ $# -gt 0 ]; then RELEASES=("$@"); fi
for release in "${RELEASES[@]}"; do
	run_release "$release"
done
[ ! -e "$MATRIX_DIR/failed" ] || die "failures: see the logs named above"
