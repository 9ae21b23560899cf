#!/usr/bin/env bash
# Provides the servers that answer in AWS's stead in tests: ElasticMQ (SQS) from Maven, moto's (SNS, EventBridge) from
# PyPI, both pinned, in build/aws-servers. Does nothing while the pins are unchanged. Starts nothing: tests do that.
set -euo pipefail
cd "$(dirname "$0")/.."

folder=build/aws-servers
pins=tests/aws_servers
fingerprint=$( (cat "$pins/pom.xml" "$pins/requirements.txt"; pwd) | cksum)
stamp=$folder/.pins
[ "$(cat "$stamp" 2>/dev/null)" = "$fingerprint" ] && exit 0

die() { echo "aws-servers: $*" >&2; exit 1; }
# The headless runtime lacks nothing that a server needs; Debian's Maven brings no compiler either.
need() {
    command -v "$1" >/dev/null && return
    [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null || die "$1 is needed: please install $2"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq && apt-get install -y -qq --no-install-recommends "$2" >/dev/null
}
need java default-jre-headless
need mvn maven

echo "aws-servers: fetching ElasticMQ and moto into $folder"
mkdir -p "$folder"
# Made beside the one in use, and put in its place when all is there.
jars=$(mktemp -d "$folder/jars.XXXXXX")
log=$(mktemp)
trap 'rm -rf "$jars" "$log"' EXIT
if ! mvn --quiet --batch-mode --file "$pins/pom.xml" \
    org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies \
    -DincludeScope=runtime -DoutputDirectory="$PWD/$jars" >"$log" 2>&1; then
    cat "$log" >&2
    die "Maven cannot fetch ElasticMQ; what it said is above"
fi
rm -rf "$folder/jars"
mv "$jars" "$folder/jars"

.venv/bin/python -m venv --clear "$folder/moto"
"$folder/moto/bin/python" -m pip install --quiet --disable-pip-version-check --requirement "$pins/requirements.txt"
echo "$fingerprint" >"$stamp"
