"""Addresses in the settings: the brokers behind ARNs, and where dead letters go.

Nothing is connected to; of a file's folder it is asked whether it is there. Errors are ValueErrors for a person; they
never repeat a URL, since it may hold a password.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlencode, urlsplit

from pydantic import SecretStr

from poller.sources.kafka_security import KafkaSecurity, trusting

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
    security: KafkaSecurity = field(default_factory=KafkaSecurity)
    """That of the mapping on its own cluster; elsewhere there is no login."""

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


@dataclass(frozen=True, slots=True)
class KafkaAddress:
    """A cluster's servers, and what their certificates are checked with, as PEM; empty where nothing is said."""

    servers: tuple[str, ...]
    certificate_authority: str = ""


def kafka_address(url: str, folder: Path) -> KafkaAddress:
    """What `kafka://host:port,host:port` says, and `?cacertfile=path` behind it, relative to `folder`."""
    parts = _split(url)
    if parts.scheme != "kafka" or parts.path not in {"", "/"} or parts.fragment:
        raise ValueError("must have the form kafka://host:9092,host:9092")
    path = _authority_file(parts, folder)
    return KafkaAddress(_servers(parts.netloc), _certificates(path) if path else "")


def rabbitmq_url(url: str, username: str | None, password: str | None, virtual_host: str, *, folder: Path) -> str:
    """A broker's URL with login and virtual host in it, percent-encoded, and the authority's file as absolute path.

    Args:
        url: `amqp://host:5672`, `amqp://user:password@host:5672` or `amqps://host:5671?cacertfile=path`: the file has
            the authorities, in PEM format, that the broker's certificate is checked with instead of the machine's.
            RabbitMQ's own clients call it so in their URLs.
        username: None when the login stands in the URL.
        password: None when the login stands in the URL.
        virtual_host: as RabbitMQ names it, not encoded.
        folder: what a relative path is relative to.
    """
    parts = _split(url)
    if parts.scheme not in AMQP_PORTS or not parts.hostname or parts.fragment:
        raise ValueError("must have the form amqp://user:password@host:5672")
    if parts.path not in {"", "/"}:
        raise ValueError("has a path; the virtual host stands in SourceAccessConfigurations (Type: VIRTUAL_HOST)")
    if parts.username is not None:
        if username is not None:
            raise ValueError("holds a login, and Metadata.Poller.Secrets holds one, too: keep one of them")
        username, password = unquote(parts.username), unquote(parts.password or "")
    if username is None:
        raise ValueError("holds no login; give amqp://user:password@host:5672")
    authority = _authority_file(parts, folder)
    if authority is not None:
        if parts.scheme == "amqp":
            raise ValueError("has cacertfile without TLS: that is amqps://host:5671")
        _certificates(authority)
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    login = f"{quote(username, safe='')}:{quote(password or '', safe='')}"
    query = f"?{urlencode({'cacertfile': authority})}" if authority else ""
    port = parts.port or AMQP_PORTS[parts.scheme]
    return f"{parts.scheme}://{login}@{host}:{port}/{quote(virtual_host, safe='')}{query}"


def _authority_file(parts: SplitResult, folder: Path) -> Path | None:
    try:
        options = dict(parse_qsl(parts.query, strict_parsing=True, keep_blank_values=True)) if parts.query else {}
    except ValueError:
        options = {"": ""}
    if options and set(options) != {"cacertfile"}:
        raise ValueError("knows no other option behind ? than cacertfile=path")
    return (folder / options["cacertfile"]).absolute() if options else None


def _certificates(path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8")
        trusting(text)
    except OSError as error:
        raise ValueError(f"names {path} as cacertfile, which cannot be read: {error.strerror}") from None
    except ValueError:
        raise ValueError(f"names {path} as cacertfile, which holds no certificate in PEM format") from None
    return text


def target(
    uri: str,
    *,
    folder: Path,
    servers: tuple[str, ...] = (),
    security: KafkaSecurity | None = None,
    broker_url: SecretStr | None = None,
) -> Target:
    """Where dead letters go.

    Args:
        uri: `kafka://topic` or `amqp:///exchange/routing-key` at the mapping's own broker; `kafka://host:port/topic`,
            `amqp://user:password@host:port/exchange/routing-key` (before the exchange, percent-encoded, a virtual
            host other than `/`), or `file:path`.
        folder: what a relative path is relative to.
        servers: the mapping's own Kafka cluster, if it reads one.
        security: how that is logged in to.
        broker_url: the mapping's own RabbitMQ broker, if it reads one.
    """
    parts = _split(uri)
    match parts.scheme:
        case "kafka":
            return _kafka_target(parts, servers, security or KafkaSecurity())
        case "amqp" | "amqps":
            return _rabbitmq_target(parts, folder, broker_url)
        case "file":
            if parts.netloc not in {"", "localhost"} or not parts.path or parts.query or parts.fragment:
                raise ValueError("must have the form file:path, with ? and # percent-encoded")
            return _file_target(folder / unquote(parts.path))
    raise ValueError("must begin with kafka://, amqp:// or file:")


def _split(url: str) -> SplitResult:
    try:
        url.encode()  # a lone surrogate, which JSON can write and no address has
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


def _kafka_target(parts: SplitResult, own: tuple[str, ...], security: KafkaSecurity) -> KafkaTarget:
    topic, servers = parts.path.strip("/"), own
    if not topic:
        if not own:
            raise ValueError("must have the form kafka://host:9092/topic")
        topic = parts.netloc
    else:
        servers = _servers(parts.netloc)
    if not _TOPIC.fullmatch(topic):
        raise ValueError("must end in a topic: letters, digits, . _ or -")
    return KafkaTarget(servers, topic, security if set(servers) & set(own) else KafkaSecurity())


def _file_target(path: Path) -> FileTarget:
    try:
        is_folder, is_beside_others = path.is_dir(), path.parent.is_dir()
    except OSError as error:
        raise ValueError(f"is no path: {error.strerror}") from None
    if is_folder or not is_beside_others:
        raise ValueError(f"{path} is a folder" if is_folder else f"the folder {path.parent} is missing")
    return FileTarget(path)


def _rabbitmq_target(parts: SplitResult, folder: Path, broker_url: SecretStr | None) -> RabbitMQTarget:
    names = [unquote(name) for name in parts.path.split("/")[1:]]
    if (parts.query and not parts.netloc) or parts.fragment or len(names) not in {2, 3} or not (names[-1] or names[-2]):
        raise ValueError(f"must have the form amqp:///exchange/routing-key or {_AMQP_FORM}")
    if parts.netloc:
        url = parts._replace(path="").geturl()
        virtual_host = names[0] if len(names) == 3 else "/"  # noqa: PLR2004
        broker_url = SecretStr(rabbitmq_url(url, None, None, virtual_host, folder=folder))
    elif broker_url is None:
        raise ValueError(f"names no broker, and the mapping reads none of RabbitMQ; give {_AMQP_FORM}")
    elif len(names) == 3:  # noqa: PLR2004
        raise ValueError("names a virtual host, but no broker; the mapping's own has its virtual host")
    return RabbitMQTarget(broker_url, names[-2], names[-1])
