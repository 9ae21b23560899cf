"""What the settings add to the mappings (addresses, logins, destinations, extensions), and duplicates of mappings."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import SecretStr

from poller.api_errors import duplicate_arn, duplicate_kafka
from poller.endpoints import KafkaAddress, KafkaTarget, Target, kafka_address, rabbitmq_url, target
from poller.errors import ConfigError, Problem
from poller.logins import Secrets, kafka_security
from poller.resources import EventSourceMapping, Extensions
from poller.settings import SECTION, Settings
from poller.validation import closest

T = TypeVar("T")

MQ_EXTENSIONS = ("Concurrency", "MaximumRetryAttempts", "FunctionResponseTypes")
KAFKA_EXTENSIONS = ("ErrorHeaders",)


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


def unknown_extensions(settings: Settings, names: Iterable[str]) -> Iterator[Problem]:
    """Extensions of mappings that the template does not have."""
    known = list(names)
    for name in settings.EventSources:
        if name not in known:
            hint = closest(name, known) or f"mappings of this template: {', '.join(known) or 'none'}"
            yield Problem(f"{SECTION}.EventSources.{name}", "the template has no such event source", hint)


class _Wiring:
    def __init__(self, declared: Declared, settings: Settings, folder: Path, extensions: Extensions) -> None:
        self.problems: list[Problem] = []
        self._mapping, self._where = declared.mapping, declared.where
        self._settings, self._folder = settings, folder
        self._extensions = extensions
        self._path = f"{SECTION}.EventSources.{self._mapping.name}"

    def run(self) -> EventSourceMapping:
        mapping = self._mapping
        added: dict[str, Any] = {"extensions": self._extensions}
        if mapping.kind == "MQ":
            added["broker_url"] = self._from_endpoint(
                "EventSourceArn", "amqp://user:password@host:5672", self._broker_url
            )
        elif (address := self._kafka_address()) is not None:
            added["bootstrap_servers"] = address.servers
            access = mapping.SourceAccessConfigurations
            added["security"] = kafka_security(access, self._secrets, address.certificate_authority)
        self._check_extensions()
        # Without an address there is a problem already, and a destination at the same broker would only repeat it.
        if added.get("bootstrap_servers") or added.get("broker_url"):
            added["on_failure"] = self._on_failure(mapping.model_copy(update=added))
        return mapping.model_copy(update=added)

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
        for name in sorted(given.intersection(MQ_EXTENSIONS if kind != "MQ" else KAFKA_EXTENSIONS)):
            if kind == "MQ":
                reason = "belongs to Kafka: dead letters of MQ messages have no such headers"
            elif name == "Concurrency":
                reason = "belongs to MQ; consumers of a Kafka topic are the event's ProvisionedPollerConfig"
            else:
                reason = f"belongs to MQ; for Kafka it is AWS's own property {name} of the event"
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
            if (mapping.FunctionName, mapping.kind) != (first.FunctionName, first.kind):
                continue
            arn = f"arn:aws:lambda:{settings.Region}:{settings.AccountId}:function:{mapping.FunctionName}"
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
