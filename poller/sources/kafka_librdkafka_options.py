"""librdkafka's properties for a source, what its errors mean, and its messages as runs of records. Pure."""

# ruff: noqa: SLF001 - the client's own error codes begin with an underscore, as against the broker's

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME, KafkaError, Message

from poller.errors import SourceRejected
from poller.model import Shard
from poller.sources.kafka_event import KafkaSettings
from poller.sources.kafka_oauth import TokenSource
from poller.sources.kafka_refusals import ACCESS, CONFIGURATION, KEYS, SASL, Refusal, tls_refusal
from poller.sources.kafka_run import KafkaRun, RecordHead, to_run
from poller.sources.kafka_security import librdkafka_options

_log = logging.getLogger(__name__)

REFUSALS: dict[int, Refusal] = {
    KafkaError._AUTHENTICATION: SASL,
    KafkaError.SASL_AUTHENTICATION_FAILED: SASL,
    KafkaError.UNSUPPORTED_SASL_MECHANISM: SASL,
    KafkaError.ILLEGAL_SASL_STATE: SASL,
    KafkaError.TOPIC_AUTHORIZATION_FAILED: ACCESS,
    KafkaError.GROUP_AUTHORIZATION_FAILED: ACCESS,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED: ACCESS,
    KafkaError.INCONSISTENT_GROUP_PROTOCOL: CONFIGURATION,  # other members use another assignor
    KafkaError.INVALID_GROUP_ID: CONFIGURATION,
    KafkaError.INVALID_SESSION_TIMEOUT: CONFIGURATION,
    KafkaError._INVALID_ARG: CONFIGURATION,
    KafkaError._NOT_IMPLEMENTED: CONFIGURATION,  # records compressed with a codec that is not built in
}
"""By error code: what does not get better by itself."""

END_OF_PARTITION: int = KafkaError._PARTITION_EOF

MISSING = {KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION}
"""The broker does not know the topic."""

PASSING = {
    KafkaError._TRANSPORT,
    KafkaError._ALL_BROKERS_DOWN,
    KafkaError._RESOLVE,
    KafkaError._TIMED_OUT,
    KafkaError._TIMED_OUT_QUEUE,
}
"""No broker answers, for now."""


def refusal_of(error: KafkaError, addresses: str) -> SourceRejected | None:
    """What the cluster refuses, or the client for it, if it is that."""
    code, text = error.code(), error.str()
    if code == KafkaError._INVALID_ARG and any(name in text for name in ("ssl.certificate", "ssl.key", "ssl.ca")):
        return KEYS.rejected(f"Kafka at {addresses}: the client cannot use the certificate or the private key: {text}")
    if code in REFUSALS:
        return REFUSALS[code].rejected(f"Kafka at {addresses} refuses: {text}")
    if code in _OF_TLS and (told := tls_refusal(text)) is not None:
        refusal, reason = told
        return refusal.rejected(f"Kafka at {addresses}: {reason}")
    return None


def is_refusal(error: KafkaError) -> bool:
    """Whether it does not get better by itself."""
    return refusal_of(error, "") is not None


_OF_TLS = {KafkaError._SSL, KafkaError._TRANSPORT}

_REQUEST_TIMEOUT = 10.0
"""Seconds: how long a hung broker goes unnoticed. The client's 60 s outlast every session."""

_FETCH_WAIT = 100
"""Milliseconds that a broker holds a fetch which finds nothing. It cannot be changed while the client runs. What waits
for the fetch under way is a partition that was paused or assigned meanwhile, never a new record. Idle, 10 ms cost 0.8 %
of a core, 100 ms 0.16 %, 500 ms 0.08 %; reading a backlog of one partition beside empty ones took the same with all."""


def consumer_options(settings: KafkaSettings, tokens: TokenSource | None = None) -> dict[str, Any]:
    """The properties of a consumer."""
    session = int(settings.session_timeout * 1000)
    return {
        "bootstrap.servers": settings.addresses,
        "group.id": settings.group_id,
        "client.id": settings.client_id,
        "partition.assignment.strategy": "cooperative-sticky",  # only partitions that move pay
        "allow.auto.create.topics": False,
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "auto.offset.reset": "error",  # the source decides
        # AWS does not say which. A handler should not act on records whose transaction was taken back.
        "isolation.level": "read_committed",
        # Where reading begins and ends is told by nothing else: positions count what was given out only.
        "enable.partition.eof": True,
        # The owner polls once a second whatever handlers do, so a minute without a poll is a hung program.
        "max.poll.interval.ms": 60_000,
        "session.timeout.ms": session,
        "heartbeat.interval.ms": session // 10,  # members learn of a rebalance by heartbeat
        "socket.timeout.ms": max(session, int(_REQUEST_TIMEOUT * 1000)),
        "socket.connection.setup.timeout.ms": max(1000, int(settings.connect_timeout * 1000)),
        "reconnect.backoff.max.ms": 1000,  # the default of 10 s outlasts the restart of a broker
        # How soon an added partition is seen. By default it takes 5 minutes.
        "topic.metadata.refresh.interval.ms": 10_000,
        "fetch.wait.max.ms": _FETCH_WAIT,
        # How long a partition with enough in the queue is left alone. The default of 1 s costs three quarters of the
        # throughput.
        "fetch.queue.backoff.ms": 10,
        "queued.max.messages.kbytes": max(1, settings.prefetch_bytes >> 10),
        "check.crcs": True,
        "statistics.interval.ms": 0,
        "enable.metrics.push": False,
        **librdkafka_options(settings.security, tokens),
    }


def is_news(message: Message) -> bool:
    """Whether it stands in a record's place to tell something."""
    return message.error() is not None


def from_messages(some: Sequence[Message], shard: Shard, head: RecordHead) -> KafkaRun:
    """The client's messages, one at least, as a run. Pure; what is not read with C functions alone is in `to_run`."""
    return to_run(
        shard,
        head,
        list(map(Message.offset, some)),  # type: ignore[arg-type]  # never None in a message that was consumed
        map(Message.timestamp, some),
        list(map(Message.key, some)),
        list(map(Message.value, some)),
        _headers(some),
        log_append_time=TIMESTAMP_LOG_APPEND_TIME,
    )


def _headers(some: Sequence[Message]) -> list[Any]:
    """Each message's headers; none where a name is not UTF-8, as the client gives no other way to them."""
    headers: list[Any] = []
    left = iter(some)
    while True:
        try:
            headers.extend(map(Message.headers, left))  # what came before an error stays
        except (SystemError, UnicodeDecodeError):
            # Not to be asked again: the client's second answer would be a list with holes, which crashes Python.
            message = some[len(headers)]
            headers.append(None)
            place = f"{message.topic()}-{message.partition()} offset {message.offset()}"
            _log.warning(
                "%s has a header whose name is not UTF-8: the client gives none of the record's headers, so it is "
                "handled without them (KafkaClient kafka-python reads them)",
                place,
            )
        else:
            return headers
