"""Asynchronous invocation with real handler processes and a real store, in a test's own process."""

from __future__ import annotations

import json
import random
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from handlers.rig import HANDLERS
from prometheus_client import CollectorRegistry

from poller.async_invoke.amqp_topology import Topology
from poller.async_invoke.broker import KINDS, broker_store
from poller.async_invoke.broker_waiting import looked_at
from poller.async_invoke.configuration import AsyncConfiguration, AsyncDestination
from poller.async_invoke.invoker import AsyncInvoker
from poller.async_invoke.lanes import AsyncFunction
from poller.async_metrics import AsyncMetrics
from poller.clock import Clock, SystemClock
from poller.endpoints import FileTarget
from poller.model import FunctionConfiguration
from poller.policy.async_delays import pauses
from poller.runtime.pool import FunctionPool
from poller.settings import Settings


def in_file(path: Path) -> AsyncDestination:
    return AsyncDestination(FileTarget(path))


def lines(path: Path) -> list[dict[str, Any]]:
    """Whole lines of a file of JSON lines; none while there is no file."""
    if not path.exists():
        return []
    text = path.read_text()
    return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]


def depths(url: str, account: str, functions: Iterable[str], time_scale: float) -> dict[str, int]:
    """Messages that are ready, by queue's name, of the queues of an account that are there."""
    topology = Topology(account, "us-east-1")
    queues = [topology.delay(pause) for pause in pauses(time_scale)]
    for function in functions:
        queues += [topology.events(function), *(topology.records(function, kind) for kind in KINDS)]
    return {
        name: count for name, count in looked_at(url, [queue.name for queue in queues]).items() if count is not None
    }


@dataclass
class Rig:
    """Functions by name, each with notes of its attempts."""

    folder: Path
    time_scale: float = 600.0
    required: bool = True
    clock: Clock = field(default_factory=SystemClock)
    functions: dict[str, AsyncFunction] = field(default_factory=dict)
    queue: str = ""
    """URL of a RabbitMQ broker, for the setting AsyncQueue."""
    account: str = field(default_factory=lambda: f"{random.randrange(10**12):012}")
    """What the names of its queues begin with."""

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
            broker=broker_store(
                Settings(AsyncQueue=self.queue or None, AccountId=self.account, TimeScale=self.time_scale),
                self.folder,
                lambda: list(self.functions),
                lambda name, _: self.functions.get(name),
                self.clock,
            ),
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

    def stop(self, drain: float = 0.0, grace: float = 5.0) -> None:
        self.invoker.leave()
        self.invoker.drain(drain)
        for function in self.functions.values():
            function.pool.stop()
        self.invoker.stop(grace)

    def restart(self) -> None:
        """As a new process would: new pools, a new registry, the same folder."""
        self.stop()
        for name, function in list(self.functions.items()):
            pool = FunctionPool(function.function, log=lambda *_: None)
            self.functions[name] = AsyncFunction(function.function, function.asynchronous, pool)
        self.registry = CollectorRegistry()
        self.invoker = self._invoker()
        self.start()

    def accept(self, function: str, event: object, qualifier: str = "") -> str:
        return self.invoker.accept(function, qualifier, json.dumps(event).encode())

    def attempts(self, function: str) -> list[dict[str, Any]]:
        return lines(self.folder / function)

    def metric(self, name: str, function: str) -> float:
        return self.registry.get_sample_value(f"poller_{name}", {"function": function}) or 0.0

    def waiting(self) -> int:
        """Events and records in the store."""
        if self.queue:
            return sum(self.depths().values()) + self._in_hand()
        return self._ask("SELECT (SELECT count(*) FROM events) + (SELECT count(*) FROM deliveries)")

    def written_down(self) -> int:
        """Attempts of all waiting events, as far as the store knows of them. On a broker those that wait for another."""
        if self.queue:
            return sum(count for name, count in self.depths().items() if ".delays." in name)
        return self._ask("SELECT coalesce(sum(attempts), 0) FROM events")

    def _in_hand(self) -> int:
        """Messages that the broker has given to this program."""
        running = self.invoker._running
        return len(running[0]._held._rows) if running is not None and running[0].alive else 0

    def depths(self) -> dict[str, int]:
        """Messages that are ready, by the names of the broker's queues that are there."""
        return depths(self.queue, self.account, self.functions, self.time_scale)

    def _ask(self, query: str) -> int:
        connection = sqlite3.connect(self.folder / "state" / "async.sqlite3", timeout=10)
        try:
            [found] = connection.execute(query)
        finally:
            connection.close()
        return int(found[0])
