#!/bin/bash
# Installs the packages that are missing for one purpose: build, deb, demo, check or bench.
#
# With apt, as root or through sudo. It says what it installs; it never removes a package, so a
# mail server that is there is not replaced.

set -euo pipefail

BUILD=(gcc make pkg-config libc6-dev libcurl4-openssl-dev libconfuse-dev libjansson-dev)
DEB=("${BUILD[@]}" build-essential dpkg-dev debhelper dh-python python3)
DEMO=("${BUILD[@]}" python3-django python3-aiosmtpd)
CHECK=("${DEMO[@]}" "${DEB[@]}" clang libclang-rt-dev clang-format clang-tidy cppcheck shellcheck mandoc
	gcovr libcmocka-dev python3-pytest python3-pip python3-setuptools python3-wheel openssl curl strace
	python3-botocore python3-hypercorn
	python3-build mypy gunicorn python3-celery chromium chromium-driver python3-selenium
	systemd dbus cron postfix dovecot-core dovecot-lmtpd libsasl2-modules python3-pyte procps
	iproute2 util-linux s-nail git-email libmailtools-perl php-cli msmtp
	opendkim opendkim-tools python3-dkim
	faketime bindfs e2fsprogs xfsprogs btrfs-progs valgrind
	debootstrap lintian bash-completion zsh)
# nullmailer and dma can't be installed beside Postfix: the bench unpacks them in a folder.
BENCH=("${BUILD[@]}" python3-django postfix dovecot-core stunnel4 openssl strace valgrind)

case ${1:-} in
build) wanted=("${BUILD[@]}") ;;
deb) wanted=("${DEB[@]}") ;;
demo) wanted=("${DEMO[@]}") ;;
check) wanted=("${CHECK[@]}") ;;
bench) wanted=("${BENCH[@]}") ;;
*)
	echo "usage: tests/deps.sh build|deb|demo|check|bench" >&2
	exit 64
	;;
esac

missing=()
for package in "${wanted[@]}"; do
	state=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
	[ "$state" = installed ] || missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0

as_root=()
[ "$(id -u)" = 0 ] || as_root=(sudo)
apt=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -y)

echo "Installing with apt: ${missing[*]}"
log=$(mktemp)
trap 'rm -f "$log"' EXIT

# The tests start a Postfix of their own; the system's shall not be set up by this.
if [[ " ${missing[*]} " == *" postfix "* ]]; then
	echo "postfix postfix/main_mailer_type select No configuration" |
		"${as_root[@]}" debconf-set-selections
fi
if ! { "${apt[@]}" update && "${apt[@]}" install --no-install-recommends --no-remove "${missing[@]}"; } \
	> "$log" 2>&1; then
	cat "$log" >&2
	echo "tests/deps.sh: could not install: ${missing[*]}" >&2
	exit 1
fi
