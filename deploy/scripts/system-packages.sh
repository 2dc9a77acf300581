#!/usr/bin/env bash
# Sees to the system packages that a build or a test run needs.
#
#   system-packages.sh build         compilers and headers for RocksDB, librdkafka and OpenSSL
#   system-packages.sh build test    also Java and Maven, which run and fetch the broker of the tests
#   system-packages.sh bench         a Java compiler and Maven, for the peer on Kafka Streams
#
# Fast and silent where everything is there. Otherwise it installs through apt as root or with a sudo that asks for no
# password, or prints the line to run and exits 1.
set -euo pipefail

# Each need is asked for by what it gives, not by a package's name: a compiler from elsewhere is as good.
has_libclang() { # the library, and the headers that belong to it
    [ -n "${LIBCLANG_PATH:-}" ] && return 0
    compgen -G '/usr/lib/llvm-*/lib/libclang*.so*' >/dev/null && compgen -G '/usr/lib/llvm-*/lib/clang/*/include/stdbool.h' >/dev/null && return 0
    compgen -G '/usr/lib*/libclang.so*' >/dev/null && compgen -G '/usr/lib*/clang/*/include/stdbool.h' >/dev/null
}
has_java() { # Kafka 4 needs 17
    local version
    version=$(java -version 2>&1 | sed -n 's/.*version "\([0-9]*\).*/\1/p' | head -n 1) || return 1
    [ -n "$version" ] && [ "$version" -ge 17 ]
}
has_header() { [ -e "/usr/include/$1" ] || compgen -G "/usr/include/*-linux-gnu/$1" >/dev/null; }

missing=()
need() { # need PACKAGE COMMAND...: the package is wanted where the command fails
    local package=$1
    shift
    "$@" >/dev/null 2>&1 || missing+=("$package")
}

[ $# -gt 0 ] || set -- build
for set in "$@"; do
    case $set in
    build)
        need gcc command -v cc
        need g++ command -v c++
        need make command -v make
        need libc6-dev has_header stdio.h
        need pkg-config command -v pkg-config
        need libssl-dev has_header openssl/ssl.h
        need libclang-dev has_libclang
        need ca-certificates test -e /etc/ssl/certs/ca-certificates.crt
        ;;
    test)
        need java has_java
        # Maven fetches the broker once; with its jars in the cache nobody needs it.
        [ -d "${FORBEAR_CACHE:-$HOME/.cache/forbear}/kafka/4.3.1/libs" ] || need maven command -v mvn
        ;;
    bench)
        need default-jdk-headless command -v javac
        [ -d "${FORBEAR_CACHE:-$HOME/.cache/forbear}/streams-4.3.1" ] || need maven command -v mvn
        ;;
    *)
        echo "system-packages.sh: unknown set '$set' (build, test, bench)" >&2
        exit 2
        ;;
    esac
done
[ ${#missing[@]} -gt 0 ] || exit 0

if ! command -v apt-get >/dev/null; then
    echo "Missing: ${missing[*]} (names of Debian's packages; java: 17 or newer). Install them with this system's package manager." >&2
    exit 1
fi

as_root=()
[ "$(id -u)" -eq 0 ] || as_root=(sudo -n)
can_install() { [ "$(id -u)" -eq 0 ] || { command -v sudo >/dev/null && sudo -n true 2>/dev/null; }; }

# Releases differ in which Java they carry; the newest that the suite was run on comes first.
java_package() {
    local package
    for package in openjdk-17-jre-headless openjdk-21-jre-headless openjdk-25-jre-headless; do
        if [ "$(apt-cache policy "$package" | sed -n 's/^  Candidate: //p')" != "(none)" ] && apt-cache show "$package" >/dev/null 2>&1; then
            echo "$package"
            return
        fi
    done
    echo default-jre-headless
}
resolve() { # the missing things as packages, on standard output
    local package
    for package in "${missing[@]}"; do
        [ "$package" = java ] && java_package || echo "$package"
    done
}

if ! can_install; then
    echo "System packages are missing, and this user may not install them. Run:" >&2
    echo "  sudo apt-get update && sudo apt-get install -y --no-install-recommends $(resolve | tr '\n' ' ')" >&2
    exit 1
fi
echo "Installing system packages: ${missing[*]}"
"${as_root[@]}" apt-get update -q
mapfile -t packages < <(resolve)
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${packages[@]}"
