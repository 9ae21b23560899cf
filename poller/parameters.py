"""The template's parameters: from the command line, the environment, or their defaults. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from poller.errors import ConfigError, Problem
from poller.intrinsics import UNKNOWN
from poller.settings import PARAMETER_PREFIX
from poller.validation import Boolean, Integer, Model, Text, closest, describe, parse, under

TYPES = ("String", "Number", "CommaDelimitedList", "List<Number>")


def _pattern(text: str) -> str:
    try:
        re.compile(text)
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(f"{describe(text)} is not a regular expression: {error}") from None
    return text


class Parameter(Model):
    """One parameter as the template declares it."""

    Type: str
    Default: Text | None = None
    AllowedValues: tuple[Text, ...] | None = None
    AllowedPattern: Annotated[str, AfterValidator(_pattern)] | None = None
    MinLength: Annotated[Integer, Field(ge=0)] | None = None
    MaxLength: Annotated[Integer, Field(ge=0)] | None = None
    MinValue: float | None = None
    MaxValue: float | None = None
    NoEcho: Boolean = False
    Description: Text = ""
    ConstraintDescription: Text = ""

    def read(self, text: str) -> Any:
        """The value that `Ref` gives.

        Raises:
            ValueError: the text breaks a constraint.
        """
        for item in text.split(",") if "List" in self.Type else [text]:
            self._check(item.strip() if "List" in self.Type else item)
        match self.Type:
            case "Number":
                return _number(text)
            case "CommaDelimitedList":
                return [item.strip() for item in text.split(",")]
            case "List<Number>":
                return [_number(item.strip()) for item in text.split(",")]
        return text

    def _check(self, text: str) -> None:
        shown = "the value" if self.NoEcho else describe(text)
        hint = f": {self.ConstraintDescription}" if self.ConstraintDescription else ""
        if self.AllowedValues is not None and text not in self.AllowedValues:
            raise ValueError(f"{shown} is not one of {', '.join(self.AllowedValues)}{hint}")
        if self.AllowedPattern is not None and not re.fullmatch(self.AllowedPattern, text):
            raise ValueError(f"{shown} does not match {self.AllowedPattern}{hint}")
        if not (self.MinLength or 0) <= len(text) <= (len(text) if self.MaxLength is None else self.MaxLength):
            raise ValueError(f"{shown} has {len(text)} characters, which is too short or too long{hint}")
        if "Number" in self.Type:
            number = _number(text)
            if self.MinValue is not None and number < self.MinValue:
                raise ValueError(f"{shown} is below {self.MinValue:g}{hint}")
            if self.MaxValue is not None and number > self.MaxValue:
                raise ValueError(f"{shown} is above {self.MaxValue:g}{hint}")


def _number(text: str) -> int | float:
    try:
        return int(text)
    except ValueError:
        pass
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{describe(text)} is not a number") from None


def parameter_values(
    section: Any, given: Mapping[str, str], environment: Mapping[str, str]
) -> tuple[dict[str, Any], list[Problem]]:
    """What `Ref` gives for each parameter, and what is wrong with the parameters.

    Args:
        section: the template's `Parameters`.
        given: values from the command line; they win over the environment's POLLER_PARAMETER_<Name>.
        environment: all environment variables.
    """
    if section is None:
        section = {}
    if not isinstance(section, dict):
        return {}, [Problem("Parameters", f"{describe(section)} is not a mapping")]
    values: dict[str, Any] = {}
    problems: list[Problem] = []
    for name, declared in section.items():
        path = f"Parameters.{name}"
        values[name] = UNKNOWN
        try:
            values[name] = _value(name, declared, path, given, environment)
        except ConfigError as error:
            problems += error.problems
    in_environment = [name for name in environment if name.startswith(PARAMETER_PREFIX)]
    for place, name in [
        *((f"--parameter {name}", name) for name in given),
        *((name, name.removeprefix(PARAMETER_PREFIX)) for name in in_environment),
    ]:
        if name not in section:
            problems.append(Problem(place, "the template has no such parameter", closest(name, section)))
    return values, problems


def _value(name: str, declared: Any, path: str, given: Mapping[str, str], environment: Mapping[str, str]) -> Any:
    parameter = parse(Parameter, declared, under(path))
    if parameter.Type not in TYPES:
        raise ConfigError(
            [Problem(f"{path}.Type", f"{parameter.Type} is not supported", f"supported: {', '.join(TYPES)}")]
        )
    for place, text in (
        (f"--parameter {name}", given.get(name)),
        (PARAMETER_PREFIX + name, environment.get(PARAMETER_PREFIX + name)),
        (f"{path}.Default", parameter.Default),
    ):
        if text is not None:
            try:
                return parameter.read(text)
            except ValueError as error:
                raise ConfigError([Problem(place, str(error))]) from None
    hint = f"give --parameter {name}=…, {PARAMETER_PREFIX}{name}, or a Default"
    raise ConfigError([Problem(path, "has no value", hint)])
