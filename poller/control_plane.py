"""From resources to running pollers, and back to how they are: what starts, what stops, what state it is in.

Owned by the main thread; `mapping_states`, `mappings`, `functions` and `alive` may be asked from any.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from poller.clock import Clock
from poller.destinations import Destination
from poller.destinations.worker import DestinationWorker
from poller.endpoints import FileTarget, KafkaTarget, RabbitMQTarget, Target
from poller.event_poller import EventPoller
from poller.log import FunctionLog
from poller.mapping_plan import NO_RECORDS, MappingPlan, PollerState
from poller.metrics import FunctionSnapshot, MappingLabels, MappingMetrics, MappingSnapshot, Metrics
from poller.model import DeadLetter, Discard, FunctionConfiguration
from poller.policy.batching import DEFAULT_WINDOW, BatchingLimits, WindowStart
from poller.policy.error_headers import KafkaOrigin, RabbitMQOrigin
from poller.policy.filtering import compile_filters
from poller.policy.invocation_records import RecordContext, dead_letters
from poller.policy.lanes import Lanes
from poller.policy.retrying import RETRIES_BEFORE_ON_FAILURE, WITHOUT_END, BackOff, RetryPolicy
from poller.policy.workers import Share
from poller.resources import EventSourceMapping
from poller.runtime.pool import FunctionPool
from poller.settings import KafkaClientName, kafka_client
from poller.shares import shares_of
from poller.sources import Source
from poller.template import Template

READ_AHEAD = 256 * 1024
"""Encoded bytes that wait per shard at least before its source is paused. After a pause a source takes milliseconds to
go on, and a batch of a hundred small records is worked off in less."""

CLOSING = 5.0
"""Seconds beyond ShutdownGrace that pollers may take to commit and to leave their groups."""

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class RunningMapping:
    """One event source mapping and what runs for it."""

    mapping: EventSourceMapping
    labels: MappingLabels
    pollers: list[EventPoller] = field(default_factory=list)
    threads: list[threading.Thread] = field(default_factory=list)
    dead_letters: DestinationWorker | None = None

    def state(self) -> dict[str, object]:
        """For `/readyz`: AWS's names where AWS has one (C.2)."""
        states = [poller.state for poller in self.pollers]
        opened = all(state.polling or state.problem for state in states)
        return {
            "Mapping": self.mapping.name,
            "UUID": self.mapping.UUID,
            "State": "Disabled" if not self.mapping.Enabled else "Enabled" if opened else "Creating",
            "StateTransitionReason": _first(states, "USER_INITIATED", lambda state: state.reason),
            "LastProcessingResult": _first(
                states, NO_RECORDS, lambda state: state.refusal or state.last_processing_result
            ),
            "Problem": _first(states, "", lambda state: state.problem),
        }

    def snapshot(self) -> MappingSnapshot:
        """For `/metrics`."""
        lag: dict[str, int] = {}
        for poller in self.pollers:
            lag |= poller.state.lag or {}
        return MappingSnapshot(
            labels=self.labels,
            enabled=any(poller.state.polling for poller in self.pollers),
            lag=lag,
            held=sum(poller.state.held for poller in self.pollers),
            pollers=len(self.pollers),
        )


def _join(thread: threading.Thread, deadline: float) -> None:
    """Wait for a poller's thread, but not for ever.

    One that hangs in its client must not keep the process: what it has not acknowledged comes again. Its stack is told.
    """
    if not thread.is_alive():
        return
    thread.join(max(0.0, deadline - time.monotonic()))
    if thread.is_alive():
        frame = sys._current_frames().get(thread.ident or 0)  # noqa: SLF001 - the documented way to another's stack
        stack = "".join(traceback.format_stack(frame)) if frame else ""
        _log.error("%s does not end and is left; it is here:\n%s", thread.name, stack)


def _first(states: Sequence[PollerState], ordinary: str, of: Callable[[PollerState], str]) -> str:
    """The first poller's answer that is not the ordinary one."""
    return next((of(state) for state in states if of(state) != ordinary), ordinary)


def labels_of(mapping: EventSourceMapping) -> MappingLabels:
    """Who the series of a mapping belong to."""
    return MappingLabels(mapping.name, mapping.FunctionName, (*mapping.Topics, *mapping.Queues)[0])


class ControlPlane:
    """Functions and mappings of one account: a template's, here, or a worker's share of them."""

    def __init__(self, template: Template, metrics: Metrics, clock: Clock, share: Share | None = None) -> None:
        self._settings = template.settings
        self._share = share or shares_of(template, 1)[0]
        self._metrics = metrics
        self._clock = clock
        self._configurations = {item.FunctionName: item.configuration() for item in template.functions}
        self._pools = {name: self._pool(configuration) for name, configuration in self._configurations.items()}
        self._running = [self._prepare(mapping) for mapping in template.mappings]

    def start(self) -> None:
        """Start pools, then what feeds them. Returns at once; brokers are connected to on the pollers' threads."""
        for pool in self._pools.values():
            pool.start()
        for running in self._running:
            if running.dead_letters is not None:
                running.dead_letters.start()
            for thread in running.threads:
                thread.start()

    def stop(self) -> None:
        """Finish what is in work: sources first, as they wait for handlers and dead letters; both end after them."""
        for running in self._running:
            for poller in running.pollers:
                poller.stop()
        deadline = time.monotonic() + self._settings.ShutdownGrace + CLOSING
        for running in self._running:
            for thread in running.threads:
                _join(thread, deadline)
        for running in self._running:
            if running.dead_letters is not None:
                running.dead_letters.stop(grace=1.0)
        for pool in self._pools.values():
            pool.stop()

    def alive(self) -> bool:
        """Whether every thread that was started still runs."""
        return all(thread.is_alive() for running in self._running for thread in running.threads)

    def mapping_states(self) -> list[dict[str, object]]:
        """Every mapping as `/readyz` shows it."""
        return [running.state() for running in self._running]

    def mappings(self) -> Iterable[MappingSnapshot]:
        """Every mapping as `/metrics` shows it."""
        return [running.snapshot() for running in self._running]

    def functions(self) -> Iterable[FunctionSnapshot]:
        """Every function as `/metrics` shows it."""
        for name, pool in self._pools.items():
            stats = pool.stats()
            yield FunctionSnapshot(
                function=name,
                environments=stats.environments,
                busy=stats.busy,
                waiting=stats.waiting,
                cold_starts=stats.cold_starts,
                invocations=stats.invocations,
                errors=stats.errors,
                throttles=stats.throttles,
            )

    def _pool(self, configuration: FunctionConfiguration) -> FunctionPool:
        limit = self._share.concurrency[configuration.function_name]
        if configuration.reserved_concurrent_executions is not None:
            configuration = replace(configuration, reserved_concurrent_executions=limit)
        return FunctionPool(configuration, log=FunctionLog(configuration.function_name), account_concurrency=limit)

    def _prepare(self, mapping: EventSourceMapping) -> RunningMapping:
        labels = labels_of(mapping)
        running = RunningMapping(mapping, labels)
        pollers = self._share.pollers[mapping.name]
        if not pollers:
            return running
        metrics = self._metrics.of_mapping(labels)
        if mapping.on_failure is not None:
            running.dead_letters = _worker(mapping.on_failure, mapping.name, metrics, self._clock)
        for number in range(pollers):
            poller = self._poller(mapping, number, running.dead_letters, metrics)
            name = f"poller-{mapping.name}-{number}"
            running.pollers.append(poller)
            running.threads.append(threading.Thread(target=poller.run, name=name, daemon=True))
        return running

    def _poller(
        self, mapping: EventSourceMapping, number: int, letters: DestinationWorker | None, metrics: MappingMetrics
    ) -> EventPoller:
        settings = self._settings
        source = source_of(mapping, self._share.poller_name(number), settings.KafkaClient)
        retry = retry_policy(mapping, settings.TimeScale)
        configuration = self._configurations[mapping.FunctionName]
        filters = compile_filters(mapping.filter_patterns, "data" if mapping.kind == "MQ" else "value")
        lanes = Lanes(
            batching_limits(mapping, source.overhead(1), source.overhead(2) - source.overhead(1)),
            ordered=source.features.ordered,
            mixed=mapping.extensions.EventGrouping == "Poller",
            matches=filters.matches if filters else None,
            expired=retry.split_expired if retry.maximum_record_age != WITHOUT_END else None,
        )
        plan = MappingPlan(
            name=mapping.name,
            function_arn=configuration.function_arn,
            pool=self._pools[mapping.FunctionName],
            retry=retry,
            report_batch_item_failures=mapping.report_batch_item_failures,
            metrics=metrics,
            dead_letters=letters,
            build_letters=_letters_for(mapping, configuration, source, self._clock) if letters else None,
            revocation_grace=settings.RevocationGrace,
            shutdown_grace=settings.ShutdownGrace,
        )
        return EventPoller(plan, source, lanes, self._clock)


def batching_limits(mapping: EventSourceMapping, overhead: int, of_shard: int = 0) -> BatchingLimits:
    """BatchSize and window of a mapping; where a window starts depends on the source and its mode (C.4)."""
    seconds = mapping.MaximumBatchingWindowInSeconds
    if mapping.kind == "MQ":
        window_start = WindowStart.FIRST_RECORD
    elif mapping.ProvisionedPollerConfig is not None:
        window_start = WindowStart.PREVIOUS_HANDOVER
    else:
        window_start = WindowStart.PREVIOUS_RESULT
    return BatchingLimits(
        batch_size=mapping.BatchSize,
        window=DEFAULT_WINDOW if seconds is None else float(seconds),
        window_start=window_start,
        overhead=overhead,
        overhead_of_shard=of_shard,
        read_ahead=READ_AHEAD,
    )


def retry_policy(mapping: EventSourceMapping, time_scale: float) -> RetryPolicy:
    """The failure settings of a mapping (C.1, D.1.2)."""
    attempts = mapping.maximum_retry_attempts
    redelivers = mapping.kind == "MQ"
    if (
        attempts == WITHOUT_END
        and mapping.on_failure is not None
        and not redelivers
        and mapping.ProvisionedPollerConfig
    ):
        attempts = RETRIES_BEFORE_ON_FAILURE
    return RetryPolicy(
        redelivers=redelivers,
        maximum_retry_attempts=attempts,
        maximum_record_age=float(mapping.MaximumRecordAgeInSeconds),
        bisect_batch_on_function_error=mapping.BisectBatchOnFunctionError,
        back_off=BackOff(time_scale=time_scale),
    )


def source_of(mapping: EventSourceMapping, number: int | str, kafka: KafkaClientName = "auto") -> Source:
    """The consumer of a mapping. Its client library is imported only when a mapping wants it."""
    client_id = f"poller-{mapping.name}-{number}"
    if mapping.kind == "MQ":
        from poller.sources.rabbitmq import RabbitMQSource  # noqa: PLC0415
        from poller.sources.rabbitmq_event import RabbitMQSettings  # noqa: PLC0415

        assert mapping.broker_url is not None
        return RabbitMQSource(
            RabbitMQSettings.from_url(
                mapping.broker_url.get_secret_value(),
                queue=mapping.Queues[0],
                # One batch in work and one that waits (architecture: prefetch = BatchSize x (lanes + 1)).
                prefetch=min(2 * mapping.BatchSize, 65_535),
                event_source_arn=mapping.EventSourceArn or "",
            )
        )
    from poller.sources.kafka_event import KafkaSettings  # noqa: PLC0415

    settings = KafkaSettings(
        bootstrap_servers=mapping.bootstrap_servers,
        topic=mapping.Topics[0],
        group_id=mapping.consumer_group_id,
        starting_position=mapping.StartingPosition,
        starting_timestamp=mapping.starting_timestamp,
        client_id=client_id,
        event_source="aws:kafka" if mapping.kind == "MSK" else "SelfManagedKafka",
        event_source_arn=mapping.EventSourceArn,
        max_poll_records=max(500, mapping.BatchSize),
        security=mapping.security,
    )
    client = kafka_client(kafka)
    if number == 0:
        _log.info("reads topic %s with %s", settings.topic, client, extra={"mapping": mapping.name})
    if client == "confluent-kafka":
        from poller.sources.kafka_librdkafka import LibrdkafkaSource  # noqa: PLC0415

        return LibrdkafkaSource(settings)
    from poller.sources.kafka import KafkaSource  # noqa: PLC0415

    return KafkaSource(settings)


def _worker(target: Target, name: str, metrics: MappingMetrics, clock: Clock) -> DestinationWorker:
    def on_error(text: str) -> None:
        metrics.count("on_failure_destination_delivery_error_count")
        _log.warning("dead letters for %s: %s", target, text, extra={"mapping": name})

    return DestinationWorker(destination_of(target), name, clock=clock, on_error=on_error)


def destination_of(target: Target) -> Destination:
    """The client for a target. Its library is imported only when a mapping wants it."""
    match target:
        case KafkaTarget(servers, topic, security):
            from poller.destinations.kafka import KafkaDestination  # noqa: PLC0415

            return KafkaDestination(",".join(servers), topic, security=security)
        case RabbitMQTarget(broker_url, exchange, routing_key):
            from poller.destinations.rabbitmq import RabbitMQDestination  # noqa: PLC0415

            return RabbitMQDestination(broker_url.get_secret_value(), exchange, routing_key)
        case FileTarget(path):
            from poller.destinations.file import FileDestination  # noqa: PLC0415

            return FileDestination(path)


def _letters_for(
    mapping: EventSourceMapping, configuration: FunctionConfiguration, source: Source, clock: Clock
) -> Callable[[Discard], list[DeadLetter]]:
    """Makes the on-failure records of one mapping (D.1.4)."""
    origin: KafkaOrigin | RabbitMQOrigin = (
        RabbitMQOrigin(mapping.Queues[0], mapping.virtual_host)
        if mapping.kind == "MQ"
        else KafkaOrigin(",".join(mapping.bootstrap_servers), mapping.consumer_group_id)
    )
    context = RecordContext(
        function_name=configuration.function_name,
        function_arn=configuration.function_arn,
        mapping_uuid=mapping.UUID,
        event_source_arn=mapping.EventSourceArn,
        origin=origin,
        build_event=source.build_event,
        error_headers=mapping.extensions.ErrorHeaders,
    )
    each_record = isinstance(mapping.on_failure, KafkaTarget)
    return lambda discard: dead_letters(discard, context, now=clock.time(), each_record=each_record)
