#!/usr/bin/env bash
# Puts promtool, which checks the alert rules, into ${FORBEAR_CACHE:-~/.cache/forbear}/tools/bin where there is none.
#
# Debian has it in the package of the Prometheus server, whose installation starts a server on every address of the machine:
# so the package is unpacked, not installed. Needs no root.
set -euo pipefail

tools=${FORBEAR_CACHE:-$HOME/.cache/forbear}/tools/bin
if command -v promtool >/dev/null || [ -x "$tools/promtool" ]; then
    exit 0
fi
if ! command -v apt-get >/dev/null; then
    echo "promtool is not here; the alert rules will not be checked with it." >&2
    exit 1
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
if ! apt-get download -q prometheus >/dev/null 2>"$work/error"; then
    echo "promtool is not here, and apt cannot fetch it ($(head -n 1 "$work/error")); the alert rules will not be checked with it." >&2
    exit 1
fi
dpkg-deb -x prometheus_*.deb unpacked
mkdir -p "$tools"
install -m 0755 unpacked/usr/bin/promtool "$tools/promtool"
echo "promtool is in $tools"
