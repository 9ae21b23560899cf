"""Settings of single functions, `Functions`: what AWS has no property for, or only for versions. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, Field

from poller.errors import Problem
from poller.runtime.freezing import CAN_FREEZE
from poller.validation import Boolean, Integer, Model, closest, join

if TYPE_CHECKING:
    from poller.settings import Settings

_PATH = "Metadata.Poller.Functions"


def _freezable(value: Any) -> Any:
    if value and not CAN_FREEZE:
        raise ValueError("processes are frozen on Linux only: elsewhere they would outlive the poller's end")
    return value


class FunctionSettings(Model):
    """Of one function, by its name."""

    ProvisionedConcurrency: Annotated[Integer, Field(ge=0, le=100_000)] = 0
    """Environments that are initialised at the start and kept so; more come on demand. Over all workers."""
    Freeze: Annotated[Boolean, AfterValidator(_freezable)] = False
    """Stop an environment's processes (SIGSTOP) between two events, as Lambda does, and wake them for the next."""


def function_problems(reserved: Mapping[str, int | None], settings: Settings) -> Iterator[Problem]:
    """What is wrong with settings of functions beside the template; `reserved` has every function by name."""
    left = settings.AccountConcurrency - sum(count or 0 for count in reserved.values())
    for name, own in settings.Functions.items():
        path = join(_PATH, name)
        if name not in reserved:
            hint = closest(name, reserved) or f"functions of this template: {', '.join(reserved) or 'none'}"
            yield Problem(path, "the template has no such function", hint)
            continue
        limit = reserved[name]
        if limit is not None and own.ProvisionedConcurrency > limit:
            text = f"{own.ProvisionedConcurrency} is above the function's ReservedConcurrentExecutions of {limit}"
            yield Problem(f"{path}.ProvisionedConcurrency", text)
        elif limit is None:
            left -= own.ProvisionedConcurrency
    if left < 0:
        text = f"the functions that reserve no concurrency provision {-left} more than AccountConcurrency leaves them"
        yield Problem(_PATH, text, "raise AccountConcurrency or lower ProvisionedConcurrency")
