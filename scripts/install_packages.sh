#!/bin/sh
# Installs this project and all it needs, in exact versions. uv does it in a tenth of pip's time; pip does it where
# somebody has told pip of an index or a proxy of their own, which uv would not know, and where uv cannot.
# Nothing is compiled to bytecode here: most of these modules are never imported, the others once.
# usage: install_packages.sh PYTHON
set -eu
cd "$(dirname "$0")/.."
python=$1
# The folder itself on the path, not a finder that every start of the interpreter would import, 13 ms.
set -- --config-settings editable_mode=compat -c constraints.txt -e '.[provider,test,bench]'

pip() { "$python" -m pip --disable-pip-version-check --no-input "$@"; }

# Whether pip works with no settings that uv lacks.
plain() { ! pip config list | grep -E 'index-url|no-index|proxy|client-cert' >/dev/null; } # it may hold a password

# Certificates are those of the system, where a company's own stand too.
if plain \
        && pip install --progress-bar off --no-compile --only-binary :all: -c constraints.txt uv \
        && "$python" -m uv pip install --system-certs --no-progress --python "$python" "$@"; then
    exit 0
fi
pip install --progress-bar off --no-compile "$@"
