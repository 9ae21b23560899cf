#!/usr/bin/env bash
# Makes `docker` answer: uses the engine that is there, else installs Debian's or Ubuntu's and starts it.
# Idempotent. A laptop with Docker Desktop, or a user in the docker group, passes the first test and nothing is touched.
set -euo pipefail

answers() { docker info >/dev/null 2>&1; }
die() { echo "engine: $*" >&2; exit 1; }

answers && exit 0

if [ "$(id -u)" -ne 0 ]; then
    command -v docker >/dev/null || die "no Docker found; install it (https://docs.docker.com/engine/install/) or run this as root"
    die "Docker does not answer: start it, or join its group (sudo usermod -aG docker $USER, then log in again)"
fi

if ! command -v dockerd >/dev/null || ! command -v docker >/dev/null || ! command -v iptables >/dev/null; then
    command -v apt-get >/dev/null || die "no Docker engine, and no apt-get to install one: install Docker and try again"
    echo "engine: installing Docker's engine from the distribution's packages"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends docker.io iptables ca-certificates >/dev/null
    # Debian 13 and later keep the command line in a package of its own.
    command -v docker >/dev/null || apt-get install -y -qq --no-install-recommends docker-cli >/dev/null
fi

log=/var/log/dockerd.log
if [ -d /run/systemd/system ]; then
    systemctl start docker
elif ! kill -0 "$(cat /var/run/docker.pid 2>/dev/null)" 2>/dev/null; then
    # setsid: the engine must outlive this shell, and a Ctrl-C in it. A pid file left by a crash would stop it.
    rm -f /var/run/docker.pid
    setsid nohup dockerd >"$log" 2>&1 </dev/null &
    started=$!
fi

for _ in $(seq 120); do
    answers && { echo "engine: Docker $(docker version --format '{{.Server.Version}}') is running"; exit 0; }
    [ -z "${started:-}" ] || kill -0 "$started" 2>/dev/null || break
    sleep 0.5
done
[ ! -f "$log" ] || tail -n 20 "$log" >&2
die "Docker's engine does not start (its last lines are above, the rest in $log)"
