"""From declared triggers and settings to triggers that can run, or to what stands in their way."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from pydantic import SecretStr

from poller.endpoints import AMQP_PORTS, KafkaTarget, rabbitmq_url, target
from poller.errors import ConfigError, Problem
from poller.policy.retrying import BackOff
from poller.settings import SECTION, Settings, kafka_client
from poller.sources import Source
from poller.triggers.s3_events import S3Trigger
from poller.triggers.s3_reader import READ_AHEAD
from poller.triggers.schedule_trigger import ScheduleTrigger

if TYPE_CHECKING:
    from poller.resources import EventSourceMapping
    from poller.template_triggers import TriggerReader

GROUP = "poller-s3-events"
"""Consumer group that reads a topic of notifications."""

FORMS = "amqp://user:password@host:5672/queue or kafka://host:9092/topic"


@dataclass(frozen=True, slots=True)
class S3Queue:
    """A queue of RabbitMQ that a server puts its notifications into."""

    broker_url: SecretStr
    """Complete, with login and virtual host."""
    queue: str

    def __str__(self) -> str:
        parts = urlsplit(self.broker_url.get_secret_value())
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}/{self.queue}"


@dataclass(frozen=True, slots=True)
class Triggers:
    """All triggers of a template."""

    s3: tuple[S3Trigger, ...] = ()
    schedules: tuple[ScheduleTrigger, ...] = ()
    """Those that are enabled."""
    s3_place: S3Queue | KafkaTarget | None = field(default=None)
    """Where notifications are read, besides the webhook."""

    def __bool__(self) -> bool:
        return bool(self.s3 or self.schedules)


def wire_triggers(
    declared: TriggerReader,
    functions: Collection[str],
    mappings: Sequence[EventSourceMapping],
    settings: Settings,
    folder: Path,
) -> Triggers:
    """Complete what a template declares.

    Args:
        declared: what was read.
        functions: names of those that have no fault.
        mappings: whose logins are those of their clusters.
        settings: all of them.
        folder: what relative paths are relative to.

    Raises:
        ConfigError: everything that is in the way.
    """
    problems: list[Problem] = []
    place = None
    url = settings.S3Events.get_secret_value()
    if url:
        try:
            place = _place(url, mappings, folder)
        except ValueError as error:
            problems.append(Problem(f"{SECTION}.S3Events", str(error), f"such as {FORMS}"))
        if not declared.s3:
            problems.append(
                Problem(
                    f"{SECTION}.S3Events", "no function of the template has an event of S3", "add one, or take it out"
                )
            )
    found = Triggers(
        tuple(one for one in declared.s3 if one.function_name in functions),
        tuple(
            replace(
                one.trigger,
                timing=one.timing(settings.TimeScale),
                back_off=BackOff(first=1.0, cap=300.0, time_scale=settings.TimeScale),
            )
            for one in declared.schedules
            if one.trigger.function_name in functions
        ),
        place,
    )
    if found and settings.Workers > 1:
        reason = f"is {settings.Workers}, and events of S3 and schedules need one process"
        problems.append(Problem(f"{SECTION}.Workers", reason, "set Workers to 1, or take those events out"))
    if problems:
        raise ConfigError(problems)
    return found


def _place(url: str, mappings: Sequence[EventSourceMapping], folder: Path) -> S3Queue | KafkaTarget:
    parts = urlsplit(url)
    if parts.scheme in AMQP_PORTS:
        names = [unquote(name) for name in parts.path.split("/")[1:]]
        if len(names) not in {1, 2} or not names[-1]:
            raise ValueError("names no queue; before it may stand a virtual host")
        virtual_host = names[0] if len(names) == 2 else "/"  # noqa: PLR2004
        broker = rabbitmq_url(parts._replace(path="").geturl(), None, None, virtual_host, folder=folder)
        return S3Queue(SecretStr(broker), names[-1])
    found = target(url, folder=folder) if parts.scheme == "kafka" else None
    if not isinstance(found, KafkaTarget):
        raise ValueError("begins neither with amqp:// nor with kafka://")  # noqa: TRY004 - pydantic's kind of error
    servers = set(found.bootstrap_servers)
    logins = (mapping.security for mapping in mappings if servers & set(mapping.bootstrap_servers))
    return replace(found, security=next(logins, found.security))


def source_of(place: S3Queue | KafkaTarget, settings: Settings) -> Source:
    """The consumer of a place, not opened. Its client's library is imported only here."""
    if isinstance(place, S3Queue):
        from poller.sources.rabbitmq import RabbitMQSource  # noqa: PLC0415
        from poller.sources.rabbitmq_event import RabbitMQSettings  # noqa: PLC0415

        url = place.broker_url.get_secret_value()
        queue = RabbitMQSettings.from_url(url, queue=place.queue, event_source_arn="", prefetch=READ_AHEAD)
        return RabbitMQSource(queue)
    from poller.sources.kafka_event import KafkaSettings  # noqa: PLC0415

    topic = KafkaSettings(
        bootstrap_servers=place.bootstrap_servers,
        topic=place.topic,
        group_id=GROUP,
        client_id="poller-s3-events",
        max_poll_records=READ_AHEAD,
        security=place.security,
    )
    if kafka_client(settings.KafkaClient) == "confluent-kafka":
        from poller.sources.kafka_librdkafka import LibrdkafkaSource  # noqa: PLC0415

        return LibrdkafkaSource(topic)
    from poller.sources.kafka import KafkaSource  # noqa: PLC0415

    return KafkaSource(topic)
