#!/usr/bin/env bash
# Builds the handler of tests/languages/LANGUAGE into build/languages/LANGUAGE, which then is a function's folder, or
# a program that calls the service with AWS's SDK for a language (sdk_LANGUAGE).
# Does nothing while the sources are unchanged. Exit status 3: the language's tools are not on this machine.
# `tools` installs Node.js and Go from the distribution where they are missing and that can be done.
set -euo pipefail
cd "$(dirname "$0")/.."

language=$1
if [ "$language" = tools ]; then
    packages=()
    command -v node >/dev/null || packages+=(nodejs)
    command -v go >/dev/null || packages+=(golang-go)
    [ ${#packages[@]} -eq 0 ] && exit 0
    if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
        echo "languages: the tests of handlers in other languages are skipped without ${packages[*]}" >&2
        exit 0
    fi
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null
    exit 0
fi

source=tests/languages/$language
target=$PWD/build/languages/$language

missing() { echo "$*" >&2; exit 3; }

fingerprint=$(find "$source" -type f -print0 | sort -z | xargs -0 cksum | cksum)
stamp=build/languages/.$language
[ "$(cat "$stamp" 2>/dev/null)" = "$fingerprint" ] && exit 0

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
case $language in
go)
    command -v go >/dev/null || missing "there is no Go on this machine (Debian: golang-go)"
    (cd "$source" && CGO_ENABLED=0 go build -mod=readonly -trimpath -tags lambda.norpc -o "$work/bootstrap" .)
    ;;
sdk_go)
    command -v go >/dev/null || missing "there is no Go on this machine (Debian: golang-go)"
    (cd "$source" && CGO_ENABLED=0 go build -mod=readonly -trimpath -o "$work/client" .)
    ;;
rust)
    command -v cargo >/dev/null || missing "there is no Rust on this machine (Debian: cargo)"
    (cd "$source" && CARGO_TARGET_DIR="$target.cargo" cargo build --quiet --release --locked)
    cp "$target.cargo/release/bootstrap" "$work/bootstrap"
    ;;
java)
    command -v mvn >/dev/null || missing "there is no Maven on this machine (Debian: maven)"
    mvn --quiet --batch-mode --file "$source/pom.xml" -DbuildDirectory="$work/maven" package dependency:copy-dependencies \
        -DoutputDirectory="$work/lib"
    cp "$work"/maven/*.jar "$work/lib/"
    rm -r "$work/maven"
    ;;
node)
    command -v npm >/dev/null || missing "there is no npm on this machine (Debian: npm)"
    for tool in autoreconf libtoolize cmake make g++; do
        command -v "$tool" >/dev/null ||
            missing "AWS's client for Node.js is compiled, and there is no $tool (Debian: autoconf automake libtool cmake g++)"
    done
    cp "$source/package.json" "$work/"
    (cd "$work" && npm install --no-audit --no-fund --no-package-lock --silent)
    ;;
sdk_node)
    command -v npm >/dev/null || missing "there is no npm on this machine (Debian: npm)"
    cp "$source"/* "$work/"
    (cd "$work" && npm install --no-audit --no-fund --no-package-lock --silent)
    ;;
*)
    echo "usage: $0 go|rust|java|node|sdk_go|sdk_node|tools" >&2
    exit 2
    ;;
esac
mkdir -p build/languages
rm -rf "$target"
cp -r "$work" "$target"
chmod 755 "$target"
echo "$fingerprint" >"$stamp"
