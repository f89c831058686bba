#!/bin/bash
# Runs every unit test in the folder $1; prints a line for each, and the whole output of one that
# failed. Ends with "N passed, N failed".

set -u

passed=0
failed=0
for test in "$1"/test_*; do
	[ -x "$test" ] || continue
	output=$("$test" 2>&1)
	status=$?
	n=$(sed -n 's/^\[  PASSED  \] \([0-9]*\) test.*/\1/p' <<< "$output" | head -n 1)
	passed=$((passed + ${n:-0}))
	if [ "$status" = 0 ] && [ -n "$n" ]; then
		echo "ok   $(basename "$test") ($n)"
	else
		n=$(sed -n 's/^\[  FAILED  \] \([0-9]*\) test.*/\1/p' <<< "$output" | head -n 1)
		failed=$((failed + ${n:-1}))
		echo "FAIL $(basename "$test") (exit status $status)"
		printf '%s\n' "$output"
	fi
done
echo "$passed passed, $failed failed"
[ "$failed" = 0 ] && [ "$passed" -gt 0 ]
