"""The setting `Faults`: which faults are made on purpose, and how often. All are off by default."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Annotated

from pydantic import AfterValidator, Field

from poller.errors import Problem
from poller.validation import Integer, Model, Number, closest

Share = Annotated[Number, Field(ge=0, le=1)]
"""Share of the cases: 0.01 is one in a hundred, 0 none."""


class SlowDownFaults(Model):
    """Invocations that take longer."""

    Rate: Share = 0
    """Share of the invocations."""
    Seconds: Annotated[Number, Field(ge=0, le=900)] = 1
    """How much longer; what that brings above the Timeout times out."""


class FunctionFaults(Model):
    """What goes wrong with a function's invocations."""

    Crash: Share = 0
    """Its process is killed: every other time before the handler has begun, else after it was done, unheard."""
    Hang: Share = 0
    """It does not answer until its Timeout: every other time it has not begun, else it was done."""
    SlowDown: SlowDownFaults = SlowDownFaults()
    Throttle: Share = 0
    """It is answered with 429, and not invoked."""


class EventSourceFaults(Model):
    """What goes wrong with a mapping's batches."""

    DuplicateDelivery: Share = 0
    """A batch that was handled well is handed over once more, as after a commit that was lost."""


class DestinationFaults(Model):
    """What goes wrong with what is sent to destinations: on success, on failure, dead letters."""

    Drop: Share = 0
    """The attempt fails, and is repeated: every other time nothing was sent, else its confirmation is lost."""


def _at_most_all(faults: FunctionFaults) -> FunctionFaults:
    total = faults.Crash + faults.Hang + faults.SlowDown.Rate
    if total > 1:
        raise ValueError(f"Crash, Hang and SlowDown.Rate are {total:g} together: an invocation has one, so at most 1")
    return faults


class Faults(Model):
    """Everything that goes wrong on purpose."""

    Seed: Integer = 0
    """The same seed makes the same faults: of a function's first, second … invocation, and so on."""
    Functions: dict[str, Annotated[FunctionFaults, AfterValidator(_at_most_all)]] = Field(default_factory=dict)
    """By function."""
    EventSources: dict[str, EventSourceFaults] = Field(default_factory=dict)
    """By `Function.Event`."""
    Destinations: DestinationFaults = DestinationFaults()
    """Of all functions and mappings."""

    def shown(self) -> list[str]:
        """Those that are on, for a person."""
        found: list[str] = []
        for name, function in self.Functions.items():
            rates = {"Crash": function.Crash, "Hang": function.Hang, "SlowDown": function.SlowDown.Rate}
            rates["Throttle"] = function.Throttle
            found += [f"{kind} {rate:g} of {name}" for kind, rate in rates.items() if rate]
        for name, source in self.EventSources.items():
            if source.DuplicateDelivery:
                found.append(f"DuplicateDelivery {source.DuplicateDelivery:g} of {name}")
        if self.Destinations.Drop:
            found.append(f"Drop {self.Destinations.Drop:g} of destinations")
        return found


def unknown_names(
    faults: Faults, functions: Collection[str], mappings: Collection[str], path: str
) -> Iterator[Problem]:
    """Faults of what the template does not have."""
    for kind, given, known in (
        ("Functions", faults.Functions, functions),
        ("EventSources", faults.EventSources, mappings),
    ):
        for name in given:
            if name not in known:
                hint = closest(name, known) or f"there are {', '.join(known) or 'none'}"
                yield Problem(f"{path}.{kind}.{name}", "the template has none of that name", hint)
