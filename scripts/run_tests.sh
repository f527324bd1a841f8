#!/bin/sh
# All tests of `make test`: unit, property and crash tests on all cores, while the programs that scenarios need are
# installed, then the end-to-end scenarios. All parts run, whatever the first says. `full` runs everything at its nightly
# length, and once more with the pure-Python twin.
# With DARKBLOOM_TEST_AGAIN=1 the failed ones run once more, alone: on a busy machine that tells a missed deadline from a
# defect. The first result stays in the output either way.
# usage: run_tests.sh PYTHON [full]
set -u
python=$1
length=${2:-ordinary}
failed=0
export PATH="$PATH:/usr/sbin" # nginx, where Debian puts it
unset PYTHONDONTWRITEBYTECODE # what both worker processes import is compiled once

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

# run_all NAME
run_all() {
    # Files begin in the order of collection where the longest come first: scenarios, and everything at nightly length.
    order=$([ "$1" = full ] && echo --no-loadscope-reorder || echo --loadscope-reorder)
    run "$1-unit" "tests/unit tests/crash" -n auto --dist loadfile "$order"
    wait # for the programs
    cat "$programs" >&2 && : >"$programs"
    # Scenarios wait for a third of their time; three at a time keep their deadlines on two cores.
    run "$1-e2e" tests/e2e -n 3 --dist loadfile --no-loadscope-reorder
}

# They go on where Ctrl-C ends the tests: a package manager is not to be stopped half-way.
programs=.venv/test-programs.log
sh scripts/install_test_programs.sh >"$programs" 2>&1 &
if [ "$length" = full ]; then
    export HYPOTHESIS_PROFILE=nightly DARKBLOOM_TEST_FULL=1
    run_all full
    unset HYPOTHESIS_PROFILE DARKBLOOM_TEST_FULL
    export DARKBLOOM_NATIVE=0
    run_all twin
else
    run_all ordinary
fi
exit "$failed"
