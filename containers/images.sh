#!/usr/bin/env bash
# Provides the three public images: present ones are kept, then the registry is asked, then a stand-in is built.
# A stand-in has the public name, the same tools at the same paths and the same environment variables, so neither
# the compose file nor a test knows of it; only its label (org.opencontainers.image.description) tells.
set -euo pipefail
cd "$(dirname "$0")/stand-ins"

BASE=debian:trixie-slim
KAFKA=apache/kafka:4.3.0
RABBITMQ=rabbitmq:4-management
PYTHON=python:3.13-slim
CERTIFICATES=/etc/ssl/certs/ca-certificates.crt

die() { echo "images: $*" >&2; exit 1; }
present() { docker image inspect "$1" >/dev/null 2>&1; }

# macOS has no timeout; Docker Desktop's own limits have to do there.
command -v timeout >/dev/null || timeout() { shift; "$@"; }

# Asks first whether the registry answers: behind a firewall that drops packets a pull would hang for minutes, while
# one that has begun may well take some.
pull() {
    timeout 15 docker manifest inspect "$1" >/dev/null 2>&1 && timeout 900 docker pull -q "$1" >/dev/null 2>&1
}

apt_install() {
    [ "$(id -u)" -eq 0 ] || die "$1 is needed to build the stand-ins: install it (apt-get install $*)"
    export DEBIAN_FRONTEND=noninteractive
    apt-get install -y -qq --no-install-recommends "$@" >/dev/null 2>&1 ||
        { apt-get update -qq && apt-get install -y -qq --no-install-recommends "$@" >/dev/null; }
}

# The classic builder: a machine without a registry seldom has buildx. Proxy variables are predefined build
# arguments, so they reach the build and stay out of the image.
build() {
    local tag=$1 dir=$2
    DOCKER_BUILDKIT=0 docker build --force-rm --tag "$tag" \
        --build-arg HTTP_PROXY --build-arg HTTPS_PROXY --build-arg NO_PROXY \
        --build-arg http_proxy --build-arg https_proxy --build-arg no_proxy "$dir"
}

# The build_* functions run where errexit is off (left of ||), so each step is tied to the next by hand.
build_base() {
    present "$BASE" && return
    { command -v mmdebstrap >/dev/null || apt_install mmdebstrap debian-archive-keyring; } &&
        mmdebstrap --quiet --variant=minbase --include=ca-certificates trixie - |
        docker import -c 'CMD ["bash"]' -c 'ENV LANG=C.UTF-8' \
            -c 'LABEL org.opencontainers.image.description="stand-in made by mmdebstrap: Debian trixie, minbase"' - "$BASE"
}

build_python() {
    # The host's certificates go in, or pip fails behind a network that has an authority of its own.
    { [ -f "$CERTIFICATES" ] || apt_install ca-certificates; } &&
        cp "$CERTIFICATES" python/host-certificates.crt &&
        build "$PYTHON" python
}

build_rabbitmq() { build "$RABBITMQ" rabbitmq; }

build_kafka() {
    { command -v mvn >/dev/null || apt_install maven; } &&
        rm -rf kafka/libs &&
        mvn -q -B -f kafka/pom.xml dependency:copy-dependencies -DoutputDirectory=libs -DincludeScope=runtime &&
        build "$KAFKA" kafka
}

missing=()
for image in "$PYTHON" "$RABBITMQ" "$KAFKA"; do present "$image" || missing+=("$image"); done
[ ${#missing[@]} -eq 0 ] && exit 0

work=$(mktemp -d)
trap 'rm -rf "$work" kafka/libs kafka/target python/host-certificates.crt' EXIT

for image in "${missing[@]}"; do
    # One refusal is enough: without a registry the others need not wait for the same answer.
    if [ ! -e "$work/no-registry" ] && pull "$image"; then
        echo "images: pulled $image"
        continue
    fi
    touch "$work/no-registry"
    echo "images: $image is neither present nor can it be pulled: building a stand-in from packages"
    case $image in
        "$PYTHON") build_image=build_python ;;
        "$RABBITMQ") build_image=build_rabbitmq ;;
        "$KAFKA") build_image=build_kafka ;;
    esac
    (build_base && "$build_image") >"$work/log" 2>&1 || { tail -n 60 "$work/log" >&2; die "building $image failed"; }
done
