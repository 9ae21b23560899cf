"""kafka-python's options for a source, and its values as ours. Pure."""

# mypy: allow-untyped-calls
# kafka-python has no annotations.

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kafka import OffsetAndMetadata, TopicPartition
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor

from poller.model import Shard
from poller.sources.kafka_event import KafkaSettings
from poller.sources.kafka_oauth import TokenSource
from poller.sources.kafka_python_loop import Selector
from poller.sources.kafka_run import KafkaRun, RecordHead, to_run
from poller.sources.kafka_security import kafka_python_options

_REQUEST_TIMEOUT = 10.0
"""Seconds: how long a hung broker goes unnoticed. The client's 30 s outlast every session."""
_METADATA_AGE = 10.0
"""Seconds until partitions that are added are read. The client's five minutes are for clusters of thousands."""


def consumer_options(settings: KafkaSettings, tokens: TokenSource | None) -> dict[str, Any]:
    """Options of a KafkaConsumer, save what makes its client."""
    return {
        "bootstrap_servers": list(settings.bootstrap_servers),
        "group_id": settings.group_id,
        "client_id": settings.client_id,
        "partition_assignment_strategy": [CooperativeStickyAssignor],  # only partitions that move pay
        "enable_auto_commit": False,
        "auto_offset_reset": "none",  # kafka_positions.py decides
        # AWS does not say which. A handler should not act on records whose transaction was taken back.
        "isolation_level": "read_committed",
        "max_poll_records": settings.max_poll_records,
        # The owner polls once a second whatever handlers do, so a minute without a poll is a hung program.
        "max_poll_interval_ms": 60_000,
        "session_timeout_ms": int(settings.session_timeout * 1000),
        "heartbeat_interval_ms": int(settings.session_timeout * 100),  # members learn of a rebalance by heartbeat
        "fetch_max_wait_ms": int(settings.fetch_max_wait * 1000),
        "request_timeout_ms": int(max(settings.session_timeout, _REQUEST_TIMEOUT) * 1000),
        "metadata_max_age_ms": int(_METADATA_AGE * 1000),
        "reconnect_backoff_max_ms": 1000,  # the default of 30 s outlasts the restart of a broker
        "bootstrap_timeout_ms": int(settings.connect_timeout * 1000),
        "metrics_enabled": False,
        "selector": Selector,
        **kafka_python_options(settings.security, tokens),
    }


def from_consumer_records(some: Sequence[Any], shard: Shard, head: RecordHead) -> KafkaRun:
    """The client's records, one at least, as ours."""
    # A message format from before Kafka 0.10 has no timestamps.
    times = [-1 if record.timestamp is None else record.timestamp for record in some]
    return to_run(
        shard,
        head,
        [record.offset for record in some],
        [(record.timestamp_type, time) for record, time in zip(some, times, strict=True)],
        [record.key for record in some],
        [record.value for record in some],
        [record.headers for record in some],
    )


def offsets_to_commit(positions: Mapping[TopicPartition, int]) -> dict[TopicPartition, OffsetAndMetadata]:
    """Positions as the client wants them."""
    return {partition: OffsetAndMetadata(position, "", -1) for partition, position in positions.items()}
