"""`poller logs FUNCTION`: what a function wrote to its log files, and with --follow what it writes from now on."""

from __future__ import annotations

import argparse
import json
import select
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime

from poller.cli_options import ExitCode
from poller.dead_letters.filters import moment
from poller.errors import ConfigError, Problem
from poller.logs.pattern import Matches, compile_pattern
from poller.logs.places import group_folder
from poller.logs.reading import LogEvent, LogReader
from poller.template import Template
from poller.validation import closest

LOOK = 0.2
"""Seconds between two looks for new events."""


def run(given: argparse.Namespace, load: Callable[[], Template]) -> int:
    """Print the events; returns the exit code. With `follow` until Ctrl-C, or until nobody reads any more.

    Raises:
        ConfigError: no such function, a wrong time or pattern, or no log files.
        BrokenPipeError: whoever reads stdout is gone.
    """
    matches = _filter(given)
    since = _since(given)
    template = load()
    reader = _reader(given.function, template)
    while True:
        for event in reader.new_events(since):
            if matches(event):
                sys.stdout.write(_line(event, as_json=given.json))
        sys.stdout.flush()
        if not given.follow:
            return ExitCode.OK
        _wait()


def _reader(name: str, template: Template) -> LogReader:
    """Of a function of the template, or of one that a call has made and that has written already."""
    found = {function.FunctionName: function.configuration() for function in template.functions}
    configuration = found.get(name)
    own_group = f"/aws/lambda/{name}"
    group = own_group if configuration is None else configuration.log_group
    folder = group_folder(template.state_folder, group)
    if folder.is_dir():
        return LogReader(folder, "" if group == own_group else f"{name}[")
    if configuration is None:
        hint = closest(name, found) or f"functions of {template.path}: {', '.join(found) or 'none'}"
        raise ConfigError([Problem(name, "no such function", hint)])
    hint = "log files are written with LogFiles: true (or --log-files true), and by default where the log is a terminal"
    raise ConfigError([Problem(str(folder), f"no log files of {name} yet", hint)])


def _filter(given: argparse.Namespace) -> Callable[[LogEvent], bool]:
    matches: Matches | None = None
    if given.filter is not None:
        try:
            matches = compile_pattern(given.filter)
        except ValueError as error:
            raise ConfigError([Problem("--filter", str(error))]) from None
    request_id = given.request_id

    def wanted(event: LogEvent) -> bool:
        return (request_id is None or event.request_id == request_id) and (matches is None or matches(event.message))

    return wanted


def _since(given: argparse.Namespace) -> int:
    if given.since is None:
        return 0
    try:
        return int(moment(given.since, time.time()) * 1000)
    except ValueError as error:
        raise ConfigError([Problem("--since", str(error))]) from None


def _line(event: LogEvent, *, as_json: bool) -> str:
    when = datetime.fromtimestamp(event.timestamp / 1000, UTC).isoformat(timespec="milliseconds")
    when = when.replace("+00:00", "Z")
    if not as_json:
        return f"{when} {event.message}\n".encode(errors="backslashreplace").decode()
    members = {
        "timestamp": when,
        "logStreamName": event.stream,
        "requestId": event.request_id,
        "message": event.message,
    }
    return json.dumps(members, ensure_ascii=False).encode(errors="backslashreplace").decode() + "\n"


def _wait() -> None:
    """Wait for the next look, or raise when nobody reads what we write: without events no write would tell."""
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)
    ready = poll.poll(LOOK * 1000)
    if any(state & (select.POLLERR | select.POLLHUP) for _, state in ready):
        raise BrokenPipeError
    if ready:
        time.sleep(LOOK)
