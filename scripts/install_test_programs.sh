#!/bin/sh
# Installs what some tests need beside Python: a browser, Node.js and one package of it, nginx and Caddy. What cannot be
# installed here is named with its remedy; the tests that need it are then left out, or fail in an integration run (CI set).
set -u
cd "$(dirname "$0")/.."
PATH=$PATH:/usr/sbin # where Debian puts servers, on the PATH of root alone

found() { command -v "$1" >/dev/null 2>&1; }
say() { printf '%s\n' "$*" >&2; }

# The names are those of tests/testbed/browser.py.
browser_found() {
    for name in chromium chromium-browser google-chrome google-chrome-stable \
            "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"; do
        found "$name" && return
    done
    return 1
}

missing=
browser_found || missing="$missing chromium"
{ found node && found npm; } || missing="$missing nodejs npm"
servers=
found nginx || servers="$servers nginx"
found caddy || servers="$servers caddy"
# Where systemd runs, a package of a server starts it at once and at every boot: there its owner decides.
[ -d /run/systemd/system ] || { missing="$missing$servers" && servers=; }
if [ -n "$missing" ] && found apt-get && [ "$(id -u)" = 0 ]; then
    say "tests: installing$missing (once)"
    apt-get update -q >/dev/null 2>&1
    left=
    for package in $missing; do
        apt-get install -y -q --no-install-recommends "$package" >/dev/null 2>&1 || left="$left $package"
    done
    missing=$left
fi
missing="$missing$servers"
if [ -n "$missing" ]; then
    say "tests: not found on PATH:$missing. The tests that need them are left out."
    say "  fix: Debian and Ubuntu: sudo apt-get install$missing; macOS: brew install --cask google-chrome; brew install node nginx caddy"
fi

packages=.venv/share/darkbloom-js
if found npm && [ ! -d "$packages/node_modules/tweetnacl" ]; then
    mkdir -p "$packages"
    npm install --prefix "$packages" --no-audit --no-fund --ignore-scripts tweetnacl@1.0.3 >.venv/npm.log 2>&1 \
        || say "tests: npm could not install tweetnacl, so the JavaScript test will fail; see .venv/npm.log"
fi
exit 0
