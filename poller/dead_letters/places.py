"""Which dead letters a command means, and where these go back to: a mapping of the template, or a URL."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar
from urllib.parse import unquote, urlsplit

from poller.dead_letters.kafka_client import Cluster
from poller.endpoints import (
    AMQP_PORTS,
    FileTarget,
    KafkaTarget,
    RabbitMQTarget,
    kafka_address,
    rabbitmq_url,
    target,
)
from poller.errors import ConfigError, Problem
from poller.resources import EventSourceMapping
from poller.sources.kafka_security import KafkaSecurity
from poller.template import Template
from poller.validation import closest

T = TypeVar("T")

NAMES_A_QUEUE = (
    "kafka://host:9092/topic, amqp://user:password@host:5672//queue, file:path, or a mapping of the template"
)


@dataclass(frozen=True, slots=True)
class Topic:
    """A Kafka topic."""

    cluster: Cluster
    name: str


@dataclass(frozen=True, slots=True)
class Queue:
    """A RabbitMQ queue."""

    url: str
    """Complete, with login and virtual host."""
    name: str


Where = Topic | Queue | FileTarget


@dataclass(frozen=True, slots=True)
class Places:
    """Where the letters lie, and where they came from as far as that is known beforehand."""

    letters: Where
    cluster: Cluster | None = None
    """Of the origin's topics; None: that of the letters, or what the letter tells."""
    rabbitmq_url: str | None = None
    """Of the origin's RabbitMQ broker."""


def places(name: str, load: Callable[[], Template], *, queue: str | None = None, origin: str | None = None) -> Places:
    """What a command line means.

    Args:
        name: a mapping of the template, or a URL.
        load: reads the template; called for a mapping only.
        queue: the queue, where neither of these tells it.
        origin: `kafka://host:port,…` or `amqp://user:password@host:port/vhost`, over what is known otherwise.

    Raises:
        ConfigError: nothing of the kind, with what would be right. Never repeats a URL, which may hold a password.
    """
    is_url = "://" in name or name.startswith("file:")
    found = _of_url(name, queue) if is_url else _of_mapping(_mapping(name, load()), queue)
    if origin is None:
        return found
    if urlsplit(origin).scheme in AMQP_PORTS:
        return replace(found, rabbitmq_url=_checked("--origin", lambda: _broker(origin)))
    return replace(found, cluster=_checked("--origin", lambda: _cluster(origin, found)))


def _of_url(url: str, queue: str | None) -> Places:
    if queue is not None:
        broker = _checked("TARGET", lambda: _broker(url))
        return Places(Queue(broker, queue), rabbitmq_url=broker)
    if urlsplit(url).scheme not in {*AMQP_PORTS, "kafka", "file"}:
        raise ConfigError([Problem("TARGET", "is no place of dead letters", NAMES_A_QUEUE)])
    found = _checked("TARGET", lambda: target(url, folder=Path.cwd()))
    if isinstance(found, RabbitMQTarget):
        letters = _queue_of(found, None)
        return Places(letters, rabbitmq_url=letters.url)
    return Places(_topic_of(found) if isinstance(found, KafkaTarget) else found)


def _of_mapping(mapping: EventSourceMapping, queue: str | None) -> Places:
    url = None if mapping.broker_url is None else mapping.broker_url.get_secret_value()
    on_failure = mapping.on_failure
    letters: Where
    if isinstance(on_failure, RabbitMQTarget):
        letters = _queue_of(on_failure, queue)
    elif on_failure is not None:
        if queue is not None:
            raise ConfigError([Problem("--queue", f"the dead letters of {mapping.name} are in no queue: {on_failure}")])
        letters = _topic_of(on_failure) if isinstance(on_failure, KafkaTarget) else on_failure
    elif url is None:
        raise ConfigError([Problem(mapping.name, "has no on-failure destination, so there are no dead letters")])
    elif queue is None:
        hint = "name the queue that the exchange brings them to: --queue NAME"
        reason = f"has no on-failure destination: its messages go to the dead-letter exchange of {mapping.Queues[0]}"
        raise ConfigError([Problem(mapping.name, reason, hint)])
    else:
        letters = Queue(url, queue)
    servers = mapping.bootstrap_servers
    return Places(letters, Cluster(servers, mapping.security) if servers else None, url)


def _mapping(name: str, template: Template) -> EventSourceMapping:
    for mapping in template.mappings:
        if mapping.name == name:
            return mapping
    names = [mapping.name for mapping in template.mappings]
    hint = closest(name, names) or f"mappings of {template.path}: {', '.join(names) or 'none'}; or give a URL"
    raise ConfigError([Problem(name, "the template has no such event source", hint)])


def _topic_of(found: KafkaTarget) -> Topic:
    return Topic(Cluster(found.bootstrap_servers, found.security), found.topic)


def _queue_of(found: RabbitMQTarget, queue: str | None) -> Queue:
    """The queue behind a destination: the default exchange has the queue's name for a routing key."""
    if queue is None and found.exchange:
        reason = f"the letters go to the exchange {found.exchange}, which does not tell its queues"
        raise ConfigError([Problem("--queue", reason, "name the queue it brings them to: --queue NAME")])
    return Queue(found.broker_url.get_secret_value(), queue or found.routing_key)


def _cluster(url: str, known: Places) -> Cluster:
    """The cluster at these addresses, logged in to as the mapping does if it is the mapping's own."""
    address = kafka_address(url, Path.cwd())
    if known.cluster is not None and set(known.cluster.bootstrap_servers) & set(address.servers):
        return replace(known.cluster, bootstrap_servers=address.servers)
    if address.certificate_authority:
        return Cluster(address.servers, KafkaSecurity("SSL", certificate_authority=address.certificate_authority))
    return Cluster(address.servers)


def _broker(url: str) -> str:
    """A broker's URL whose path is a virtual host, completed."""
    parts = urlsplit(url)
    virtual_host = unquote(parts.path[1:]) or "/"
    return rabbitmq_url(parts._replace(path="").geturl(), None, None, virtual_host, folder=Path.cwd())


def _checked(path: str, read: Callable[[], T]) -> T:
    try:
        return read()
    except ValueError as error:
        raise ConfigError([Problem(path, str(error))]) from None
