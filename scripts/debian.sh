#!/usr/bin/env bash
# Installs what the tests need from Debian: redis-server, the Redis that stands beside Valkey. A Redis that is there
# already is left as it is. The tests start servers of their own, so no service is started, now or at the next boot.
set -euo pipefail

fail() {
    echo "make test: $*" >&2
    exit 1
}

! command -v redis-server >/dev/null || exit 0
needed="no redis-server here; the tests run against Redis 7 (on Debian and Ubuntu: apt install redis-server)"
command -v apt-get >/dev/null || fail "$needed"
[ "$(id -u)" = 0 ] || fail "$needed"

# Debian starts a service as it installs it, unless this file says no; one that is there already has its reasons.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod +x "$policy"
fi
echo "Installing redis-server"
export DEBIAN_FRONTEND=noninteractive
apt-get --quiet --quiet update || fail "apt-get cannot renew its lists; $needed"
apt-get --quiet --quiet install --yes --no-install-recommends redis-server >/dev/null || fail "$needed"
if command -v systemctl >/dev/null; then
    systemctl --quiet disable --now redis-server 2>/dev/null || true  # no systemd runs in a container
fi
redis-server --version
