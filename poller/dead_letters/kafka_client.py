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
from kafka.net.compat import KafkaNetClient

from poller.dead_letters.letter import LettersError
from poller.sources.kafka_security import KafkaSecurity, kafka_python_options

CONNECT_TIMEOUT = 5.0
"""Seconds to reach a broker."""

REQUEST_TIMEOUT = 15.0
"""Seconds without an answer after which a broker counts as gone."""

_SAID_NO = (
    kafka_errors.AuthorizationError,
    kafka_errors.SaslAuthenticationFailedError,
    kafka_errors.UnsupportedSaslMechanismError,
    kafka_errors.IllegalSaslStateError,
)


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
            **kafka_python_options(self.security),
        }

    def cluster_id(self) -> str:
        """The cluster's own name, by which two lists of addresses are known to mean the same brokers; blocks."""
        with translated(self), self.admin() as admin:
            found: str = admin.describe_cluster()["cluster_id"]
            return found

    @contextmanager
    def admin(self) -> Iterator[KafkaAdminClient]:
        """For questions and deletions; its errors are the client library's."""
        made: list[KafkaNetClient] = []
        options = {name: value for name, value in self.options().items() if name != "metrics_enabled"}
        try:
            admin = KafkaAdminClient(kafka_client=client_keeper(made), **options)
        except Exception:
            close_all(made)
            raise
        try:
            yield admin
        finally:
            admin.close()


def client_keeper(made: list[KafkaNetClient]) -> Any:
    """A maker of network clients that keeps them: a constructor that fails leaves its client's sockets open."""

    def make(**options: Any) -> KafkaNetClient:
        client = KafkaNetClient(**options)
        client.cluster.config["allow_auto_create_topics"] = False  # kafka-python forgets to pass the option on
        made.append(client)
        return client

    return make


def close_all(made: Sequence[KafkaNetClient]) -> None:
    """Close the clients that a failed constructor left."""
    for client in made:
        client.close()


@contextmanager
def translated(where: object) -> Iterator[None]:
    """Errors of the client become a LettersError that begins with where they happened."""
    try:
        yield
    except LettersError:
        raise
    except _SAID_NO as error:
        raise LettersError(f"{where} refuses this login: {error}") from error
    except kafka_errors.KafkaTimeoutError as error:
        raise LettersError(f"{where} does not answer: {error}") from error
    except (kafka_errors.KafkaError, OSError) as error:
        raise LettersError(f"{where}: {error or type(error).__name__}") from error


def missing_topic(topic: str, cluster: Sequence[str]) -> str:
    """The text about a topic that is not there."""
    return f"the topic {topic} does not exist at {','.join(cluster)}, or this login may not see it"
