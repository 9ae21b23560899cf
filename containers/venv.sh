#!/usr/bin/env bash
# Makes .venv from the pinned requirements, with poller itself linked in. Does nothing while the pins are unchanged.
set -euo pipefail
cd "$(dirname "$0")/.."

die() { echo "venv: $*" >&2; exit 1; }
fits() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }

find_python() {
    local candidate
    for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11}; do
        fits "$candidate" && { echo "$candidate"; return; }
    done
    return 1
}

# The place belongs to the fingerprint: scripts in a virtual environment carry its path.
fingerprint=$( (cat requirements-dev.txt; sed -n '/^\[build-system/,/^\[dependency-groups/p' pyproject.toml; pwd) | cksum)
stamp=.venv/.pins
[ "$(cat "$stamp" 2>/dev/null)" = "$fingerprint" ] && .venv/bin/python -c '' && exit 0

apt_install() {
    [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null || die "please install $*"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

python=$(find_python) || { apt_install python3 python3-venv; python=$(find_python); } ||
    die "Python 3.11 or newer is needed (PYTHON=/path/to/python chooses one)"
# Debian keeps venv's pip in a package of its own.
"$python" -c 'import ensurepip, venv' 2>/dev/null || apt_install python3-venv

echo "venv: installing the pinned requirements into .venv"
export PIP_DISABLE_PIP_VERSION_CHECK=1
# Emptied only when it cannot be used: pip brings a working one up to date in place.
.venv/bin/python -m pip --version >/dev/null 2>&1 && grep -qF "$PWD/.venv" .venv/bin/pip || "$python" -m venv --clear .venv
.venv/bin/python -m pip install --quiet --requirement requirements-dev.txt
.venv/bin/python -m pip install --quiet --no-deps --editable .
echo "$fingerprint" >"$stamp"
