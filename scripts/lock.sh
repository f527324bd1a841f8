#!/bin/sh
# Rewrites constraints.txt from a fresh resolution of the ranges in pyproject.toml.
set -eu
cd "$(dirname "$0")/.."
python=$(sh scripts/find_python.sh)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$python" -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet '.[provider,test,bench]' uv
{
    echo "# Exact versions that make uses. Regenerate with scripts/lock.sh after changing ranges in pyproject.toml."
    "$work/venv/bin/python" -m pip freeze --exclude darkbloom
} >constraints.txt
