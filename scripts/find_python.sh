#!/bin/sh
# Prints the first interpreter that is Python 3.11 or newer and has venv; says what is missing otherwise.
for candidate in ${PYTHON:-} python3 python3.13 python3.12 python3.11 python3.14 python; do
    if "$candidate" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then
        "$candidate" -c 'import sys; print(sys.executable)'
        exit 0
    fi
done
echo "error: Python 3.11 or newer with the venv module is needed, and none was found on PATH." >&2
echo "  fix: install it (Debian and Ubuntu: apt-get install python3 python3-venv; macOS: brew install python@3.12)," >&2
echo "       or name one: make PYTHON=/path/to/python3.12" >&2
exit 1
