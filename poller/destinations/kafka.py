"""Dead letters to a Kafka topic: acks=all, every future waited for."""

# mypy: allow-untyped-calls
# kafka-python has no annotations.

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from contextlib import suppress

from kafka import KafkaProducer
from kafka.errors import KafkaError, KafkaTimeoutError, MessageSizeTooLargeError

from poller.errors import LOGIN_REFUSED, DestinationError, DestinationLoginRefused, DestinationRefused, SourceRejected
from poller.model import DeadLetter
from poller.sources.kafka_oauth import TokenError
from poller.sources.kafka_python_client import Connections
from poller.sources.kafka_security import KafkaSecurity, kafka_python_options

CONNECT_TIMEOUT = 5.0
"""Seconds to reach a broker."""

TOPIC_TIMEOUT = 3.0
"""Seconds to learn the topic's partitions; a topic that was made a moment ago may miss in the first answers."""

DELIVERY_TIMEOUT = 8.0
"""Seconds until every letter of one `send` is acknowledged or has failed."""

MAXIMUM_REQUEST_SIZE = 64 * 1024 * 1024
"""Bytes. Far above what brokers take by default (1 MB): the topic's own max.message.bytes decides, not the client."""

_log = logging.getLogger(__name__)


class KafkaDestination:
    """One topic. Connects at the first `send`; the client keeps the connection alive on its own I/O thread.

    The topic has to exist: none is created, since a topic made by accident has the wrong partitions and retention.
    Keys and headers are kept. A letter that the topic refuses for its size is sent again without its payload; when
    that is refused, too, the error stays, and so does the letter's origin.

    Args:
        bootstrap_servers: comma-joined `host:port`.
        topic: where the letters go.
        security: login and TLS, as the source of the same cluster uses them.
    """

    def __init__(self, bootstrap_servers: str, topic: str, *, security: KafkaSecurity | None = None) -> None:
        self._bootstrap_servers = bootstrap_servers
        self._topic = topic
        self._security = security or KafkaSecurity()
        self._tokens = self._security.token_source()
        self._connections = Connections()
        self._producer: KafkaProducer | None = None

    def send(self, letters: Sequence[DeadLetter]) -> None:
        """Send all at once and wait for every acknowledgement; blocks half a minute at most.

        Raises:
            DestinationError: not all are durable.
        """
        if not letters:
            return
        try:
            refused = self._deliver([(letter, letter.body) for letter in letters])
            if refused:
                self._deliver_without_payload(refused)
        except DestinationError:
            self.close()
            raise
        except (KafkaError, TokenError, OSError, ValueError) as error:
            # A producer that failed may still hold letters, and would send them after their repetition: start anew.
            reason = self._connections.refused(self._bootstrap_servers) or error
            self.close()
            raise _error_for(reason)(f"dead letters cannot be sent to {self._where}: {reason}") from error

    def close(self) -> None:
        """Drop the connection; what is not acknowledged is given up. Blocks two seconds at most."""
        producer, self._producer = self._producer, None
        if producer is None:
            self._connections.close()  # the producer's constructor may have failed, and left the sockets open
            return
        self._connections.forget()
        try:
            producer.close(timeout=1)
        except KafkaTimeoutError:
            # Letters are still under way, and `close` insists on waiting for them. There is no public way to end the
            # client then, and one left running would send them behind the back of whoever repeats them.
            producer._sender.force_close()  # noqa: SLF001
            with suppress(KafkaTimeoutError):
                producer.close(timeout=1)

    @property
    def _where(self) -> str:
        return f"the Kafka topic {self._topic} at {self._bootstrap_servers}"

    def _deliver(self, messages: Sequence[tuple[DeadLetter, bytes]]) -> list[DeadLetter]:
        """Send and wait for all. Returns the letters that were refused for their size; raises what else went wrong."""
        producer = self._connect()
        refused = []
        waiting = []
        for letter, body in messages:
            try:
                future = producer.send(self._topic, value=body, key=letter.key, headers=list(letter.headers))
            except MessageSizeTooLargeError:
                refused.append(letter)
            else:
                waiting.append((letter, future))
        deadline = time.monotonic() + DELIVERY_TIMEOUT + 1  # the client's own deadline comes first and says more
        for letter, future in waiting:
            try:
                future.get(timeout=max(0.0, deadline - time.monotonic()))
            except MessageSizeTooLargeError:
                refused.append(letter)
        return refused

    def _deliver_without_payload(self, refused: Sequence[DeadLetter]) -> None:
        reduced = [(letter, letter.without_payload) for letter in refused if letter.without_payload is not None]
        if len(reduced) < len(refused) or self._deliver(reduced):
            raise DestinationRefused(
                f"{self._where} refuses a dead letter for its size: raise max.message.bytes of the topic", "Record"
            )
        _log.warning(
            "%d dead letters went to %s without their payload, which is over max.message.bytes of the topic; "
            "the records can still be read where they came from",
            len(reduced),
            self._where,
        )

    def _connect(self) -> KafkaProducer:
        if self._producer is not None:
            return self._producer
        if self._tokens is not None:
            self._tokens.token()  # here it may take its time; the client waits for it on its only thread
        self._producer = KafkaProducer(
            bootstrap_servers=self._bootstrap_servers.split(","),
            client_id=f"poller-dead-letters-{self._topic}",
            kafka_client=self._connections.make,
            acks="all",
            # Not idempotent: there a refused size is fatal, and fails every letter under way with it. What a repetition
            # doubles is allowed to; one request at a time keeps the order without idempotence.
            enable_idempotence=False,
            max_in_flight_requests_per_connection=1,
            max_request_size=MAXIMUM_REQUEST_SIZE,
            bootstrap_timeout_ms=int(CONNECT_TIMEOUT * 1000),
            max_block_ms=int(TOPIC_TIMEOUT * 1000),
            request_timeout_ms=int(DELIVERY_TIMEOUT * 750),
            delivery_timeout_ms=int(DELIVERY_TIMEOUT * 1000),
            reconnect_backoff_max_ms=1000,  # who calls backs off; within one `send`, try again soon
            metrics_enabled=False,
            **kafka_python_options(self._security, self._tokens),
        )
        try:
            self._producer.partitions_for(self._topic)
        except KafkaTimeoutError as error:
            if (refused := self._connections.refused(self._bootstrap_servers)) is not None:
                raise _error_for(refused)(str(refused)) from error
            raise DestinationError(
                f"{self._where} does not exist, or this login may not see it: create it, as none is created here"
            ) from error
        return self._producer


def _error_for(reason: Exception) -> type[DestinationError]:
    refused = isinstance(reason, SourceRejected) and reason.code == LOGIN_REFUSED
    return DestinationLoginRefused if refused else DestinationError
