#!/usr/bin/env bash
# Installs the locked packages of a folder, after a look at the Node that will run them: node.sh FOLDER.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../$1"

fail() {
    echo "make: $*" >&2
    exit 1
}

command -v node >/dev/null || fail "no node here; $1 needs Node 20 or newer"
command -v npm >/dev/null || fail "no npm here; it comes with Node 20 or newer"
node -e 'process.exit(parseInt(process.versions.node) < 20 ? 1 : 0)' ||
    fail "$1 needs Node 20 or newer, and node is $(node --version)"

echo "Installing the packages of $1 with Node $(node --version)"
npm ci --no-audit --no-fund --loglevel=error
