#!/usr/bin/env bash
# `make fuzz`: every target of tests/fuzz, one after the other, and a line on each: inputs, seconds, coverage, crashes.
#
# RUNS=10000000      inputs for each target
# SECONDS_EACH=0     end a target after so many seconds all the same (0: never)
# TARGETS="intent …" which ones
# SANITIZER=none     or `address`: slower, and the code under test has no `unsafe`
#
# Needs the nightly compiler and cargo-fuzz, and says how to get them. What is found new goes to a working copy of the corpus in
# the target directory; the seeds in tests/fuzz/corpus stay as they are. A crash lies in tests/fuzz/crashes/<target>, where
# `cargo test --test fuzz_corpus` finds it from then on.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

RUNS=${RUNS:-10000000}
SECONDS_EACH=${SECONDS_EACH:-0}
TARGETS=${TARGETS:-intent event policy state settings}
SANITIZER=${SANITIZER:-none}
export PATH=${FORBEAR_CACHE:-$HOME/.cache/forbear}/tools/bin:$PATH
fuzz=tests/fuzz

missing=
rustup toolchain list 2>/dev/null | grep -q '^nightly' || missing+=$'  rustup toolchain install nightly --profile minimal\n'
cargo fuzz --version >/dev/null 2>&1 || missing+=$'  cargo install cargo-fuzz --locked\n'
if [ -n "$missing" ]; then
    printf 'Fuzzing needs more than the tests do. Please run:\n%s' "$missing" >&2
    exit 1
fi

target=${CARGO_TARGET_DIR:-target}
# The RocksDB that the tests have compiled is linked, so that it is not compiled again (its code is not what is fuzzed).
for built in "$target"/debug/build/librocksdb-sys-*/out; do
    if [ -f "$built/librocksdb.a" ]; then
        ROCKSDB_LIB_DIR=$(realpath "$built")
        export ROCKSDB_LIB_DIR ROCKSDB_STATIC=1
    fi
done
mkdir -p "$target/fuzz"
target=$(realpath "$target/fuzz")
export CARGO_TARGET_DIR=$target

echo "building the fuzz targets (minutes the first time)"
cargo +nightly fuzz build --fuzz-dir "$fuzz" --sanitizer "$SANITIZER" || exit 1
binaries=$(dirname "$(find "$target" -path '*/release/intent' -type f | head -n 1)")

status=0
for name in $TARGETS; do
    case $name in
    policy) longest=512 dictionary=policy ;;
    settings) longest=256 dictionary=settings ;;
    state) longest=1024 dictionary= ;;
    *) longest=512 dictionary=records ;;
    esac
    working=$target/corpus/$name
    log=$target/$name.log
    mkdir -p "$working" "$fuzz/crashes/$name"
    arguments=(-runs="$RUNS" -max_total_time="$SECONDS_EACH" -seed="${SEED:-1}" -max_len="$longest" -timeout=20 -rss_limit_mb=4096
        -print_final_stats=1 -artifact_prefix="$fuzz/crashes/$name/")
    [ -n "$dictionary" ] && arguments+=(-dict="$fuzz/dictionaries/$dictionary")
    before=$(date +%s)
    nice -n 10 "$binaries/$name" "${arguments[@]}" "$working" "$fuzz/corpus/$name" >"$log" 2>&1
    code=$?
    seconds=$(($(date +%s) - before))
    inputs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    coverage=$(grep -o 'cov: [0-9]*' "$log" | tail -n 1)
    crashes=$(find "$fuzz/crashes/$name" -type f | wc -l)
    echo "$name: ${inputs:-?} inputs in $seconds s, ${coverage:-cov: ?}, $crashes crashes (log: $log)"
    [ "$code" = 0 ] && [ "$crashes" = 0 ] || status=1
done
find "$fuzz/crashes" -type d -empty -delete
exit "$status"
