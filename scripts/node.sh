#!/usr/bin/env bash
# Installs the locked packages of web/, after a look at the Node that will run them.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../web"

fail() {
    echo "make web: $*" >&2
    exit 1
}

command -v node >/dev/null || fail "no node here; the pages are built with Node 20 or newer"
command -v npm >/dev/null || fail "no npm here; it comes with Node 20 or newer"
node -e 'process.exit(parseInt(process.versions.node) < 20 ? 1 : 0)' ||
    fail "the pages are built with Node 20 or newer, and node is $(node --version)"

echo "Installing the packages of web/ with Node $(node --version)"
npm ci --no-audit --no-fund --loglevel=error
