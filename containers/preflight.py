"""Tells before `docker compose up` which port of the sample is taken on this machine, and what moves it.

Compose's own message names neither the variable nor, for the second taken port, the port. Ports that containers of
this project hold already are fine: Compose keeps or replaces those.
"""

import json
import socket
import subprocess
import sys

# Port in the container → what is there, and the variable of docker-compose.yml that moves it on the host.
VARIABLES = {
    19092: ("Kafka", "POLLER_KAFKA_PORT"),
    5672: ("RabbitMQ", "POLLER_RABBITMQ_PORT"),
    15672: ("RabbitMQ's management page", "POLLER_RABBITMQ_MANAGEMENT_PORT"),
    9001: ("the poller", "POLLER_PORT"),
}


def docker(*arguments: str) -> str:
    """Gives what `docker …` prints; its complaints go to the terminal and end this program."""
    command = ["docker", *arguments]  # whichever the person has on the PATH
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        sys.exit(done.returncode)
    return done.stdout


def published(config: dict) -> dict[int, int]:
    """Gives port on the host → port in the container, as Compose will publish them."""
    ports = [port for service in config["services"].values() for port in service.get("ports", [])]
    return {int(port["published"]): port["target"] for port in ports}


def taken(port: int) -> bool:
    """Tries to listen, as Docker will: that finds listeners on every address that stand in the way."""
    with socket.socket() as probe:
        # Connections of an earlier run that still linger are not in the way.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False


def holder(port: int, project: str) -> str | None:
    """Names the container that holds the port; None when it is this project's own."""
    row = docker("ps", "--filter", f"publish={port}", "--format", '{{.Names}} {{.Label "com.docker.compose.project"}}')
    name, _, owner = row.partition("\n")[0].partition(" ")
    if owner == project:
        return None
    return f"container {name}" if name else "another program"


def main() -> int:
    """Prints one line per taken port; the exit code is 1 if there was one."""
    config = json.loads(docker("compose", "--profile", "*", "config", "--format", "json"))
    problems = []
    for port, target in published(config).items():
        what, variable = VARIABLES[target]
        if taken(port) and (who := holder(port, config["name"])):
            problems.append(
                f"port {port} on 127.0.0.1, meant for {what}, is taken by {who}: "
                f"stop that, or choose another port, e.g. `{variable}={port + 1000} make up`",
            )
    for problem in problems:
        print(f"preflight: {problem}", file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
