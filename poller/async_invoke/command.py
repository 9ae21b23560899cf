"""`poller events list|show|purge`: asynchronous events that wait. Results on stdout, everything else on stderr."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from poller.async_invoke.broker import queue_url
from poller.async_invoke.rows import Delivery, StoredEvent
from poller.async_invoke.waiting import Waiting, WaitingEvents
from poller.cli_options import ExitCode
from poller.dead_letters.filters import age
from poller.errors import ConfigError, Problem
from poller.template import Template

WIDE = 200
"""Columns of a table that does not go to a terminal."""


def run(given: argparse.Namespace, load: Callable[[], Template], print_json: Callable[[Any], None]) -> int:
    """Carry out one action; returns the exit code.

    Raises:
        ConfigError: no event of that id; nobody to ask.
        StateError: the state cannot be read.
    """
    template = load()
    settings = template.settings
    url = queue_url(settings, template.path.resolve().parent)
    if url is not None and given.StateFolder is None:
        from poller.async_invoke import broker_command  # noqa: PLC0415 - it brings the broker's library

        names = [function.FunctionName for function in template.functions]
        return broker_command.run(given, settings, url, names, print_json)
    waiting = WaitingEvents(template.state_folder)
    match given.action:
        case "list":
            return _list(given, waiting, print_json)
        case "show":
            return _show(given, waiting, print_json)
    return _purge(given, waiting, print_json)


def _list(given: argparse.Namespace, waiting: WaitingEvents, print_json: Callable[[Any], None]) -> int:
    found = waiting.lines(given.function, given.limit)
    if given.json:
        print_json([_line_json(line) for line in found])
    elif found:
        console = Console(width=None if sys.stdout.isatty() else WIDE, highlight=False)
        console.print(_table(found, time.time()))
    total = waiting.count(given.function, None)
    more = f", the first {len(found)} shown: see --limit" if total > len(found) else ""
    folder = waiting.file.parent
    gone = "" if folder.is_dir() else ", a folder that is not there: the service makes it with its first event"
    _say(f"{total} waiting in {folder}{more}{gone}")
    return ExitCode.OK


def _show(given: argparse.Namespace, waiting: WaitingEvents, print_json: Callable[[Any], None]) -> int:
    events, records = waiting.find(given.request_id)
    if not events and not records:
        hint = "`poller events list` tells what waits; what has ended is no longer there"
        raise ConfigError([Problem(given.request_id, f"no such event waits in {waiting.file.parent}", hint)])
    shown = [*map(_event_json, events), *map(_record_json, records)]
    if given.json:
        print_json(shown[0] if len(shown) == 1 else shown)
    else:
        for item in shown:
            for name, value in item.items():
                print(f"{name}: {value if isinstance(value, str) else json.dumps(value, ensure_ascii=True)}")  # noqa: T201
    return ExitCode.OK


def _purge(given: argparse.Namespace, waiting: WaitingEvents, print_json: Callable[[Any], None]) -> int:
    count = waiting.count(given.function, given.request_id)
    if not given.yes:
        if not sys.stdin.isatty():
            raise ConfigError([Problem("--yes", "is missing, and nobody can be asked: nothing was purged")])
        _say(f"Purge {count} waiting in {waiting.file.parent} for ever? [y/N]")
        if sys.stdin.readline().strip().lower() not in {"y", "yes"}:
            _say("nothing was purged")
            return ExitCode.FAILED
    purged = waiting.purge(given.function, given.request_id)
    if given.json:
        print_json({"Purged": purged})
    else:
        print(f"purged: {purged} from {waiting.file.parent}")  # noqa: T201
    return ExitCode.OK


def _table(found: list[Waiting], now: float) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in ("Request", "Function", "Waits for", "Attempts", "Age", "Due in", "Bytes"):
        table.add_column(name, justify="left" if name in {"Request", "Function", "Waits for"} else "right")
    for line in found:
        attempts = "" if line.attempts is None else str(line.attempts)
        due = "" if line.due is None else "now" if line.due <= now else age(line.due - now)
        cells = (line.request_id, line.function, line.waits_for, attempts, age(now - line.since), due, str(line.size))
        table.add_row(*map(Text, cells))
    return table


def _line_json(line: Waiting) -> dict[str, Any]:
    return {
        "RequestId": line.request_id,
        "FunctionName": line.function,
        "WaitsFor": line.waits_for,
        "Attempts": line.attempts,
        "Since": _iso(line.since),
        "Due": None if line.due is None else _iso(line.due),
        "Bytes": line.size,
    }


def _event_json(event: StoredEvent) -> dict[str, Any]:
    result = event.delay or event.answer
    return {
        "RequestId": event.request_id,
        "FunctionName": event.function,
        "WaitsFor": "attempt",
        "Attempts": event.standing.attempts,
        "Since": _iso(event.standing.accepted_at),
        "Due": _iso(event.due),
        "LastStatus": None if result is None else result.status,
        "LastAnswer": None if result is None else _content(result.payload),
        "Payload": _content(event.payload),
    }


def _record_json(delivery: Delivery) -> dict[str, Any]:
    return {
        "RequestId": delivery.request_id,
        "FunctionName": delivery.function,
        "WaitsFor": delivery.kind,
        "Since": _iso(delivery.made_at),
        "Headers": {name: value.decode() for name, value in delivery.letter.headers},
        "Record": _content(delivery.letter.body),
    }


def _content(payload: bytes) -> Any:
    try:
        return json.loads(payload) if payload else None
    except (ValueError, RecursionError):
        return payload.decode(errors="replace")


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)  # noqa: T201
