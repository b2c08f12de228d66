#!/usr/bin/env bash
# Makes an environment anew with locked packages: venv.sh FOLDER LOCK. PYTHON names the interpreter to make it with
# (default: python3).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
python=${PYTHON:-python3} folder=$1 lock=$2

fail() {
    echo "make: $*" >&2
    exit 1
}

command -v "$python" >/dev/null || fail "no $python here; Openline needs Python 3.11 or newer (make PYTHON=/path/to/python names another)"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    fail "Openline needs Python 3.11 or newer, and $python is $("$python" --version 2>&1); name another with make PYTHON=python3.12"

echo "Preparing $folder with $("$python" --version)"
# Emptied first: a package that left the lock must leave the environment too.
"$python" -m venv --clear "$folder" || fail "$python cannot make a virtual environment (on Debian and Ubuntu: apt install python3-venv)"
"$folder/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes --requirement "$lock"
