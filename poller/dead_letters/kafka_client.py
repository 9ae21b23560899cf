"""What reading and writing of dead letters in Kafka share: options of the client, and its errors in words."""

# mypy: allow-untyped-calls
# kafka-python has no annotations.

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from kafka import KafkaAdminClient
from kafka import errors as kafka_errors

from poller.dead_letters.letter import LettersError
from poller.sources.kafka_oauth import TokenError
from poller.sources.kafka_python_client import Connections
from poller.sources.kafka_security import InvalidKeys, KafkaSecurity, kafka_python_options

CONNECT_TIMEOUT = 5.0
"""Seconds to reach a broker."""

REQUEST_TIMEOUT = 15.0
"""Seconds without an answer after which a broker counts as gone."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """A Kafka cluster and how to log in to it."""

    bootstrap_servers: tuple[str, ...]
    security: KafkaSecurity = field(default_factory=KafkaSecurity)
    """As for the source of the same cluster."""

    def __str__(self) -> str:
        return f"Kafka at {','.join(self.bootstrap_servers)}"

    def options(self) -> dict[str, Any]:
        """What every client of it needs. None of them makes a topic by asking for it."""
        return {
            "bootstrap_servers": list(self.bootstrap_servers),
            "client_id": "poller-dead-letters",
            "bootstrap_timeout_ms": int(CONNECT_TIMEOUT * 1000),
            "request_timeout_ms": int(REQUEST_TIMEOUT * 1000),
            "reconnect_backoff_max_ms": 1000,
            "metrics_enabled": False,
            **kafka_python_options(self.security, self.security.token_source()),
        }

    def cluster_id(self) -> str:
        """The cluster's own name, by which two lists of addresses are known to mean the same brokers; blocks."""
        with self.admin(self) as admin:
            found: str = admin.describe_cluster()["cluster_id"]
            return found

    @contextmanager
    def admin(self, where: object) -> Iterator[KafkaAdminClient]:
        """For questions and deletions; errors are LettersErrors that begin with `where`."""
        connections = Connections()
        options = {name: value for name, value in self.options().items() if name != "metrics_enabled"}
        with translated(where, self, connections):
            try:
                admin = KafkaAdminClient(kafka_client=connections.make, **options)
            except kafka_errors.KafkaError as error:
                refused = connections.refused(",".join(self.bootstrap_servers))
                connections.close()  # its sockets are still open
                if refused is not None:
                    raise LettersError(str(refused)) from error
                raise
            try:
                yield admin
            finally:
                admin.close()


@contextmanager
def translated(where: object, cluster: Cluster, connections: Connections) -> Iterator[None]:
    """Errors of the client become a LettersError that begins with where they happened, or that tells a refusal."""
    try:
        yield
    except (kafka_errors.KafkaError, TokenError, InvalidKeys, OSError) as error:
        refused = connections.refused(",".join(cluster.bootstrap_servers))
        if refused is not None:
            raise LettersError(str(refused)) from error
        if isinstance(error, kafka_errors.AuthorizationError):
            raise LettersError(f"{where} refuses this login: {error}") from error
        if isinstance(error, kafka_errors.KafkaTimeoutError):
            raise LettersError(f"{where} does not answer: {error}") from error
        raise LettersError(f"{where}: {error or type(error).__name__}") from error


def missing_topic(topic: str, cluster: Sequence[str]) -> str:
    """The text about a topic that is not there."""
    return f"the topic {topic} does not exist at {','.join(cluster)}, or this login may not see it"
