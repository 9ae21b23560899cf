"""Asynchronous invocation with real handler processes and a real store, in a test's own process."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from handlers.rig import HANDLERS
from prometheus_client import CollectorRegistry

from poller.async_invoke.configuration import AsyncConfiguration, AsyncDestination
from poller.async_invoke.invoker import AsyncInvoker
from poller.async_invoke.lanes import AsyncFunction
from poller.async_metrics import AsyncMetrics
from poller.clock import Clock, SystemClock
from poller.endpoints import FileTarget
from poller.model import FunctionConfiguration
from poller.runtime.pool import FunctionPool

PATIENCE = 60.0
"""Seconds until a test gives up waiting; nothing takes a tenth of it."""


def eventually(condition: Callable[[], Any]) -> Any:
    """Wait until it is true, and return what it gave."""
    deadline = time.monotonic() + PATIENCE
    while not (found := condition()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)
    return found


def in_file(path: Path) -> AsyncDestination:
    return AsyncDestination(FileTarget(path))


def lines(path: Path) -> list[dict[str, Any]]:
    """Whole lines of a file of JSON lines; none while there is no file."""
    if not path.exists():
        return []
    text = path.read_text()
    return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]


@dataclass
class Rig:
    """Functions by name, each with notes of its attempts."""

    folder: Path
    time_scale: float = 600.0
    required: bool = True
    clock: Clock = field(default_factory=SystemClock)
    functions: dict[str, AsyncFunction] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.registry = CollectorRegistry()
        self.invoker = self._invoker()

    def _invoker(self) -> AsyncInvoker:
        return AsyncInvoker(
            self.folder / "state",
            self.function,
            required=self.required,
            time_scale=self.time_scale,
            metrics=AsyncMetrics(self.registry),
            clock=self.clock,
        )

    def function(self, name: str, qualifier: str) -> AsyncFunction | None:
        """By `name`, a version or alias by `name:qualifier`."""
        return self.functions.get(name if qualifier in {"", "$LATEST"} else f"{name}:{qualifier}")

    def add(self, name: str, configuration: AsyncConfiguration | None = None, **changes: Any) -> None:
        """A function; `handler` is noted.handler."""
        values = {"handler": "noted.handler", "environment": {"NOTES": str(self.folder / name)}, **changes}
        function = FunctionConfiguration(name, **{"code": HANDLERS, **values})
        pool = FunctionPool(function, log=lambda *_: None)
        self.functions[name] = AsyncFunction(function, configuration or AsyncConfiguration(), pool)

    def start(self) -> None:
        for function in self.functions.values():
            function.pool.start()
        self.invoker.open()
        self.invoker.start()

    def stop(self, drain: float = 0.0) -> None:
        self.invoker.leave()
        self.invoker.drain(drain)
        for function in self.functions.values():
            function.pool.stop()
        self.invoker.stop(5.0)

    def restart(self) -> None:
        """As a new process would: new pools, a new registry, the same folder."""
        self.stop()
        for name, function in list(self.functions.items()):
            pool = FunctionPool(function.function, log=lambda *_: None)
            self.functions[name] = AsyncFunction(function.function, function.asynchronous, pool)
        self.registry = CollectorRegistry()
        self.invoker = self._invoker()
        self.start()

    def accept(self, function: str, event: object, qualifier: str = "", context: str | None = None) -> str:
        return self.invoker.accept(function, qualifier, json.dumps(event).encode(), context)

    def attempts(self, function: str) -> list[dict[str, Any]]:
        return lines(self.folder / function)

    def metric(self, name: str, function: str) -> float:
        return self.registry.get_sample_value(f"poller_{name}", {"function": function}) or 0.0

    def waiting(self) -> int:
        """Events and records in the store."""
        return self._ask("SELECT (SELECT count(*) FROM events) + (SELECT count(*) FROM deliveries)")

    def written_down(self) -> int:
        """Attempts of all waiting events, as far as the store knows of them."""
        return self._ask("SELECT coalesce(sum(attempts), 0) FROM events")

    def _ask(self, query: str) -> int:
        connection = sqlite3.connect(self.folder / "state" / "async.sqlite3", timeout=10)
        try:
            [found] = connection.execute(query)
        finally:
            connection.close()
        return int(found[0])
