"""Settings: what AWS has no name for. From the template's `Metadata.Poller`, a file, the environment, and options.

A later one of these wins. Of `Endpoints`, `Secrets`, `SignatureKeys`, `EventSources`, `Functions` and `Faults` single
entries are replaced, not the whole.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, PrivateAttr, SecretStr

from poller.document import read
from poller.errors import ConfigError, Problem
from poller.exposure import exposure_problems
from poller.faults.settings import Faults as FaultsOnPurpose
from poller.function_settings import FunctionSettings
from poller.resources import Extensions
from poller.secret_values import SecretOrigins, SecretReader
from poller.secrets_manager import secret_value
from poller.setting_values import debug_function, switch, watchable
from poller.validation import Boolean, Integer, Model, closest, describe, join, parse

SECTION = "Metadata.Poller"
PREFIX = "POLLER_"
PARAMETER_PREFIX = "POLLER_PARAMETER_"
MOST_WORKERS = 64
MAPS = ("Endpoints", "Secrets", "SignatureKeys", "EventSources", "Functions", "Faults")
"""Settings that are mappings: not for the environment or options, and merged by entry."""


KafkaClientName = Literal["auto", "kafka-python", "confluent-kafka"]


def _seconds(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError(f"{describe(value)} is not a number")  # noqa: TRY004 - pydantic wants a ValueError
    return value


def _account(value: Any) -> Any:
    if isinstance(value, int):
        value = str(value)  # YAML reads an unquoted account as a number, and drops leading zeros
    if isinstance(value, str) and re.fullmatch(r"[0-9]{12}", value):
        return value
    raise ValueError(f'{describe(value)} is not 12 digits in quotes, such as "123456789012"')


def _region(value: str) -> str:
    if re.fullmatch(r"[a-z]{2}(-[a-z]+)+-\d", value):
        return value
    raise ValueError(f"{describe(value)} is not a region, such as us-east-1")


def kafka_client(wanted: KafkaClientName) -> Literal["kafka-python", "confluent-kafka"]:
    """The library that `KafkaClient` means on this machine."""
    if wanted == "auto":
        return "confluent-kafka" if _is_importable() else "kafka-python"
    return wanted


def _is_importable() -> bool:
    return find_spec("confluent_kafka") is not None


def _installed(value: KafkaClientName) -> KafkaClientName:
    if value == "confluent-kafka" and not _is_importable():
        raise ValueError("confluent-kafka is not installed (pip install 'poller[fast]')")
    return value


def _workers(value: Any) -> Any:
    if value != "auto":
        if isinstance(value, str) and not re.fullmatch(r"\s*[+-]?[0-9]+\s*", value):
            raise ValueError(f"{describe(value)} is neither a whole number nor auto")
        return value
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, MOST_WORKERS)


Seconds = Annotated[float, BeforeValidator(_seconds), Field(ge=0, allow_inf_nan=False)]


class Settings(Model):
    """Everything that the program needs to know and that is no property of a resource."""

    Port: Annotated[Integer, Field(ge=0, le=65_535)] = 9001
    """Of Lambda's API, /metrics, /healthz and /readyz; 0 takes a free one."""
    ApiPort: Annotated[Integer, Field(ge=0, le=65_535)] = 9002
    """Of the template's HTTP and REST APIs, opened where it has some; 0 takes a free one."""
    Bind: Annotated[str, Field(min_length=1)] = "127.0.0.1"
    """Address on which the ports are opened. One that other machines reach needs RequireSignature or InsecureBind."""
    InsecureBind: Boolean = False
    """Open the port to other machines without looking at signatures: whoever reaches it can run the functions."""
    RequireSignature: Boolean = False
    """Answer only calls signed (AWS Signature Version 4) with a key of SignatureKeys. Needs the extra `aws`."""
    Hosts: str = ""
    """Names by which the service is called, with commas between. Addresses and localhost always are; any other name
    is refused, so that a web page cannot make one for itself (DNS rebinding)."""
    AccountConcurrency: Annotated[Integer, Field(ge=1, le=100_000)] = 1000
    """Invocations at once of all functions; what functions reserve is not for the others."""
    Workers: Annotated[Integer, BeforeValidator(_workers), Field(ge=1, le=MOST_WORKERS)] = 1
    """Processes that share the work; `auto` is one for each processor core. Limits of functions and mappings hold over
    all of them."""
    IdleTimeout: Annotated[Seconds, Field(le=604_800)] = 300.0
    """Seconds without work after which an environment is stopped; 0 keeps none for a second event."""
    ShutdownGrace: Seconds = 30.0
    """Seconds that handlers in flight get to finish when the program is told to stop."""
    RevocationGrace: Annotated[Seconds, Field(le=3)] = 1.0
    """Seconds that batches in flight get to finish when a Kafka partition is taken away. At most 3, a third of the
    session timeout: the whole group waits for it."""
    TimeScale: Annotated[float, BeforeValidator(_seconds), Field(gt=0, allow_inf_nan=False)] = 1.0
    """60 makes a minute a second: for pauses between retries, for ages, and for rates of schedules; not for windows,
    timeouts and schedules by the clock."""
    StateFolder: Annotated[str, Field(min_length=1)] = ".poller"
    """Folder of what outlives the program: asynchronous events that wait, and what calls have made. Relative to the
    template's folder; one program at a time uses it. It is made when it is needed."""
    AsyncQueue: SecretStr | None = None
    """RabbitMQ broker whose queues asynchronous events wait in, instead of StateFolder, so that several programs share
    them: `amqp://user:password@host:5672/virtual-host`, or `amqps://` with `?cacertfile=path`."""
    AllowDrift: Boolean = False
    """Let calls of the API change what the template declares, until the next start."""
    AccountId: Annotated[str, BeforeValidator(_account)] = "123456789012"
    """Account in ARNs, and `AWS::AccountId`."""
    Region: Annotated[str, AfterValidator(_region)] = "us-east-1"
    """Region in ARNs, `AWS::Region`, and AWS_REGION of handlers. By default AWS_REGION, else us-east-1."""
    LogFormat: Literal["auto", "text", "json"] = "auto"
    """`auto` is text on a terminal and JSON lines elsewhere."""
    LogLevel: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """Least important level that is logged."""
    LogFiles: Annotated[Literal["auto", "true", "false"], BeforeValidator(switch)] = "auto"
    """Write functions' logs to files below StateFolder, too, for `poller logs`. `auto` is where the log goes to a
    terminal: elsewhere something collects it."""
    LogFilesSize: Annotated[Integer, Field(ge=1, le=1_000_000)] = 64
    """Megabytes that the log files of one function take at most; the oldest go first."""
    Reload: Annotated[Literal["auto", "true", "false"], BeforeValidator(switch), AfterValidator(watchable)] = "auto"
    """Run a function's code anew from the next invocation on when a file of it is saved. Needs the extra `dev`
    (watchfiles); `auto` is where that is installed."""
    EnforceMemory: Annotated[Literal["true", "false"], BeforeValidator(switch)] = "true"
    """Kill a function's processes that together have more than MemorySize, 1,024 processes and threads, or
    EphemeralStorage, as Lambda does."""
    Debug: Annotated[str, AfterValidator(debug_function)] = ""
    """A function that waits for a debugger, `FUNCTION` or `FUNCTION:PORT`; by default debugpy's port 5678, Node.js's
    9229, Java's 5005. It has one environment and no timeouts."""
    KafkaClient: Annotated[KafkaClientName, AfterValidator(_installed)] = "auto"
    """Library that reads Kafka topics: `confluent-kafka` (librdkafka, less processor time) comes with the extra
    `fast`, `kafka-python` is always there. `auto` is confluent-kafka where it is installed."""
    S3Events: SecretStr = SecretStr("")
    """Queue or topic from which notifications of S3 are read, besides the webhook:
    `amqp://user:password@host:5672/queue` (before the queue, percent-encoded, a virtual host other than `/`) or
    `kafka://host:9092/topic`."""
    RuntimeClient: Literal["poller", "aws"] = "poller"
    """What runs handlers of Python and Node.js: `poller` has clients of its own, of which that for Python is the
    fastest; `aws` uses AWS's. `awslambdaric` is then installed beside the handler or in its interpreter,
    `aws-lambda-ric` in the handler's node_modules."""
    StrictRuntime: Boolean = False
    """Refuse a function whose runtime this machine has in another version only, instead of running it on the nearest
    and warning of it."""
    Endpoints: dict[str, SecretStr] = Field(default_factory=dict)
    """Address behind an ARN, as a URL."""
    Secrets: dict[str, dict[str, SecretStr]] = Field(default_factory=dict)
    """What the secret behind an ARN holds."""
    SignatureKeys: dict[str, SecretStr] = Field(default_factory=dict)
    """Secret access key by access key ID, for RequireSignature and function URLs of AuthType AWS_IAM."""
    EventSources: dict[str, Extensions] = Field(default_factory=dict)
    """Extensions per mapping, by `Function.Event`."""
    Functions: dict[str, FunctionSettings] = Field(default_factory=dict)
    """Settings per function, by its name."""

    Faults: FaultsOnPurpose = FaultsOnPurpose()
    """What goes wrong on purpose."""

    _secret_origins: SecretOrigins = PrivateAttr(default_factory=SecretOrigins)

    @property
    def folder(self) -> Path:
        """What relative paths are relative to: the template's folder, or where the program runs without one."""
        return self._secret_origins.folder

    def with_secrets_read_anew(self, arns: Collection[str]) -> Self:
        """The same with what these secrets hold now. For any thread; blocks while AWS is asked, if it is.

        Raises:
            ConfigError: one of them cannot be read any more, or is none.
        """
        values, problems = self._secret_origins.read(arns)
        if problems:
            raise ConfigError(problems)
        held = {arn: {name: SecretStr(text) for name, text in secret.items()} for arn, secret in values.items()}
        return self.model_copy(update={"Secrets": {**self.Secrets, **held}})


def variable(name: str) -> str:
    """The environment variable of a setting: `ShutdownGrace` is POLLER_SHUTDOWN_GRACE."""
    return PREFIX + re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).upper()


def option(name: str) -> str:
    """The command line's option of a setting: `LogLevel` is --log-level."""
    return "--" + re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", name).lower()


SCALARS = tuple(name for name in Settings.model_fields if name not in MAPS)


@dataclass(frozen=True, slots=True)
class Sources:
    """Where settings come from, besides the template."""

    template: Path
    """Relative paths, also those in the settings file, are relative to its folder."""
    file: Path | None
    environment: Mapping[str, str]
    options: Mapping[str, Any]
    """By setting's name."""

    @property
    def folder(self) -> Path:
        """The template's folder."""
        return self.template.resolve().parent


class _Layers:
    """Settings by name, the later layer over the earlier, each with the place it was read from."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self._places: dict[str, str] = {}

    def add(self, layer: Mapping[str, Any], place: str) -> None:
        """Values of the template or of the file; the place stands before a setting's name in errors."""
        for name, value in layer.items():
            if name in MAPS and isinstance(value, dict):
                merged = self.values.setdefault(name, {})
                if not isinstance(merged, dict):
                    self.values[name] = merged = {}
                merged.update(value)
                self._places.update({f"{name}.{key}": f"{place}{name}.{key}" for key in value})
            else:
                self.set(name, value, place + name)

    def set(self, name: str, value: Any, place: str) -> None:
        """One value, and what to call it in an error."""
        self.values[name] = value
        self._places[name] = place

    def where(self, field: str) -> str:
        """Where a field was read, for an error."""
        for known in sorted(self._places, key=len, reverse=True):
            if field == known or field.startswith((f"{known}.", f"{known}[")):
                return self._places[known] + field[len(known) :]
        return join(SECTION, field)


def load(template_section: Any, sources: Sources) -> Settings:
    """Merge and validate all settings.

    Args:
        template_section: what stands under `Metadata.Poller`, intrinsic functions resolved; None when nothing does.
        sources: the rest.

    Raises:
        ConfigError: every setting that is unknown or wrong, with the place where it stands.
    """
    layers = _Layers()
    problems = list(_pile_up(layers, template_section, sources))
    region = str(layers.values.get("Region", Settings.model_fields["Region"].default))
    reader = SecretReader(sources.folder, sources.environment, lambda name: secret_value(name, region))
    secrets = layers.values.get("Secrets")
    origins = _origins(layers, sources)
    if isinstance(secrets, dict):
        layers.values["Secrets"], wrong = origins.read()
        problems += wrong
    keys = layers.values.get("SignatureKeys")
    if isinstance(keys, dict):
        layers.values["SignatureKeys"] = reader.read(keys, layers.where("SignatureKeys"))
    problems += reader.problems
    try:
        settings = parse(Settings, layers.values, layers.where)
    except ConfigError as error:
        raise ConfigError([*problems, *error.problems]) from None
    if not problems:
        problems += exposure_problems(settings, layers.where, signer=find_spec("botocore") is not None)
    if problems:
        raise ConfigError(problems)
    settings._secret_origins = origins  # noqa: SLF001 - its own module
    return settings


def _origins(layers: _Layers, sources: Sources) -> SecretOrigins:
    secrets = layers.values.get("Secrets")
    written = dict(secrets) if isinstance(secrets, dict) else {}
    return SecretOrigins(
        written=written,
        places={arn: layers.where(f"Secrets.{arn}") for arn in written},
        folder=sources.folder,
        environment=dict(sources.environment),
        region=str(layers.values.get("Region", Settings.model_fields["Region"].default)),
    )


def _pile_up(layers: _Layers, template_section: Any, sources: Sources) -> Iterator[Problem]:
    if "AWS_REGION" in sources.environment:
        layers.set("Region", sources.environment["AWS_REGION"], "AWS_REGION")
    if isinstance(template_section, dict):
        layers.add(template_section, f"{SECTION}.")
    elif template_section is not None:
        yield Problem(SECTION, f"{describe(template_section)} is not a mapping")
    if sources.file is not None:
        try:
            layers.add(read(sources.file), f"{sources.file}: ")
        except ConfigError as error:
            yield from error.problems
    yield from _add_environment(layers, sources.environment)
    for name, value in sources.options.items():
        layers.set(name, value, option(name))


def _add_environment(layers: _Layers, environment: Mapping[str, str]) -> Iterator[Problem]:
    known = {variable(name): name for name in SCALARS}
    for name, value in environment.items():
        if name in known:
            layers.set(known[name], value, name)
        elif name.startswith(PREFIX) and not name.startswith(PARAMETER_PREFIX):
            # The prefix is not ours alone (Kubernetes sets POLLER_SERVICE_HOST …): only what is nearly right is wrong.
            near = closest(name.removeprefix(PREFIX), [item.removeprefix(PREFIX) for item in known])
            if near:
                yield Problem(name, "unknown setting", near.replace("mean ", f"mean {PREFIX}"))


def identity(template_section: Any, sources: Sources) -> tuple[str, str]:
    """AccountId and Region, which pseudo parameters need before the other settings can be resolved.

    What is wrong with them is for `load` to report; until then the defaults do.
    """
    layers = _Layers()
    list(_pile_up(layers, template_section, sources))
    values = {name: value for name, value in layers.values.items() if name in {"AccountId", "Region"}}
    try:
        settings = parse(Settings, values, layers.where)
    except ConfigError:
        settings = Settings()
    return settings.AccountId, settings.Region
