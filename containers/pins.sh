#!/usr/bin/env bash
# Writes requirements*.txt anew: every version pinned for Python 3.11 and later, with no address of an index in them.
set -euo pipefail
cd "$(dirname "$0")/.."

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
.venv/bin/python -m pip install --quiet --disable-pip-version-check --target "$work" uv

compile() {
    local file=$1 what=$2
    shift 2
    { echo "# Pins for $what; written by make pins."
      "$work/bin/uv" pip compile --quiet --universal --upgrade --python-version 3.11 --no-emit-index-url --no-header --no-annotate "$@"
    } >"$work/pins"
    mv "$work/pins" "$file"
}

compile requirements.txt "running poller, with its extras" pyproject.toml --extra fast --extra aws
compile requirements-dev.txt "developing and testing, and running too" pyproject.toml --extra fast --extra aws --extra dev requirements-functions.in --group dev -c requirements.txt
compile requirements-functions.txt "the sample functions" requirements-functions.in -c requirements-dev.txt
compile tests/bench/peers/requirements.txt "the Python peers of the bench" tests/bench/peers/requirements.in
compile tests/e2e/aws_cli/requirements.txt "the AWS CLI that tests call" tests/e2e/aws_cli/requirements.in
compile tests/aws_servers/requirements.txt "the server of SNS and EventBridge that tests call" tests/aws_servers/requirements.in
