#!/bin/sh
# Makes .venv with everything that run, test, lint and bench need; does nothing when it is up to date.
set -eu
cd "$(dirname "$0")/.."

python=$(sh scripts/find_python.sh)
venv=.venv
stamp=$venv/.setup-stamp

# What the environment was made from: interpreter, ranges, exact versions, C sources.
wanted=$({
    "$python" -c 'import sys, platform; print(sys.executable, sys.version, platform.machine())'
    command -v cc gcc clang 2>/dev/null || true
    pwd
    cat pyproject.toml constraints.txt scripts/install_packages.sh setup.py native/build.py native/src/* 2>/dev/null
} | "$python" -c 'import hashlib, sys; print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest())')

if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ]; then
    exit 0
fi

say() { printf '%s\n' "$*" >&2; }

if [ ! -x "$venv/bin/python" ] || ! "$venv/bin/python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    say "setup: making $venv with $python"
    rm -rf "$venv"
    "$python" -m venv "$venv"
fi
rm -f "$stamp"
log=$venv/setup.log
say "setup: installing dependencies and building the C extension (once; details in $log)"
if ! sh scripts/install_packages.sh "$venv/bin/python" >"$log" 2>&1; then
    tail -n 25 "$log" >&2
    say "error: the installation failed; the lines above are the end of $log."
    say "  fix: check the network connection and free disk space, then run the same command again."
    exit 1
fi
"$venv/bin/python" -c '
import native, sys
note = "C extension" if native.IMPLEMENTATION == "c" else f"pure-Python twin, slower ({native.WHY})"
print(f"setup: done; hot path: {note}", file=sys.stderr)'
printf '%s' "$wanted" >"$stamp"
