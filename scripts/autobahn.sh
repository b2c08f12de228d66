#!/usr/bin/env bash
# Installs the Autobahn suite into a folder: autobahn.sh FOLDER. PYTHON2 names the Python 2.7 that will run it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
python=${PYTHON2:-python2.7}

fail() {
    echo "make autobahn: $*" >&2
    exit 1
}

"$python" -c 'import sys; sys.exit(sys.version_info[:2] != (2, 7))' 2>/dev/null ||
    fail "the suite needs a Python 2.7, and $python is none; name one with make autobahn PYTHON2=/path/to/python2.7"
"$python" -m pip --version >/dev/null 2>&1 ||
    fail "$python has no pip; its own module ensurepip installs one: $python -m ensurepip --user"

echo "Installing the Autobahn suite for $("$python" --version 2>&1)"
# Emptied first, and without what the list does not name: what is there is what was pinned.
rm -rf "$1"
"$python" -W ignore -m pip --disable-pip-version-check install --quiet --no-deps --require-hashes \
    --target "$1" --requirement requirements/autobahn.txt
