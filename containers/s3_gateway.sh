#!/usr/bin/env bash
# Builds a real S3 server for tests, Versity's gateway (Apache-2.0), into build/s3-gateway. Idempotent; 80 s the first time.
# It is part of no product: what stands in build/ is thrown away by `make clean`.
set -euo pipefail
cd "$(dirname "$0")/.."

VERSION=v1.8.0
binary=$PWD/build/s3-gateway/versitygw-$VERSION

die() { echo "s3-gateway: $*" >&2; exit 1; }
# From 1.21 on Go fetches by itself the newer one that a program asks for.
fits() { command -v go >/dev/null && [ "$(printf '%s\n' 1.21 "$(go env GOVERSION | sed 's/^go//')" | sort -V | head -n 1)" = 1.21 ]; }

[ -x "$binary" ] && "$binary" --version >/dev/null 2>&1 && exit 0

if ! fits && [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then
    echo "s3-gateway: installing Go from the distribution's packages"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends golang-go ca-certificates >/dev/null
fi
fits || die "Go 1.21 or newer is needed to build the S3 server of the tests: install it (https://go.dev/doc/install)"

echo "s3-gateway: building Versity S3 Gateway $VERSION"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# CGO off: no C compiler is needed, and the tests use none of what it would add.
CGO_ENABLED=0 GOBIN=$work go install -trimpath "github.com/versity/versitygw/cmd/versitygw@$VERSION" 2>"$work/log" ||
    { tail -n 20 "$work/log" >&2; die "building it failed (see above); it comes over Go's module proxy"; }
mkdir -p "$(dirname "$binary")"
# Moved when it is whole: a run that is ended meanwhile leaves nothing that looks finished.
mv "$work/versitygw" "$binary.new"
mv "$binary.new" "$binary"
