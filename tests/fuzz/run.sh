#!/bin/bash
# Fuzzes the pure modules: run.sh [SECONDS_PER_TARGET] [TARGET…], by default 60 s for each target.
#
# Each file.c beside this one is a target. It is built with clang's libFuzzer, AddressSanitizer and
# UndefinedBehaviorSanitizer into $BUILD/fuzz ($BUILD is build by default), and starts from the
# inputs in corpus/TARGET, which hold every input that has once found a bug. What a run finds stays
# in $BUILD/fuzz/corpus; an input that breaks a target in $BUILD/fuzz/TARGET-crash-*: give it a
# name and put it into corpus/TARGET together with the fix. FUZZ_SEED other than 0 makes the inputs
# the same each time, as far as time allows. Ends with "N passed, N failed".

set -u
cd "$(dirname "$0")/../.." || exit 1

HERE=tests/fuzz
OUT=${BUILD:-build}/fuzz
JOBS=2
MEMORY_MB=1024
CLANG=${CLANG:-clang}
SANITIZE='-fsanitize=address,undefined -fno-sanitize-recover=all'
CFLAGS="-O1 -g -fno-omit-frame-pointer $SANITIZE"
STRICT='-Wall -Wextra -Wpedantic -Werror -Wconversion -Wshadow -Wmissing-prototypes'
export ASAN_OPTIONS=quarantine_size_mb=16:detect_leaks=1 UBSAN_OPTIONS=print_stacktrace=1

seconds=60
case ${1:-} in
*[!0-9]*) ;;
?*)
	seconds=$1
	shift
	;;
esac
if [ $# = 0 ]; then
	set -- "$HERE"/*.c
	set -- "${@#"$HERE/"}"
	set -- "${@%.c}"
fi

# The library once, with the counters of the fuzzer in it, by the rules of the Makefile.
build_library() {
	make --no-print-directory -s -j "$JOBS" BUILD="$OUT" CC="$CLANG" HARDEN= \
		CFLAGS="$CFLAGS -fsanitize=fuzzer-no-link" "$OUT/obj/libmaildrain.a"
}

build_target() {
	# shellcheck disable=SC2046,SC2086 # lists of options
	"$CLANG" -std=c11 -D_GNU_SOURCE -Isrc -I"$HERE" $STRICT $CFLAGS -fsanitize=fuzzer \
		-o "$OUT/$1" "$HERE/$1.c" "$OUT/obj/libmaildrain.a" $(pkg-config --libs libconfuse jansson)
}

# The number that libFuzzer gives for $1 at the end of the log $2.
figure() {
	sed -n "s/^stat::$1: *//p" "$2" | tail -n 1
}

# What the fuzzer has covered at last: "cov: 123 ft: 456" of the log $1.
covered() {
	grep -oE 'cov: [0-9]+ ft: [0-9]+' "$1" | tail -n 1 | awk '{ print $2 " edges, " $4 " features" }'
}

# Builds and runs one target; its line, and what it said when it failed.
run_target() {
	local target=$1 log=$OUT/$1.log status runs
	mkdir -p "$OUT/corpus/$target"
	if ! build_target "$target" > "$log" 2>&1; then
		echo "FAIL $target (does not build)"
		cat "$log"
		return
	fi
	# No input takes a second, but a machine may stand still for ten.
	timeout -k 5 $((seconds * 2 + 120)) "$OUT/$target" -max_total_time="$seconds" -timeout=60 \
		-rss_limit_mb="$MEMORY_MB" -max_len=4096 -len_control=20 -reload=0 -verbosity=1 \
		-print_final_stats=1 -seed="${FUZZ_SEED:-0}" -artifact_prefix="$OUT/$target-" \
		"$OUT/corpus/$target" "$HERE/corpus/$target" > "$log" 2>&1 < /dev/null
	status=$?
	runs=$(figure number_of_executed_units "$log")
	if [ "$status" = 0 ] && [ "${runs:-0}" -gt 0 ]; then
		echo "ok   $target: $runs executions, $(covered "$log")"
	else
		echo "FAIL $target (exit status $status, ${runs:-no} executions), see $log"
		grep -v '^#[0-9]' "$log" | tail -n 60
	fi
}

mkdir -p "$OUT"
if ! build_library > "$OUT/library.log" 2>&1; then
	cat "$OUT/library.log"
	echo "0 passed, 1 failed"
	exit 1
fi

results=$OUT/results
: > "$results"
for target in "$@"; do
	while [ "$(jobs -rp | wc -l)" -ge "$JOBS" ]; do
		wait -n
	done
	{ run_target "$target" > "$OUT/$target.result"; cat "$OUT/$target.result"; } &
done
wait
for target in "$@"; do
	cat "$OUT/$target.result" >> "$results"
done
passed=$(grep -c '^ok ' "$results")
failed=$(($# - passed))
echo "$passed passed, $failed failed"
[ "$failed" = 0 ] && [ "$passed" -gt 0 ]
