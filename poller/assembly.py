"""From the values of a mapping to the parts that run it: limits, retries, source, destination, and a poller of them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from poller.account.environments import Environments, Invocable
from poller.clock import Clock
from poller.destinations import Destination
from poller.destinations.renewing import RenewingDestination
from poller.destinations.worker import DestinationWorker
from poller.endpoints import FileTarget, KafkaTarget, RabbitMQTarget, Target
from poller.event_poller import EventPoller
from poller.faults.chance import Chance
from poller.faults.destination import DroppingDestination
from poller.faults.duplicating import DuplicatingPolicy
from poller.mapping_plan import MappingPlan, Policy, PollerChange
from poller.metrics import MappingLabels, MappingMetrics, Metrics
from poller.model import DeadLetter, Discard
from poller.policy.batching import DEFAULT_WINDOW, BatchingLimits, WindowStart
from poller.policy.error_headers import KafkaOrigin, RabbitMQOrigin
from poller.policy.filtering import compile_filters
from poller.policy.invocation_records import RecordContext, dead_letters
from poller.policy.lanes import Lanes
from poller.policy.retrying import RETRIES_BEFORE_ON_FAILURE, WITHOUT_END, BackOff, RetryPolicy
from poller.policy.scaling import CONCURRENCY_PER_POLLER
from poller.policy.workers import Share
from poller.resources import EventSourceMapping
from poller.settings import KafkaClientName, Settings, kafka_client
from poller.sources import Source
from poller.wiring import with_login_read_anew

if TYPE_CHECKING:  # they bring their client's library, which is loaded only when a mapping wants it
    from poller.sources.kafka_event import KafkaSettings
    from poller.sources.rabbitmq_event import RabbitMQSettings

READ_AHEAD = 64 * 1024
"""Encoded bytes that wait per shard at least before its source is paused: a batch of a hundred small records is worked
off sooner than the next poll comes. What waits longer has left the processor's cache until it is its turn."""

POLLED = 300
"""Records of one poll of Kafka, or one batch if that is more. While records are made of them, answers wait."""

T = TypeVar("T")

Renewed = Callable[[], EventSourceMapping | None]
"""Gives a mapping with its login read anew; None where that cannot be."""

_log = logging.getLogger(__name__)


def labels_of(mapping: EventSourceMapping) -> MappingLabels:
    """Who the series of a mapping belong to."""
    return MappingLabels(mapping.name, mapping.FunctionName, (*mapping.Topics, *mapping.Queues)[0])


@dataclass(frozen=True, slots=True)
class Assembly:
    """What the parts of every mapping are made with. Makes them; starts nothing, keeps nothing."""

    settings: Settings
    metrics: Metrics
    clock: Clock
    share: Share
    environments: Environments

    def dead_letters(self, mapping: EventSourceMapping) -> DestinationWorker | None:
        """What sends a mapping's dead letters, not yet started; None when they go nowhere."""
        if mapping.on_failure is None:
            return None
        metrics = self.metrics.of_mapping(labels_of(mapping))
        renewed = partial(with_login_read_anew, mapping, self.settings)
        return dead_letter_worker(
            mapping.on_failure, mapping.name, metrics, self.clock, renewed, faulty=faulty_destinations(self.settings)
        )

    def poller(self, mapping: EventSourceMapping, number: int, letters: DestinationWorker | None) -> EventPoller:
        """One poller of a mapping, with a source of its own.

        Args:
            mapping: complete, as `poller.wiring` leaves it.
            number: from 0, unique among the mapping's pollers that run; for client ids.
            letters: what sends the dead letters of all of them.
        """
        renewed = partial(with_login_read_anew, mapping, self.settings)
        source = source_of(mapping, self.share.poller_name(number), self.settings.KafkaClient, renewed)
        change = self.change(mapping, source, letters)
        lanes = Lanes(
            change.limits,
            ordered=source.features.ordered,
            mixed=mapping.extensions.EventGrouping == "Poller",
            matches=change.matches,
            expired=change.expired,
        )
        return EventPoller(change.plan, source, lanes, self.clock)

    def change(self, mapping: EventSourceMapping, source: Source, letters: DestinationWorker | None) -> PollerChange:
        """What a poller is to do, by the values of its mapping as they are now."""
        settings = self.settings
        arn = f"arn:aws:lambda:{settings.Region}:{settings.AccountId}:function:{mapping.FunctionName}"
        retry = retry_policy(mapping, settings.TimeScale)
        filters = compile_filters(mapping.filter_patterns, "data" if mapping.kind == "MQ" else "value")
        plan = MappingPlan(
            name=mapping.name,
            function_arn=f"{arn}:{mapping.qualifier}" if mapping.qualifier else arn,
            pool=Invocable(self.environments, mapping.FunctionName, mapping.qualifier),
            retry=self._with_faults(mapping, retry),
            report_batch_item_failures=mapping.report_batch_item_failures,
            metrics=self.metrics.of_mapping(labels_of(mapping)),
            dead_letters=letters,
            build_letters=letters_for(mapping, arn, source, self.clock) if letters else None,
            revocation_grace=settings.RevocationGrace,
            shutdown_grace=settings.ShutdownGrace,
        )
        return PollerChange(
            plan,
            batching_limits(mapping, source.overhead(1), source.overhead(2) - source.overhead(1)),
            matches=filters.matches if filters else None,
            expired=retry.split_expired if retry.maximum_record_age != WITHOUT_END else None,
        )

    def _with_faults(self, mapping: EventSourceMapping, retry: RetryPolicy) -> Policy:
        faults = self.settings.Faults
        rate = faults.EventSources[mapping.name].DuplicateDelivery if mapping.name in faults.EventSources else 0
        if not rate:
            return retry
        chance = Chance(faults.Seed, f"{mapping.name}/duplicate")

        def happens() -> bool:
            found = chance.next().share < rate
            if found:
                _log.info("fault on purpose: a batch is delivered twice", extra={"mapping": mapping.name})
            return found

        return DuplicatingPolicy(retry, happens)


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
        # C.8 says so of provisioned pollers only: on demand each partition may have a batch in work.
        concurrency=CONCURRENCY_PER_POLLER if mapping.ProvisionedPollerConfig is not None else None,
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


def source_of(
    mapping: EventSourceMapping,
    number: int | str,
    kafka: KafkaClientName = "auto",
    renewed: Renewed = lambda: None,
) -> Source:
    """The consumer of a mapping. Its client library is imported only when a mapping wants it.

    Args:
        mapping: complete.
        number: of the poller.
        kafka: the setting `KafkaClient`.
        renewed: the mapping with its login read anew, for after a refusal.
    """
    if mapping.kind == "MQ":
        from poller.sources.rabbitmq import RabbitMQSource  # noqa: PLC0415

        return RabbitMQSource(_rabbitmq_settings(mapping), lambda: _applied(_rabbitmq_settings, renewed()))
    settings = _kafka_settings(number, mapping)

    def renewed_settings() -> KafkaSettings | None:
        return _applied(partial(_kafka_settings, number), renewed())

    client = kafka_client(kafka)
    if number == 0:
        _log.info("reads topic %s with %s", settings.topic, client, extra={"mapping": mapping.name})
    if client == "confluent-kafka":
        from poller.sources.kafka_librdkafka import LibrdkafkaSource  # noqa: PLC0415

        return LibrdkafkaSource(settings, renewed_settings)
    from poller.sources.kafka import KafkaSource  # noqa: PLC0415

    return KafkaSource(settings, renewed_settings)


def _applied(make: Callable[[EventSourceMapping], T], mapping: EventSourceMapping | None) -> T | None:
    return None if mapping is None else make(mapping)


def _rabbitmq_settings(mapping: EventSourceMapping) -> RabbitMQSettings:
    from poller.sources.rabbitmq_event import RabbitMQSettings, prefetch_of  # noqa: PLC0415

    assert mapping.broker_url is not None
    return RabbitMQSettings.from_url(
        mapping.broker_url.get_secret_value(),
        queue=mapping.Queues[0],
        prefetch=prefetch_of(mapping.BatchSize),
        event_source_arn=mapping.EventSourceArn or "",
    )


def _kafka_settings(number: int | str, mapping: EventSourceMapping) -> KafkaSettings:
    from poller.sources.kafka_event import KafkaSettings  # noqa: PLC0415

    return KafkaSettings(
        bootstrap_servers=mapping.bootstrap_servers,
        topic=mapping.Topics[0],
        group_id=mapping.consumer_group_id,
        starting_position=mapping.StartingPosition,
        starting_timestamp=mapping.starting_timestamp,
        client_id=f"poller-{mapping.name}-{number}",
        event_source="aws:kafka" if mapping.kind == "MSK" else "SelfManagedKafka",
        event_source_arn=mapping.EventSourceArn,
        max_poll_records=max(POLLED, mapping.BatchSize),
        security=mapping.security,
    )


def dead_letter_worker(
    target: Target,
    name: str,
    metrics: MappingMetrics,
    clock: Clock,
    renewed: Renewed = lambda: None,
    *,
    faulty: Callable[[Destination, str], Destination] = lambda destination, _: destination,
) -> DestinationWorker:
    """The thread for dead letters, not yet started; failed sends are counted and logged."""

    def on_error(text: str) -> None:
        metrics.count("on_failure_destination_delivery_error_count")
        _log.warning("dead letters for %s: %s", target, text, extra={"mapping": name})

    def renewed_target() -> Target | None:
        mapping = renewed()
        return None if mapping is None else mapping.on_failure

    destination = RenewingDestination(target, destination_of, renewed_target)
    return DestinationWorker(faulty(destination, name), name, clock=clock, on_error=on_error)


def faulty_destinations(settings: Settings) -> Callable[[Destination, str], Destination]:
    """Stands before each destination of that name what makes its faults on purpose, if there are any."""
    rate, seed = settings.Faults.Destinations.Drop, settings.Faults.Seed

    def faulty(destination: Destination, name: str) -> Destination:
        return DroppingDestination(destination, rate, Chance(seed, f"{name}/destination")) if rate else destination

    return faulty


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


def letters_for(
    mapping: EventSourceMapping, function_arn: str, source: Source, clock: Clock
) -> Callable[[Discard], list[DeadLetter]]:
    """Makes the on-failure records of one mapping (D.1.4)."""
    origin: KafkaOrigin | RabbitMQOrigin = (
        RabbitMQOrigin(mapping.Queues[0], mapping.virtual_host)
        if mapping.kind == "MQ"
        else KafkaOrigin(",".join(mapping.bootstrap_servers), mapping.consumer_group_id)
    )
    context = RecordContext(
        function_name=mapping.FunctionName,
        function_arn=function_arn,
        qualifier=mapping.qualifier,
        mapping_uuid=mapping.UUID,
        event_source_arn=mapping.EventSourceArn,
        origin=origin,
        build_event=lambda records: bytes(source.build_event(records)),
        error_headers=mapping.extensions.ErrorHeaders,
    )
    each_record = isinstance(mapping.on_failure, KafkaTarget)
    return lambda discard: dead_letters(discard, context, now=clock.time(), each_record=each_record)
