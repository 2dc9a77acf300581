#!/usr/bin/env bash
# Everything that `make test` runs: system packages, the broker, the build, every test.
#
# FORBEAR_REQUIRE_BROKER=1 makes a missing broker a failure (CI does). Without it the run goes on, says so in its first lines
# and again in its last.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

broker=yes
deploy/scripts/system-packages.sh build || exit 1
deploy/scripts/system-packages.sh test && deploy/scripts/kafka-provision.sh || broker=no
if [ "$broker" = no ]; then
    echo "NO KAFKA BROKER: the tests that need one will be skipped." >&2
    case ${FORBEAR_REQUIRE_BROKER:-} in '' | 0) ;; *) exit 1 ;; esac
fi
# Only the alert rules are checked with it.
export PATH=${FORBEAR_CACHE:-$HOME/.cache/forbear}/tools/bin:$PATH
deploy/scripts/promtool-provision.sh || true

deploy/scripts/first-build.sh
deploy/scripts/with-heartbeat.sh cargo test --locked --no-run || exit 1
# The examples in the documentation, then all others; every binary runs even where one fails.
cargo test --locked --no-fail-fast
status=$?

if [ "$broker" = no ]; then
    echo "NO KAFKA BROKER: the tests that need one were SKIPPED." >&2
fi
exit "$status"
