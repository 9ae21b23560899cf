"""Addresses in the settings: the brokers behind ARNs, and where dead letters go.

Nothing is connected to; of a file's folder it is asked whether it is there. Errors are ValueErrors for a person; they
never repeat a URL, since it may hold a password.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import SplitResult, quote, unquote, urlsplit

from pydantic import SecretStr

AMQP_PORTS = {"amqp": 5672, "amqps": 5671}
"""Schemes of RabbitMQ, plain and over TLS, and their ports."""

_SERVER = re.compile(r"[A-Za-z0-9._-]+:[0-9]{1,5}")
_TOPIC = re.compile(r"[A-Za-z0-9._-]{1,249}")
_AMQP_FORM = "amqp://user:password@host:5672/exchange/routing-key"


@dataclass(frozen=True, slots=True)
class KafkaTarget:
    """A topic for dead letters."""

    bootstrap_servers: tuple[str, ...]
    topic: str

    def __str__(self) -> str:
        return f"kafka://{','.join(self.bootstrap_servers)}/{self.topic}"


@dataclass(frozen=True, slots=True)
class RabbitMQTarget:
    """An exchange for dead letters; the exchange "" brings them to the queue that the routing key names."""

    broker_url: SecretStr
    """Complete, as `EventSourceMapping.broker_url`."""
    exchange: str
    routing_key: str

    def __str__(self) -> str:
        parts = urlsplit(self.broker_url.get_secret_value())
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}/{self.exchange}/{self.routing_key}"


@dataclass(frozen=True, slots=True)
class FileTarget:
    """A file for dead letters, one JSON text a line."""

    path: Path

    def __str__(self) -> str:
        return f"file:{self.path}"


Target = KafkaTarget | RabbitMQTarget | FileTarget
"""Where dead letters go. As text it shows no password."""


def kafka_servers(url: str) -> tuple[str, ...]:
    """Servers of `kafka://host:port,host:port`."""
    parts = _split(url)
    if parts.scheme != "kafka" or parts.path not in {"", "/"}:
        raise ValueError("must have the form kafka://host:9092,host:9092")
    return _servers(parts.netloc)


def rabbitmq_url(url: str, username: str | None, password: str | None, virtual_host: str) -> str:
    """A broker's URL with login and virtual host in it, percent-encoded.

    Args:
        url: `amqp://host:5672` or `amqp://user:password@host:5672`.
        username: None when the login stands in the URL.
        password: None when the login stands in the URL.
        virtual_host: as RabbitMQ names it, not encoded.
    """
    parts = _split(url)
    if parts.scheme not in AMQP_PORTS or not parts.hostname or parts.query or parts.fragment:
        raise ValueError("must have the form amqp://user:password@host:5672")
    if parts.path not in {"", "/"}:
        raise ValueError("has a path; the virtual host stands in SourceAccessConfigurations (Type: VIRTUAL_HOST)")
    if parts.username is not None:
        if username is not None:
            raise ValueError("holds a login, and Metadata.Poller.Secrets holds one, too: keep one of them")
        username, password = unquote(parts.username), unquote(parts.password or "")
    if username is None:
        raise ValueError("holds no login")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    login = f"{quote(username, safe='')}:{quote(password or '', safe='')}"
    return f"{parts.scheme}://{login}@{host}:{parts.port or AMQP_PORTS[parts.scheme]}/{quote(virtual_host, safe='')}"


def target(uri: str, *, folder: Path, servers: tuple[str, ...] = (), broker_url: SecretStr | None = None) -> Target:
    """Where dead letters go.

    Args:
        uri: `kafka://topic` or `amqp:///exchange/routing-key` at the mapping's own broker; `kafka://host:port/topic`,
            `amqp://user:password@host:port/exchange/routing-key` (before the exchange, percent-encoded, a virtual
            host other than `/`), or `file:path`.
        folder: what a relative path is relative to.
        servers: the mapping's own Kafka cluster, if it reads one.
        broker_url: the mapping's own RabbitMQ broker, if it reads one.
    """
    parts = _split(uri)
    match parts.scheme:
        case "kafka":
            return _kafka_target(parts, servers)
        case "amqp" | "amqps":
            return _rabbitmq_target(parts, broker_url)
        case "file":
            if parts.netloc not in {"", "localhost"} or not parts.path or parts.query or parts.fragment:
                raise ValueError("must have the form file:path, with ? and # percent-encoded")
            return _file_target(folder / unquote(parts.path))
    raise ValueError("must begin with kafka://, amqp:// or file:")


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        _ = parts.port if parts.scheme in AMQP_PORTS else None
    except ValueError:
        raise ValueError("is not a URL") from None
    return parts


def _servers(text: str) -> tuple[str, ...]:
    servers = tuple(text.split(","))
    if not all(_SERVER.fullmatch(server) for server in servers):
        raise ValueError("must name its servers as host:port, separated by commas")
    return servers


def _kafka_target(parts: SplitResult, servers: tuple[str, ...]) -> KafkaTarget:
    topic = parts.path.strip("/")
    if not topic:
        if not servers:
            raise ValueError("must have the form kafka://host:9092/topic")
        topic = parts.netloc
    else:
        servers = _servers(parts.netloc)
    if not _TOPIC.fullmatch(topic):
        raise ValueError("must end in a topic: letters, digits, . _ or -")
    return KafkaTarget(servers, topic)


def _file_target(path: Path) -> FileTarget:
    try:
        is_folder, is_beside_others = path.is_dir(), path.parent.is_dir()
    except OSError as error:
        raise ValueError(f"is no path: {error.strerror}") from None
    if is_folder or not is_beside_others:
        raise ValueError(f"{path} is a folder" if is_folder else f"the folder {path.parent} is missing")
    return FileTarget(path)


def _rabbitmq_target(parts: SplitResult, broker_url: SecretStr | None) -> RabbitMQTarget:
    names = [unquote(name) for name in parts.path.split("/")[1:]]
    if parts.query or parts.fragment or len(names) not in {2, 3} or not (names[-1] or names[-2]):
        raise ValueError(f"must have the form amqp:///exchange/routing-key or {_AMQP_FORM}")
    if parts.netloc:
        url = parts._replace(path="").geturl()
        broker_url = SecretStr(rabbitmq_url(url, None, None, names[0] if len(names) == 3 else "/"))  # noqa: PLR2004
    elif broker_url is None:
        raise ValueError(f"names no broker, and the mapping reads none of RabbitMQ; give {_AMQP_FORM}")
    elif len(names) == 3:  # noqa: PLR2004
        raise ValueError("names a virtual host, but no broker; the mapping's own has its virtual host")
    return RabbitMQTarget(broker_url, names[-2], names[-1])
