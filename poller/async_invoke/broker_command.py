"""`poller events list|purge` where events wait on the broker of `AsyncQueue`: counts by queue. Results on stdout."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from rich.console import Console
from rich.table import Table
from rich.text import Text

from poller.async_invoke.amqp_topology import Queue, Topology
from poller.async_invoke.broker import KINDS
from poller.async_invoke.broker_waiting import emptied, looked_at
from poller.cli_options import ExitCode
from poller.errors import ConfigError, Problem
from poller.policy.async_delays import pauses
from poller.settings import Settings

ATTEMPT, PAUSE = "attempt", "pause"


@dataclass(frozen=True, slots=True)
class Line:
    """A queue, and what its messages wait for."""

    queue: Queue
    function: str
    """Empty for a queue that all functions share."""
    waits_for: str


def lines_of(settings: Settings, functions: Iterable[str], only: str | None) -> list[Line]:
    """Queues of functions that may be there, and those that hold events back.

    Args:
        settings: account, region and time scale are in the names.
        functions: of the template.
        only: leave out all others, and what functions share.
    """
    topology = Topology(settings.AccountId, settings.Region)
    found = []
    for function in [only] if only is not None else functions:
        found.append(Line(topology.events(function), function, ATTEMPT))
        found += [Line(topology.records(function, kind), function, kind) for kind in KINDS]
    if only is None:
        found += [Line(topology.delay(pause), "", PAUSE) for pause in pauses(settings.TimeScale)]
    return found


def run(
    given: argparse.Namespace,
    settings: Settings,
    url: str,
    functions: Iterable[str],
    print_json: Callable[[Any], None],
) -> int:
    """Carry out one action; returns the exit code.

    Args:
        given: what the command line says.
        settings: with `AsyncQueue`.
        url: of it, complete.
        functions: of the template.
        print_json: for `--json`.

    Raises:
        ConfigError: what a broker does not let anybody do; nobody to ask.
        StateError: the broker cannot be asked.
    """
    where = f"RabbitMQ at {urlsplit(url).netloc.rpartition('@')[2]}"
    if given.action == "show" or getattr(given, "request_id", None):
        reason = f"events wait on {where}, and its queues let nobody look at or take out a single one"
        hint = "`poller events list` tells how many wait, and `purge` empties queues; what is tried stands in the log"
        raise ConfigError([Problem("AsyncQueue", reason, hint)])
    lines = lines_of(settings, functions, given.function)
    if given.action == "list":
        return _list(given, where, lines, looked_at(url, [line.queue.name for line in lines]), print_json)
    return _purge(given, where, [line.queue.name for line in lines], url, print_json)


def _list(
    given: argparse.Namespace,
    where: str,
    lines: list[Line],
    counts: dict[str, int | None],
    print_json: Callable[[Any], None],
) -> int:
    found = [(line, count) for line in lines if (count := counts[line.queue.name]) is not None]
    if given.json:
        print_json(
            [
                {
                    "Queue": line.queue.name,
                    "FunctionName": line.function or None,
                    "WaitsFor": line.waits_for,
                    "Messages": count,
                }
                for line, count in found
            ]
        )
    elif found:
        table = Table(box=None, pad_edge=False)
        for name in ("Queue", "Function", "Waits for", "Messages"):
            table.add_column(name, justify="right" if name == "Messages" else "left", overflow="fold")
        for line, count in found:
            table.add_row(*map(Text, (line.queue.name, line.function, line.waits_for, str(count))))
        Console(width=None if sys.stdout.isatty() else 200, highlight=False).print(table)
    total = sum(count for _, count in found)
    _say(f"{total} waiting on {where}; those that a program works on at the moment are not counted")
    return ExitCode.OK


def _purge(given: argparse.Namespace, where: str, names: list[str], url: str, print_json: Callable[[Any], None]) -> int:
    if not given.yes:
        count = sum(count or 0 for count in looked_at(url, names).values())
        if not sys.stdin.isatty():
            raise ConfigError([Problem("--yes", "is missing, and nobody can be asked: nothing was purged")])
        _say(f"Purge {count} waiting on {where} for ever? [y/N]")
        if sys.stdin.readline().strip().lower() not in {"y", "yes"}:
            _say("nothing was purged")
            return ExitCode.FAILED
    purged = sum(count or 0 for count in emptied(url, names).values())
    if given.json:
        print_json({"Purged": purged})
    else:
        print(f"purged: {purged} from {where}")  # noqa: T201
    if given.function is not None:
        _say("events that are held back until their next attempt stayed: all functions share those queues")
    return ExitCode.OK


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)  # noqa: T201
