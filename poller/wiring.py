"""What the settings add to the mappings (addresses, logins, destinations, extensions), and duplicates of mappings."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from pydantic import SecretStr

from poller.api_errors import duplicate_arn, duplicate_kafka
from poller.endpoints import KafkaAddress, KafkaTarget, RabbitMQTarget, Target, kafka_address, rabbitmq_url, target
from poller.errors import ConfigError, Problem
from poller.logins import Secrets, kafka_security
from poller.resources import EventSourceMapping, Extensions
from poller.settings import SECTION, Settings
from poller.validation import closest, under

T = TypeVar("T")

MQ_EXTENSIONS = {
    "Concurrency": "belongs to MQ; consumers of a Kafka topic are the event's ProvisionedPollerConfig",
    "FunctionResponseTypes": "belongs to MQ; for Kafka it is AWS's own property FunctionResponseTypes of the event",
    "MaximumRetryAttempts": "belongs to MQ; for Kafka it is AWS's own property MaximumRetryAttempts of the event",
}
"""And why Kafka has none of them."""
KAFKA_EXTENSIONS = {
    "ErrorHeaders": "belongs to Kafka: dead letters of MQ messages have no such headers",
    "EventGrouping": "belongs to Kafka: a queue has no partitions, and one batch in work anyway",
}
"""And why MQ has none of them."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Declared:
    """A mapping as the template has it, and where its properties stand."""

    mapping: EventSourceMapping
    where: Callable[[str], str]


def wire(declared: Sequence[Declared], settings: Settings, folder: Path) -> list[EventSourceMapping]:
    """Complete the mappings.

    Args:
        declared: valid mappings.
        settings: whose endpoints, secrets and extensions apply.
        folder: what relative paths of `file:` destinations are relative to.

    Raises:
        ConfigError: every address or login that is missing, every extension that makes no sense, every duplicate.
    """
    problems: list[Problem] = []
    wired = []
    for item in declared:
        extensions = settings.EventSources.get(item.mapping.name, Extensions())
        try:
            wired.append(wire_one(item, settings, folder, extensions))
        except ConfigError as error:
            problems += error.problems
    problems += duplicates(declared, settings)
    if problems:
        raise ConfigError(list(dict.fromkeys(problems)))  # of a secret that several name, what is wrong is said once
    return wired


def wire_one(declared: Declared, settings: Settings, folder: Path, extensions: Extensions) -> EventSourceMapping:
    """Complete one mapping; as `wire`, but for duplicates, and with these extensions.

    Raises:
        ConfigError: every address or login that is missing, every extension that makes no sense.
    """
    wiring = _Wiring(declared, settings, folder, extensions)
    wired = wiring.run()
    if wiring.problems:
        raise ConfigError(wiring.problems)
    return wired


def with_login_read_anew(mapping: EventSourceMapping, settings: Settings) -> EventSourceMapping | None:
    """The mapping with what its secrets hold now, and so its on-failure destination if that shares the login.

    For any thread; blocks while AWS Secrets Manager is asked, half a minute at most for each secret.

    Args:
        mapping: completed by `wire`.
        settings: that it was completed from.

    Returns:
        None when a secret cannot be read or cannot work; that is logged.
    """
    arns = [access.URI for access in mapping.SourceAccessConfigurations]
    problems: Sequence[Problem]
    try:
        held = settings.with_secrets_read_anew(arns)
        wiring = _Wiring(Declared(mapping, under(mapping.name)), held, settings.folder, mapping.extensions)
        login, problems = wiring.login(), wiring.problems
    except ConfigError as error:
        login, problems = {}, error.problems
    extra = {"mapping": mapping.name}
    if problems:
        told = "; ".join(str(problem) for problem in problems)
        _log.warning("its secrets were read anew, and cannot be used: %s", told, extra=extra)
        return None
    _log.info("its secrets were read anew, as the login was refused", extra=extra)
    fresh = mapping.model_copy(update=login)
    return fresh.model_copy(update={"on_failure": _sharing_login(mapping, fresh)})


def _sharing_login(before: EventSourceMapping, now: EventSourceMapping) -> Target | None:
    match before.on_failure:
        case KafkaTarget(security=security) as found if security == before.security:
            return replace(found, security=now.security)
        case RabbitMQTarget(broker_url=url) as found if url == before.broker_url and now.broker_url is not None:
            return replace(found, broker_url=now.broker_url)
    return before.on_failure


def unknown_extensions(settings: Settings, names: Iterable[str]) -> Iterator[Problem]:
    """Extensions of mappings that the template does not have."""
    known = list(names)
    for name in settings.EventSources:
        if name not in known:
            hint = closest(name, known) or f"mappings of this template: {', '.join(known) or 'none'}"
            yield Problem(f"{SECTION}.EventSources.{name}", "the template has no such event source", hint)


def counted_apart(mappings: Iterable[EventSourceMapping]) -> Iterator[Problem]:
    """What to warn of: consumers of a queue that may not know of each other's attempts (F.3).

    Of which type a queue is only its broker can tell.
    """
    for mapping in mappings:
        consumers, most = mapping.extensions.Concurrency, mapping.maximum_retry_attempts
        if mapping.kind == "MQ" and consumers > 1 and most > 1:
            # One that comes back from another consumer is taken to be there for the second time.
            all_together = consumers * (most - 1) + 1
            reason = (
                f"if {mapping.Queues[0]} is a classic queue, each of {consumers} consumers counts the attempts that it "
                f"saw, so a message may be tried again up to {all_together} times instead of {most}"
            )
            hint = "declare it with x-queue-type quorum, which counts by itself"
            yield Problem(f"{SECTION}.EventSources.{mapping.name}.Concurrency", reason, hint)


class _Wiring:
    def __init__(self, declared: Declared, settings: Settings, folder: Path, extensions: Extensions) -> None:
        self.problems: list[Problem] = []
        self._mapping, self._where = declared.mapping, declared.where
        self._settings, self._folder = settings, folder
        self._extensions = extensions
        self._path = f"{SECTION}.EventSources.{self._mapping.name}"

    def run(self) -> EventSourceMapping:
        mapping = self._mapping
        added: dict[str, Any] = {"extensions": self._extensions, **self.login()}
        self._check_extensions()
        # Without an address there is a problem already, and a destination at the same broker would only repeat it.
        if added.get("bootstrap_servers") or added.get("broker_url"):
            added["on_failure"] = found = self._on_failure(mapping.model_copy(update=added))
            if self._extensions.ErrorHeaders == "spring" and found is not None and not isinstance(found, KafkaTarget):
                reason = "Spring Kafka's headers are for letters in a Kafka topic; this mapping's go elsewhere"
                self.problems.append(Problem(f"{self._path}.ErrorHeaders", reason, "choose connect or none"))
        return mapping.model_copy(update=added)

    def login(self) -> dict[str, Any]:
        """Fields of the mapping that say where its broker is and how it is logged in to."""
        if self._mapping.kind == "MQ":
            example = "amqp://user:password@host:5672"
            return {"broker_url": self._from_endpoint("EventSourceArn", example, self._broker_url)}
        address = self._kafka_address()
        if address is None:
            return {}
        access = self._mapping.SourceAccessConfigurations
        security = kafka_security(access, self._secrets, address.certificate_authority)
        return {"bootstrap_servers": address.servers, "security": security}

    def _kafka_address(self) -> KafkaAddress | None:
        if self._mapping.SelfManagedEventSource is not None:
            return KafkaAddress(self._mapping.SelfManagedEventSource.Endpoints.KAFKA_BOOTSTRAP_SERVERS)
        return self._from_endpoint("EventSourceArn", "kafka://host:9092", lambda url: kafka_address(url, self._folder))

    @property
    def _secrets(self) -> Secrets:
        return Secrets(self._settings.Secrets, f"{SECTION}.Secrets", self._where, self.problems.append)

    def _from_endpoint(self, field: str, example: str, read: Callable[[str], T], arn: str = "") -> T | None:
        arn = arn or str(getattr(self._mapping, field))
        url = self._settings.Endpoints.get(arn)
        if url is None:
            hint = f"add under {SECTION}.Endpoints: {arn}: {example}"
            self.problems.append(Problem(self._where(field), f"no address is known for {arn}", hint))
            return None
        try:
            return read(url.get_secret_value())
        except ValueError as error:
            self.problems.append(Problem(f"{SECTION}.Endpoints.{arn}", str(error)))
            return None

    def _broker_url(self, url: str) -> SecretStr | None:
        access = self._mapping.SourceAccessConfigurations
        arn = next(item.URI for item in access if item.Type == "BASIC_AUTH")
        username = password = None
        if arn in self._settings.Secrets or "@" not in url:
            secret = self._secrets.of("BASIC_AUTH", arn, instead=", or put the login into the URL")
            if secret is None:
                return None
            username, password = secret["username"], secret["password"]
        virtual_host = self._mapping.virtual_host
        return SecretStr(rabbitmq_url(url, username, password, virtual_host, folder=self._folder))

    def _check_extensions(self) -> None:
        given = self._extensions.model_fields_set
        kind = self._mapping.kind
        foreign = KAFKA_EXTENSIONS if kind == "MQ" else MQ_EXTENSIONS
        for name in sorted(given.intersection(foreign)):
            reason = foreign[name]
            self.problems.append(Problem(f"{self._path}.{name}", reason))
        if kind == "MQ" and self._extensions.OnFailure is not None and self._extensions.MaximumRetryAttempts < 0:
            hint = f"add {self._path}.MaximumRetryAttempts"
            reason = "a message is retried without end, so nothing would ever get there"
            self.problems.append(Problem(f"{self._path}.OnFailure", reason, hint))

    def _on_failure(self, mapping: EventSourceMapping) -> Target | None:
        servers = mapping.bootstrap_servers
        field = "DestinationConfig.OnFailure.Destination"
        destination = self._mapping.DestinationConfig.OnFailure.Destination
        extension = self._extensions.OnFailure

        def read(uri: str) -> Target:
            found = target(
                uri, folder=self._folder, servers=servers, security=mapping.security, broker_url=mapping.broker_url
            )
            if (
                isinstance(found, KafkaTarget)
                and found.topic in self._mapping.Topics
                and set(servers) & set(found.bootstrap_servers)
            ):
                raise ValueError("is the topic that the mapping reads; given-up records would come back for ever")
            return found

        if destination and extension is not None:
            reason = f"stands beside {self._where(field)}; a mapping has one on-failure destination"
            self.problems.append(Problem(f"{self._path}.OnFailure", reason))
        elif destination.startswith("arn:"):
            return self._from_endpoint(field, "kafka://host:9092/topic", read, destination)
        elif destination or extension is not None:
            uri = destination or (extension.get_secret_value() if extension else "")
            try:
                return read(uri)
            except ValueError as error:
                self.problems.append(Problem(f"{self._path}.OnFailure", str(error)))
        return None


def duplicates(declared: Sequence[Declared], settings: Settings) -> Iterator[Problem]:
    """C.3: the same function and topic with any shared broker; the same function, broker and queue."""
    for index, item in enumerate(declared):
        for earlier in declared[:index]:
            mapping, first = item.mapping, earlier.mapping
            if (mapping.called_function, mapping.kind) != (first.called_function, first.kind):
                continue
            arn = f"arn:aws:lambda:{settings.Region}:{settings.AccountId}:function:{mapping.called_function}"
            if mapping.kind == "SelfManagedKafka":
                sources = [
                    cluster.Endpoints.KAFKA_BOOTSTRAP_SERVERS
                    for cluster in (mapping.SelfManagedEventSource, first.SelfManagedEventSource)
                    if cluster is not None
                ]
                if mapping.Topics == first.Topics and set(sources[0]) & set(sources[1]):
                    error = duplicate_kafka(sources[0], arn, mapping.Topics[0], first.UUID)
                    yield Problem(item.where(""), error.text, f"the first one is {earlier.where('')}", error)
                    break
            elif _read(mapping) == _read(first):
                error = duplicate_arn(mapping.EventSourceArn, arn, first.UUID)
                yield Problem(item.where(""), error.text, f"the first one is {earlier.where('')}", error)
                break


def _read(mapping: EventSourceMapping) -> tuple[object, ...]:
    return mapping.EventSourceArn, mapping.Topics, mapping.Queues, mapping.virtual_host
