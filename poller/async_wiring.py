"""From what a template declares of asynchronous invocation to addresses: what an ARN is of, and what is behind it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from poller.api_errors import invalid_parameter
from poller.async_invoke.broker import queue_url
from poller.async_invoke.configuration import AsyncConfiguration, AsyncDestination, FunctionTarget
from poller.destinations.aws import AwsTarget
from poller.endpoints import KafkaTarget, target
from poller.errors import ConfigError, Problem
from poller.event_invoke import EventDestination, EventInvokeConfig
from poller.function_names import named_function
from poller.policy.async_events import MAXIMUM_EVENT_AGE, MAXIMUM_RETRY_ATTEMPTS
from poller.resources import EventSourceMapping
from poller.settings import SECTION, Settings
from poller.template_async import DeclaredAsync
from poller.validation import closest
from poller.wiring import with_login_read_anew

SERVICES = {"sqs": "SQS", "sns": "SNS", "lambda": "Lambda", "events": "EventBridge", "s3": "S3Bucket"}
"""Services of ARNs, and SAM's words for them."""

ON_SUCCESS = ("sqs", "sns", "lambda", "events")
ON_FAILURE = (*ON_SUCCESS, "s3")
DEAD_LETTERS = ("sqs", "sns")


def wire_async(
    declared: Mapping[str, DeclaredAsync],
    functions: Collection[str],
    mappings: Sequence[EventSourceMapping],
    settings: Settings,
    folder: Path,
) -> dict[str, AsyncConfiguration]:
    """The configuration of each function that has one.

    Args:
        declared: by function.
        functions: names of all functions.
        mappings: complete; a topic on a cluster that one of them reads is written to with its login.
        settings: whose endpoints apply.
        folder: what relative paths of `file:` are relative to.

    Raises:
        ConfigError: every destination that makes no sense or has no address.
    """

    def has(name: str, qualifier: str) -> bool:
        return name in functions and not qualifier

    wiring = _AsyncWiring(functions, has, mappings, settings, folder)
    wired = {name: wiring.run(name, item) for name, item in declared.items() if name in functions}
    if wired and settings.Workers > 1:
        reason = f"is {settings.Workers}, and asynchronous invocation needs one process"
        hint = "set Workers to 1, or take EventInvokeConfig and dead-letter queues out"
        wiring.problems.append(Problem(f"{SECTION}.Workers", reason, hint))
    try:
        shared = queue_url(settings, folder)
    except ValueError as error:
        wiring.problems.append(Problem(f"{SECTION}.AsyncQueue", str(error)))
    else:
        if shared is not None and settings.Workers > 1:
            reason = f"is {settings.Workers}, and with AsyncQueue each program has one"
            hint = "set Workers to 1, and run several programs with the same AsyncQueue"
            wiring.problems.append(Problem(f"{SECTION}.Workers", reason, hint))
    if wiring.problems:
        raise ConfigError(list(dict.fromkeys(wiring.problems)))
    return wired


def wire_event_invoke_config(
    name: str,
    config: EventInvokeConfig,
    has: Callable[[str, str], bool],
    mappings: Sequence[EventSourceMapping],
    *,
    settings: Settings,
    folder: Path,
) -> AsyncConfiguration:
    """What an event invoke configuration means that a call made, for the function of that name (B.2).

    Args:
        name: of the function.
        config: valid by itself.
        has: whether there is a function of that name, with that version or alias.
        mappings: as in `wire_async`.
        settings: as in `wire_async`.
        folder: as in `wire_async`.

    Raises:
        ConfigError: every destination that makes no sense or has no address.
    """
    wiring = _AsyncWiring((), has, mappings, settings, folder)
    wired = wiring.run(name, DeclaredAsync(config))
    if wiring.problems:
        raise ConfigError(wiring.problems)
    return wired


class _AsyncWiring:
    def __init__(
        self,
        functions: Collection[str],
        has: Callable[[str, str], bool],
        mappings: Sequence[EventSourceMapping],
        settings: Settings,
        folder: Path,
    ) -> None:
        self.problems: list[Problem] = []
        self._mappings = mappings
        self._functions = functions
        self._has = has
        self._settings = settings
        self._folder = folder
        self._name = ""

    def run(self, name: str, declared: DeclaredAsync) -> AsyncConfiguration:
        self._name = name
        config = declared.config
        attempts, age, on = config.MaximumRetryAttempts, config.MaximumEventAgeInSeconds, config.DestinationConfig
        path = declared.config_at("DestinationConfig")
        return AsyncConfiguration(
            MAXIMUM_RETRY_ATTEMPTS if attempts is None else attempts,
            MAXIMUM_EVENT_AGE if age is None else float(age),
            self._destination(on.OnSuccess, f"{path}.OnSuccess", ON_SUCCESS),
            self._destination(on.OnFailure, f"{path}.OnFailure", ON_FAILURE),
            self._dead_letter_queue(declared),
        )

    def _destination(self, given: EventDestination, path: str, services: Collection[str]) -> AsyncDestination | None:
        text, place = given.Destination, f"{path}.Destination"
        if not text:
            if given.Type is not None:
                self._problem(place, "is missing", "nothing is made here: name it by its ARN")
            return None
        if not text.startswith("arn:"):
            return self._at(text, place)
        service = self._service(text)
        if service not in services or (service in DEAD_LETTERS and text.endswith(".fifo")):
            on = path.rpartition(".")[2]
            self._refuse(place, _refused(on, text))
        elif given.Type is not None and given.Type != SERVICES[service]:
            self._problem(f"{path}.Type", f"{given.Type} is not what the ARN is of", f"that is {SERVICES[service]}")
        elif service == "lambda":
            return self._function(text, place)
        else:
            return self._behind(text, place, bus_arn=text if service == "events" else "")
        return None

    def _dead_letter_queue(self, declared: DeclaredAsync) -> AsyncDestination | None:
        arn, type_ = declared.dead_letters.TargetArn, declared.dead_letters.Type
        if not arn:
            return None
        place = declared.dead_letters_at("TargetArn")
        service = self._service(arn)
        if not arn.startswith("arn:") or service not in DEAD_LETTERS or arn.endswith(".fifo"):
            self._problem(place, "is not the ARN of an SQS queue or SNS topic, FIFO ones excepted")
        elif type_ is not None and type_ != SERVICES[service]:
            self._problem(declared.dead_letters_at("Type"), f"{type_} is not what the ARN is of")
        else:
            return self._behind(arn, place)
        return None

    @staticmethod
    def _service(arn: str) -> str:
        return [*arn.split(":"), "", "", ""][2]

    def _function(self, arn: str, place: str) -> AsyncDestination | None:
        name, qualifier = named_function(arn)
        account, region = self._settings.AccountId, self._settings.Region
        if arn.split(":")[3:5] != [region, account]:
            hint = f"functions here are of account {account} in {region}; AccountId and Region say so"
            self._refuse(place, f"The destination ARN {arn} is invalid.", hint)
        elif name == self._name:
            self._refuse(place, "You can't specify the function as a destination for itself.")
        elif not self._has(name, ""):
            self._refuse(place, f"The destination ARN {arn} is invalid.", closest(name, self._functions))
        elif not self._has(name, qualifier):
            self._refuse(place, f"The destination ARN {arn} is invalid.", f"there is no {qualifier} of {name}")
        else:
            return AsyncDestination(FunctionTarget(name, qualifier))
        return None

    def _behind(self, arn: str, place: str, bus_arn: str = "") -> AsyncDestination | None:
        url = self._settings.Endpoints.get(arn)
        if url is None and find_spec("boto3") is not None:
            return AsyncDestination(AwsTarget(arn, self._settings.Region), bus_arn)
        if url is None:
            hint = f"add under {SECTION}.Endpoints: {arn}: kafka://host:9092/topic"
            self._problem(
                place, f"no address is known for {arn}", f"{hint}; AWS itself needs pip install 'poller[aws]'"
            )
            return None
        return self._at(url.get_secret_value(), f"{SECTION}.Endpoints.{arn}", bus_arn)

    def _at(self, uri: str, place: str, bus_arn: str = "") -> AsyncDestination | None:
        try:
            found = target(uri, folder=self._folder)
        except ValueError as error:
            self._problem(place, str(error))
            return None
        if isinstance(found, KafkaTarget):
            servers = set(found.bootstrap_servers)
            for mapping in self._mappings:
                if servers & set(mapping.bootstrap_servers):
                    found = replace(found, security=mapping.security)
                    return AsyncDestination(found, bus_arn, partial(_renewed, found, mapping, self._settings))
        return AsyncDestination(found, bus_arn)

    def _problem(self, path: str, reason: str, suggestion: str = "") -> None:
        self.problems.append(Problem(path, reason, suggestion))

    def _refuse(self, path: str, text: str, suggestion: str = "") -> None:
        """In AWS's words (B.2)."""
        self.problems.append(Problem(path, text, suggestion, error=invalid_parameter(text)))


def _renewed(target: KafkaTarget, mapping: EventSourceMapping, settings: Settings) -> KafkaTarget | None:
    """The target with the login of its mapping as that is now. Blocks as `with_login_read_anew`."""
    fresh = with_login_read_anew(mapping, settings)
    return None if fresh is None else replace(target, security=fresh.security)


def _refused(on: str, arn: str) -> str:
    """AWS's text for a service that cannot be a destination (B.2)."""
    success = f"OnSuccess(destination={arn})" if on == "OnSuccess" else "null"
    failure = f"OnFailure(destination={arn})" if on == "OnFailure" else "null"
    return f"The provided destination config DestinationConfig(onSuccess={success}, onFailure={failure}) is invalid."
