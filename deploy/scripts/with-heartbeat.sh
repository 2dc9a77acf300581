#!/usr/bin/env bash
# Runs a command, and says every 30 seconds that it still moves: `with-heartbeat.sh cargo build`.
#
# The first build compiles RocksDB inside one build script, which prints nothing for a quarter of an hour.
set -uo pipefail

target=${CARGO_TARGET_DIR:-target}
started=$(mktemp)
trap 'rm -f "$started"' EXIT

beat() {
    local objects
    # The sleep holds nobody's pipe open when it outlives this script.
    while sleep "${FORBEAR_HEARTBEAT_SECONDS:-30}" </dev/null >/dev/null 2>&1; do
        objects=$(find "$target" -path '*/librocksdb-sys-*/out/*' -name '*.o' -newer "$started" 2>/dev/null | wc -l)
        # On a terminal cargo's bar is on this line.
        [ ! -t 2 ] || printf '\r\033[K' >&2
        printf '... %d min %02d s' $((SECONDS / 60)) $((SECONDS % 60)) >&2
        [ "$objects" -eq 0 ] || printf ', RocksDB: %d of about 350 files compiled' "$objects" >&2
        printf '\n' >&2
    done
}

beat &
ticker=$!
"$@"
status=$?
kill "$ticker" 2>/dev/null
wait "$ticker" 2>/dev/null
exit "$status"
