#!/bin/bash
# Every test, as "make check" runs them. One line for each step; the output of a step that failed
# is shown. Logs stay in build/check/. Ends with "N passed, N failed".
#
# The program is built three times: as shipped, with gcc and with clang under the sanitizers. Unit
# and end-to-end tests run on both sanitized builds, side by side; the one of gcc also measures
# coverage.

set -u
cd "$(dirname "$0")/.." || exit 1

LOGS=build/check
COVERAGE_MIN=90
PYTHON=/usr/bin/python3
SANITIZE='-O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all'
export ASAN_OPTIONS=abort_on_error=1 UBSAN_OPTIONS=print_stacktrace=1

passed=0
failed=0

# Counts what the last line of the log $2 of step $1 says; without numbers the step is one test.
count() {
	local name=$1 log=$2 status=$3 last ok bad skipped
	last=$(tail -n 1 "$log")
	ok=$(grep -oE '[0-9]+ passed' <<< "$last" | cut -d ' ' -f 1)
	bad=$(grep -oE '[0-9]+ (failed|errors?)' <<< "$last" | cut -d ' ' -f 1 | paste -sd +)
	skipped=$(grep -oE '[0-9]+ skipped' <<< "$last")
	if [ "$status" = 0 ]; then
		ok=${ok:-1}
		bad=0
		printf 'ok    %-34s %5s passed%s\n' "$name" "$ok" "${skipped:+, $skipped}"
	else
		ok=${ok:-0}
		bad=$((${bad:-0}))
		[ "$bad" -gt 0 ] || bad=1
		printf 'FAIL  %-34s %5s passed, %s failed; see %s\n' "$name" "$ok" "$bad" "$log"
		tail -n 60 "$log"
	fi
	passed=$((passed + ok))
	failed=$((failed + bad))
}

# Where the output of the step $1 goes.
log_of() {
	echo "$LOGS/${1//[^a-zA-Z0-9]/-}.log"
}

# Runs a step: its name, then the command.
step() {
	local name=$1 log
	log=$(log_of "$1")
	shift
	"$@" > "$log" 2>&1 < /dev/null
	count "$name" "$log" $?
}

# Runs steps side by side: for each its name and a function.
steps() {
	local names=() pids=() i status
	while [ $# -gt 0 ]; do
		"$2" > "$(log_of "$1")" 2>&1 < /dev/null &
		pids+=($!)
		names+=("$1")
		shift 2
	done
	for i in "${!names[@]}"; do
		wait "${pids[i]}"
		status=$? # before another command, in the arguments too, has one
		count "${names[i]}" "$(log_of "${names[i]}")" $status
	done
}

# ---- builds ----

strict() {
	make --no-print-directory WARNINGS='-Wall -Wextra -Wpedantic -Werror -Wconversion -Wshadow -Wmissing-prototypes' "$@"
}

build_shipped() {
	strict -j2 all
}

build_gcc() {
	strict -j2 BUILD=build/gcc CC=gcc CFLAGS="$SANITIZE --coverage" HARDEN= all
}

build_clang() {
	strict -j2 BUILD=build/clang CC=clang CFLAGS="$SANITIZE" HARDEN= all
}

unit_gcc() {
	strict -j2 BUILD=build/gcc CC=gcc CFLAGS="$SANITIZE --coverage" HARDEN= check-unit
}

unit_clang() {
	strict -j2 BUILD=build/clang CC=clang CFLAGS="$SANITIZE" HARDEN= check-unit
}

hardened() {
	local file
	for file in build/sbin/maildrain build/lib/maildrain/{smtp,http}.so; do
		readelf -lW "$file" | grep -q GNU_RELRO || { echo "$file: no RELRO"; return 1; }
		readelf -dW "$file" | grep -q BIND_NOW || { echo "$file: no BIND_NOW"; return 1; }
		readelf -hW "$file" | grep -q 'DYN (' || { echo "$file: not position independent"; return 1; }
		readelf -sW "$file" | grep -q __stack_chk_fail || { echo "$file: no stack protector"; return 1; }
		readelf -sW "$file" | grep -q '__.*_chk@' || { echo "$file: not fortified"; return 1; }
	done
}

install_and_remove() {
	local root
	root=$(mktemp -d) || return 1
	make --no-print-directory DESTDIR="$root" PREFIX=/usr install || return 1
	echo "# mine" > "$root/etc/maildrain.conf"
	make --no-print-directory DESTDIR="$root" PREFIX=/usr install || return 1
	grep -q mine "$root/etc/maildrain.conf" || { echo "install overwrote the config"; return 1; }
	"$root/usr/sbin/maildrain" --version | grep -q '^libcurl/' || return 1
	make --no-print-directory DESTDIR="$root" PREFIX=/usr uninstall || return 1
	find "$root" -type f ! -path "$root/etc/maildrain.conf" | grep . && { echo "left behind"; return 1; }
	rm -rf "$root"
}

# ---- reading the source ----

formatted() {
	clang-format --dry-run -Werror src/*.c src/*.h tests/unit/*.c tests/unit/*.h tests/fuzz/*.c \
		tests/fuzz/*.h tests/bench/*.c
}

tidy() {
	# One file at a time: several at once confuse the va_list checker.
	printf '%s\n' src/*.c | xargs -P 2 -I{} clang-tidy --quiet {} -- -std=c11 -D_GNU_SOURCE \
		'-DMAILDRAIN_VERSION="0"' '-DMAILDRAIN_CONFIG="/c"' -Isrc
}

cppchecked() {
	cppcheck --quiet --std=c11 --error-exitcode=1 --inline-suppr -j 2 -D_GNU_SOURCE \
		-DMAILDRAIN_VERSION='"0"' -DMAILDRAIN_CONFIG='"/c"' --suppress=missingIncludeSystem \
		--enable=warning,performance,portability -Isrc src
}

shellchecked() {
	shellcheck .ci/run tests/*.sh tests/*/*.sh etc/debian/build.sh etc/debian/maildrain.p* \
		etc/completion/maildrain.bash
}

# All but what is said of this machine: which other pages it has, and its index of them.
man_pages() {
	local said
	said=$(mandoc -T lint src/*.[578] 2>&1 | grep -vE 'referenced manual not found|outdated mandoc.db')
	echo "$said"
	[ -z "$said" ]
}

# ---- end to end ----

e2e() {
	MAILDRAIN=$PWD/$1/sbin/maildrain MAILDRAIN_PLAIN=$PWD/build/sbin/maildrain \
		ADDRESSES_PROGRAM=$PWD/$1/unit/addresses PYTHONDONTWRITEBYTECODE=1 \
		$PYTHON -m pytest -q -p no:cacheprovider "${@:2}"
}

# What says the same of each build is tried on one of them.
CLANG_ONLY=(tests/e2e/test_{lab,bench,alert_rules,log_table,completion,systemd,systemd_boot}.py
	tests/e2e/test_{lmtp,pace,lanes}.py)
GCC_ONLY=(tests/e2e/test_{http_post,http_ses,http_apis,http_faults,http2,oauth,secrets,dkim}.py
	tests/e2e/test_{command,maildir,staging,examples,route_verify,tls}.py)

# Runs every second file of tests/e2e and tests/unit on build $1, from number $2 on, but for those
# that follow. More than two at a time, as they wait more than they compute.
half() {
	local build=$1 number=$2 files=() file
	shift 2
	for file in tests/e2e/test_*.py tests/unit/test_*.py; do
		[[ " $* " == *" $file "* ]] || files+=("$file")
	done
	mapfile -t files < <(printf '%s\n' "${files[@]}" | sed -n "$((number + 1))~2p")
	e2e "$build" "${files[@]}"
}

e2e_gcc_1() { half build/gcc 0 "${CLANG_ONLY[@]}"; }
e2e_gcc_2() { half build/gcc 1 "${CLANG_ONLY[@]}"; }
e2e_clang_1() { half build/clang 0 "${GCC_ONLY[@]}"; }
e2e_clang_2() { half build/clang 1 "${GCC_ONLY[@]}"; }

django() {
	PYTHONPATH=src/django e2e build/gcc tests/django
}

fuzzed() {
	FUZZ_SEED=1 tests/fuzz/run.sh 3
}

faults() {
	MAILDRAIN=$PWD/build/sbin/maildrain MAILDRAIN_SANITIZED=$PWD/build/clang/sbin/maildrain \
		PYTHONPATH=tests PYTHONDONTWRITEBYTECODE=1 \
		$PYTHON -m faults --short
}

# Counted, not timed, so the load of the machine does not matter.
instructions() {
	MAILDRAIN=$PWD/build/sbin/maildrain PYTHONPATH=tests PYTHONDONTWRITEBYTECODE=1 \
		$PYTHON -m bench instructions
}

# Built and installed as far as this machine allows: tests/package.sh does it for other releases.
package() {
	etc/debian/build.sh && PYTHONDONTWRITEBYTECODE=1 MAILDRAIN=$PWD/build/sbin/maildrain \
		$PYTHON -m pytest -q -p no:cacheprovider tests/package
}

demo() {
	$PYTHON tests/demo/demo.py build/sbin/maildrain
}

coverage() {
	local report total
	report=$(gcovr --root . --filter 'src/' --object-directory build/gcc/obj build/gcc/obj \
		2> "$LOGS/gcovr.log") || { cat "$LOGS/gcovr.log"; return 1; }
	echo "$report"
	total=$(awk '/^TOTAL/ { sub("%", "", $NF); print $4 + 0 }' <<< "$report")
	[ "${total%.*}" -ge "$COVERAGE_MIN" ]
}

rm -rf "$LOGS"
mkdir -p "$LOGS"
find build/gcc -name '*.gcda' -delete 2> /dev/null

step "build, as shipped" build_shipped
step "build, gcc with sanitizers" build_gcc
step "build, clang with sanitizers" build_clang
step "hardening flags are in effect" hardened
step "install and uninstall" install_and_remove
steps "clang-format" formatted "shellcheck" shellchecked
steps "clang-tidy" tidy "cppcheck" cppchecked
step "mandoc" man_pages
steps "unit tests, gcc" unit_gcc "unit tests, clang" unit_clang
# Tests that run as another user leave their counts too.
chmod -R a+rwX build/gcc/obj
steps "end to end, gcc, 1" e2e_gcc_1 "end to end, gcc, 2" e2e_gcc_2 \
	"end to end, clang, 1" e2e_clang_1 "end to end, clang, 2" e2e_clang_2
steps "Django" django "fuzzers, 3 seconds each" fuzzed "Debian packages" package \
	"fault campaign, short form" faults
step "instructions per message" instructions
step "demo" demo
step "line coverage of src/ at least $COVERAGE_MIN %" coverage
grep -h '^TOTAL' "$LOGS"/line-coverage*.log

echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
