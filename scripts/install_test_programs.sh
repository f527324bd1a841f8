#!/bin/sh
# Installs what some tests need beside Python: a browser, Node.js and one package of it. What cannot be installed here is
# named with its remedy; the tests that need it are then left out, or fail in an integration run (CI set).
set -u
cd "$(dirname "$0")/.."

found() { command -v "$1" >/dev/null 2>&1; }
say() { printf '%s\n' "$*" >&2; }

missing=
found chromium || found chromium-browser || found google-chrome || found google-chrome-stable || missing="$missing chromium"
{ found node && found npm; } || missing="$missing nodejs npm"
if [ -n "$missing" ] && found apt-get && [ "$(id -u)" = 0 ]; then
    say "tests: installing$missing (once)"
    # shellcheck disable=SC2086  # several packages
    { apt-get update -q && apt-get install -y -q --no-install-recommends $missing; } >/dev/null 2>&1 && missing=
fi
if [ -n "$missing" ]; then
    say "tests: not found on PATH:$missing. The tests that need them are left out."
    say "  fix: Debian and Ubuntu: sudo apt-get install$missing; macOS: brew install --cask chromium; brew install node"
fi

packages=.venv/share/darkbloom-js
if found npm && [ ! -d "$packages/node_modules/tweetnacl" ]; then
    mkdir -p "$packages"
    npm install --prefix "$packages" --no-audit --no-fund --ignore-scripts tweetnacl@1.0.3 >.venv/npm.log 2>&1 \
        || say "tests: npm could not install tweetnacl, so the JavaScript test will fail; see .venv/npm.log"
fi
exit 0
