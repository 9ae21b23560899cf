#!/bin/bash
# Starts RabbitMQ as the public image does: as user rabbitmq, with the volume and the cookie made its own first.
set -euo pipefail
if [[ "$1" == rabbitmq* ]] && [ "$(id -u)" = 0 ]; then
    find /var/lib/rabbitmq \! -user rabbitmq -exec chown rabbitmq '{}' +
    exec setpriv --reuid=rabbitmq --regid=rabbitmq --init-groups "$BASH_SOURCE" "$@"
fi
# Debian's wrapper in /usr/sbin insists on root or rabbitmq and on a log folder; the program behind it does not.
[ "$1" = rabbitmq-server ] && set -- /usr/lib/rabbitmq/bin/rabbitmq-server "${@:2}"
exec "$@"
