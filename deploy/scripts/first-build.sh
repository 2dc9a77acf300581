#!/usr/bin/env bash
# Says how long the build will take, where it is the first.
if ! compgen -G "${CARGO_TARGET_DIR:-target}/debug/build/librocksdb-sys-*/out/librocksdb.a" >/dev/null; then
    echo "First build: RocksDB is compiled from source. About 20 minutes on 2 cores, 6 on 8; afterwards it is never compiled again."
fi
