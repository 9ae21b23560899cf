#!/usr/bin/env bash
# Runs a command, a test run as a rule, in the environment that tests with real brokers need.
set -euo pipefail
cd "$(dirname "$0")/.."

# Such tests skip where there is no broker, and fail when CI is set: whoever calls this has seen to brokers.
export CI=${CI:-true}

# Without its image testcontainers cannot start its reaper; the fixtures stop their containers themselves.
if [ -z "${TESTCONTAINERS_RYUK_DISABLED:-}" ]; then
    reaper=$(.venv/bin/python -c 'from testcontainers.core.config import testcontainers_config as c; print(c.ryuk_image)')
    docker image inspect "$reaper" >/dev/null 2>&1 || export TESTCONTAINERS_RYUK_DISABLED=true
fi

exec "$@"
