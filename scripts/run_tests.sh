#!/bin/sh
# All tests of `make test`: unit, property and crash tests on all cores, then the end-to-end scenarios. Both run, whatever
# the first says. With DARKBLOOM_TEST_AGAIN=1 the failed ones run once more, alone: on a busy machine that tells a missed
# deadline from a defect. The first result stays in the output either way.
set -u
python=$1
failed=0

# run NAME "PATHS" OPTION…
run() {
    cache=".pytest_cache/$1"
    paths=$2
    shift 2
    # shellcheck disable=SC2086  # several paths
    "$python" -m pytest -o cache_dir="$cache" $paths "$@" && return
    if [ "${DARKBLOOM_TEST_AGAIN:-}" = 1 ]; then
        echo "tests: once more those of $paths that failed, one after the other"
        # shellcheck disable=SC2086
        "$python" -m pytest -o cache_dir="$cache" --last-failed --last-failed-no-failures none $paths && return
    fi
    failed=1
}

run unit "tests/unit tests/crash" -n auto --dist loadfile
# Scenarios mostly wait; two at a time keep their deadlines on two cores. One restarts its provider dozens of times and
# wants the machine for itself.
alone=tests/e2e/test_canary_provider.py
run e2e "tests/e2e" -n 2 --dist loadfile --ignore "$alone"
run canary "$alone"
exit "$failed"
