#!/usr/bin/env bash
# Puts Apache Kafka 4.3.1 where the tests look for it: ${FORBEAR_CACHE:-~/.cache/forbear}/kafka/4.3.1/libs. Once a machine.
#
# The jars come from Maven's central repository (the project publishes them itself); where there is no Maven but a container
# engine answers, out of the project's own image, which holds the same jars. The tests run them with Java 17 or newer,
# without a container, on both ways.
set -euo pipefail

version=4.3.1
image=apache/kafka:$version
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=${FORBEAR_CACHE:-$HOME/.cache/forbear}/kafka
libraries=$root/$version/libs
broker_jar=$libraries/kafka_2.13-$version.jar

[ ! -e "$broker_jar" ] || exit 0

mkdir -p "$root"
# Two runs at once: the second waits, and finds the work done.
exec 9>"$root/.lock"
flock 9
[ ! -e "$broker_jar" ] || exit 0

work=$(mktemp -d "$root/.new-XXXXXX")
trap 'rm -rf "$work"' EXIT

engine() {
    local name
    for name in docker podman; do
        if command -v "$name" >/dev/null && timeout 10 "$name" info >/dev/null 2>&1; then
            echo "$name"
            return
        fi
    done
    return 1
}

progress() { # while the work goes on: that it does
    # The sleep holds nobody's pipe open when it outlives this script.
    while sleep 5 </dev/null >/dev/null 2>&1; do
        echo "  ... ${SECONDS} s"
    done
}

if command -v mvn >/dev/null; then
    echo "Fetching Apache Kafka $version through Maven (about 90 jars, 54 MB; half a minute on a good line)"
    progress &
    ticker=$!
    status=0
    mvn -q -B -Dstyle.color=never -f "$here/pom.xml" org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies \
        -DoutputDirectory="$work/libs" </dev/null || status=$?
    kill "$ticker" 2>/dev/null || true
    wait "$ticker" 2>/dev/null || true
    if [ "$status" -ne 0 ]; then
        echo "Maven could not fetch Apache Kafka $version (exit code $status)." >&2
        exit 1
    fi
elif name=$(engine); then
    echo "Taking Apache Kafka $version out of the image $image with $name"
    container=$("$name" create "$image")
    "$name" cp "$container:/opt/kafka/libs" "$work/libs"
    "$name" rm "$container" >/dev/null
else
    echo "Apache Kafka $version is not in $libraries, and neither Maven nor a container engine is here to fetch it." >&2
    exit 1
fi

if [ ! -e "$work/libs/kafka_2.13-$version.jar" ]; then
    echo "What was fetched holds no kafka_2.13-$version.jar." >&2
    exit 1
fi
mkdir -p "$root/$version"
rm -rf "$libraries" # left by an interrupted run of another kind: it has no broker in it
mv "$work/libs" "$libraries"
echo "Apache Kafka $version is in $libraries ($(find "$libraries" -name '*.jar' | wc -l) jars, ${SECONDS} s)"
