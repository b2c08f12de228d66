#!/usr/bin/env bash
# Installs what the tests need from Debian: redis-server, the Redis that stands beside Valkey, the proxies in front of two
# nodes, nginx and HAProxy, and what the guides follow a channel with, curl and jq. What is there already is left as it
# is. The tests start servers of their own, so no service is started, now or at the next boot.
set -euo pipefail

fail() {
    echo "make test: $*" >&2
    exit 1
}

packages=()
services=()
PATH="$PATH:/usr/sbin:/sbin" # where Debian has proxies
command -v redis-server >/dev/null || { packages+=(redis-server) && services+=(redis-server); }
command -v nginx >/dev/null || { packages+=(nginx) && services+=(nginx); }
command -v haproxy >/dev/null || { packages+=(haproxy) && services+=(haproxy); }
command -v curl >/dev/null || packages+=(curl)
command -v jq >/dev/null || packages+=(jq)
[ "${#packages[@]}" -gt 0 ] || exit 0

needed="the tests run Redis 7, nginx, HAProxy, curl and jq (on Debian and Ubuntu: apt install ${packages[*]})"
command -v apt-get >/dev/null || fail "$needed"
[ "$(id -u)" = 0 ] || fail "$needed"

# Debian starts a service as it installs it, unless this file says no; one that is there already has its reasons.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod +x "$policy"
fi
echo "Installing ${packages[*]}"
export DEBIAN_FRONTEND=noninteractive
apt-get --quiet --quiet update || fail "apt-get cannot renew its lists; $needed"
apt-get --quiet --quiet install --yes --no-install-recommends "${packages[@]}" >/dev/null || fail "$needed"
if [ "${#services[@]}" -gt 0 ] && command -v systemctl >/dev/null; then
    systemctl --quiet disable --now "${services[@]}" 2>/dev/null || true  # no systemd runs in a container
fi
for package in "${packages[@]}"; do dpkg-query --show "$package"; done
