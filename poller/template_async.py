"""What a template says of asynchronous invocation: event invoke configurations and dead-letter queues, by function."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from poller.errors import ConfigError, Problem
from poller.event_invoke import DeadLetterTarget, EventInvokeConfig
from poller.validation import describe, join, parse, under

EVENT_INVOKE_CONFIG = "AWS::Lambda::EventInvokeConfig"

NOTHING_SET = "You must specify at least one of error handling or destination setting."

Where = Callable[[str], str]


@dataclass(slots=True)
class DeclaredAsync:
    """What is declared for one function, and where."""

    config: EventInvokeConfig = field(default_factory=EventInvokeConfig)
    config_at: Where = field(default_factory=lambda: under(""))
    dead_letters: DeadLetterTarget = field(default_factory=DeadLetterTarget)
    dead_letters_at: Where = field(default_factory=lambda: under(""))


class AsyncReader:
    """Gathers declarations; `problems` is what is wrong with them."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self.declared: dict[str, DeclaredAsync] = {}
        """By function's name."""

    def sam_function(self, name: str, own: dict[str, Any], global_values: Mapping[str, Any], path: str) -> None:
        """Take the properties out of a SAM function's, with those of Globals below them.

        AWS's transform does not see them: it would make queues where none is named.
        """
        for key in ("EventInvokeConfig", "DeadLetterQueue"):
            value, inherited = own.pop(key, None), global_values.get(key)
            place = join(path if value is not None else "Globals.Function", key)
            merged = inherited if value is None else _merged(inherited, value)
            if merged is not None:
                self._function_property(name, key, merged, place)

    def lambda_function(self, name: str, own: dict[str, Any], path: str) -> None:
        """Take DeadLetterConfig out of the properties of AWS::Lambda::Function."""
        value = own.pop("DeadLetterConfig", None)
        if value is not None:
            self._function_property(name, "DeadLetterConfig", value, join(path, "DeadLetterConfig"))

    def event_invoke_config(self, function_name: str, values: Mapping[str, Any], path: str) -> None:
        """Read an AWS::Lambda::EventInvokeConfig, whose function exists."""
        qualifier = values.get("Qualifier", "$LATEST")
        if qualifier != "$LATEST":
            reason = f"not supported: versions and aliases ({describe(qualifier)})"
            self.problems.append(Problem(join(path, "Qualifier"), reason, "$LATEST is"))
        settings = {key: value for key, value in values.items() if key not in {"FunctionName", "Qualifier"}}
        self._config(function_name, settings, path)

    def _function_property(self, name: str, key: str, value: Any, place: str) -> None:
        if key == "EventInvokeConfig":
            self._config(name, value, place)
        elif target := self._parsed(DeadLetterTarget, value, place):
            declared = self._of(name)
            declared.dead_letters, declared.dead_letters_at = target, under(place)
            if not target.TargetArn:
                hint = "no queue is made here: name one by its ARN"
                self.problems.append(Problem(join(place, "TargetArn"), "is missing", hint))

    def _config(self, name: str, values: Any, place: str) -> None:
        config = self._parsed(EventInvokeConfig, values, place)
        if config is None:
            return
        declared = self._of(name)
        if declared.config.model_fields_set:
            reason = f"function {name} has an event invoke configuration already"
            self.problems.append(Problem(place, reason, f"the first one is {declared.config_at('')}"))
        elif not config.model_fields_set:
            self.problems.append(Problem(place, NOTHING_SET))
        declared.config, declared.config_at = config, under(place)

    def _parsed(self, model: type[Any], values: Any, place: str) -> Any:
        if not isinstance(values, dict):
            self.problems.append(Problem(place, f"{describe(values)} is not a mapping"))
            return None
        try:
            return parse(model, values, under(place))
        except ConfigError as error:
            self.problems += error.problems
            return None

    def _of(self, name: str) -> DeclaredAsync:
        return self.declared.setdefault(name, DeclaredAsync())


def _merged(below: Any, above: Any) -> Any:
    """As SAM merges Globals: mappings by key, everything else replaced."""
    if isinstance(below, dict) and isinstance(above, dict):
        return {**below, **{key: _merged(below.get(key), value) for key, value in above.items()}}
    return above
