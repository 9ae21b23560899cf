#!/usr/bin/env bash
# Starts the sample pipeline, waits until every service is healthy, then runs the sample and shows its table.
# Called by `make up`, which has seen to the engine, Compose, the images and .venv.
set -euo pipefail
cd "$(dirname "$0")/.."

.venv/bin/python containers/preflight.py

# An index that pip on this machine is set to use has to reach pip in the image's build as well.
if [ -z "${PIP_INDEX_URL:-}" ]; then
    index=$(.venv/bin/python -m pip config get global.index-url 2>/dev/null || true)
    [ -z "$index" ] || export PIP_INDEX_URL="$index"
fi

log=$(mktemp)
trap 'rm -f "$log"' EXIT
echo "up: starting Kafka, RabbitMQ and the poller"
# Hundreds of lines of a build and of containers starting are of use only when it went wrong.
if ! docker compose up --detach --build --wait --wait-timeout 180 >"$log" 2>&1; then
    cat "$log" >&2
    docker compose logs --tail 20 >&2
    docker compose ps --all >&2
    echo "up: not every service became healthy; their last lines are above" >&2
    exit 1
fi
.venv/bin/python -m producers.run_sample "$@"
