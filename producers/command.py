"""What the sample's programs have in common on a command line: options, exit codes, stopping, progress."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from enum import IntEnum
from types import FrameType
from typing import Protocol, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

Confirmed = Callable[[int], None]
"""Called with the number of messages that brokers have confirmed so far."""


class ExitCode(IntEnum):
    """What a shell sees in $?."""

    OK = 0
    FAILED = 1
    """Not everything was confirmed; of the sample run: something was lost or is still waiting."""
    USAGE = 2
    """An option that makes no sense (argparse's own code)."""
    UNREACHABLE = 3
    """No broker at the address, or the connection was lost."""
    MISSING = 4
    """The broker has no such topic or queue."""
    REFUSED = 5
    """The broker said no: login, permission, or a queue that exists with other properties."""
    INTERRUPTED = 130
    """Stopped by a signal before --count was reached, as shells say it for Ctrl-C."""


class CommandError(Exception):
    """Ends a program with a text for a person and an exit code, without a traceback."""

    def __init__(self, code: ExitCode, message: str) -> None:
        self.code = code
        super().__init__(message)


class Stop:
    """Set by SIGINT and SIGTERM; the program ends after what is under way. A second signal ends it at once."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def __bool__(self) -> bool:
        return self._event.is_set()

    def wait(self, seconds: float) -> None:
        """Sleep, but no longer than until a signal comes."""
        self._event.wait(seconds)

    def set(self) -> None:
        """Ask for the end. Thread-safe."""
        self._event.set()

    def listen(self) -> None:
        """Take the two signals. To be called in the main thread."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        del frame
        self._event.set()
        signal.signal(number, signal.SIG_DFL)


class Pace:
    """Spreads messages evenly: message n is due n / rate seconds after the first. A rate of 0 means no pause."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._start = time.monotonic()

    def until(self, number: int) -> float:
        """Seconds until the message with this number (from 0) is due."""
        return self._start + number / self._rate - time.monotonic() if self._rate else 0.0


def environment(name: str, default: str) -> str:
    """A variable's value, where an empty one counts as not set."""
    return os.environ.get(name) or default


def kafka_address() -> str:
    """Bootstrap servers: KAFKA_BOOTSTRAP_SERVERS, else the port that docker-compose.yml publishes."""
    return environment("KAFKA_BOOTSTRAP_SERVERS", f"127.0.0.1:{environment('POLLER_KAFKA_PORT', '19092')}")


def rabbitmq_address() -> str:
    """AMQP URL: RABBITMQ_URL, else the port that docker-compose.yml publishes."""
    return environment("RABBITMQ_URL", f"amqp://guest:guest@127.0.0.1:{environment('POLLER_RABBITMQ_PORT', '5672')}")


def number(minimum: float, maximum: float = float("inf"), kind: type[int | float] = float) -> Callable[[str], float]:
    """A converter for argparse that knows the range."""

    def convert(text: str) -> float:
        value = kind(text)
        if not minimum <= value <= maximum:
            limit = f"between {minimum:g} and {maximum:g}" if maximum < float("inf") else f"{minimum:g} or more"
            raise argparse.ArgumentTypeError(f"{text} is not {limit}")
        return value

    convert.__name__ = kind.__name__
    return convert


def add_content_options(parser: argparse.ArgumentParser, *, count: int, keys: int, of: str) -> None:
    """The options of both producers. Each can also come from the environment variable named in its help text."""
    options: list[tuple[str, str, object, Callable[[str], object], str]] = [
        ("--rate", "PRODUCER_RATE", 0, number(0), "messages a second; 0: as fast as confirmed"),
        ("--count", "PRODUCER_COUNT", count, number(0, kind=int), "messages in all; 0: until stopped"),
        ("--poison", "PRODUCER_POISON", 0.01, number(0, 1), "share of messages that no handler can handle"),
        ("--keys", "PRODUCER_KEYS", keys, number(1, kind=int), f"number of different {of}"),
        ("--seed", "PRODUCER_SEED", 1, int, "the same seed gives the same content"),
        ("--run", "PRODUCER_RUN", "", str, "first part of every message's identity; new each time when not given"),
    ]
    for flag, variable, default, kind, text in options:
        value = environment(variable, str(default))
        parser.add_argument(flag, type=kind, default=value, help=f"{text} ({variable}, now {value or 'not set'})")


def finished(delivered: int, count: int, stop: Stop) -> ExitCode:
    """How a producer ends: an endless one that was stopped ended as it should."""
    return ExitCode.INTERRUPTED if stop and delivered < count else ExitCode.OK


def new_run() -> str:
    """An identity for one run: sorts by time, and no other run has it."""
    return f"{time.strftime('%m%d-%H%M%S', time.gmtime())}-{os.urandom(2).hex()}"


class Message(Protocol):
    """What the programs need to know of a message of either kind."""

    @property
    def poison(self) -> bool:
        """No handler can handle it."""


M = TypeVar("M", bound=Message)


def deliver(label: str, confirmed: Iterable[M], count: int, stop: Stop) -> list[M]:
    """Draw the messages as brokers confirm them, show how far it is, and end with one line that sums up.

    Args:
        label: what stands before the bar and the line.
        confirmed: yields each message when the broker has it; may raise CommandError after some.
        count: how many there will be; 0: endless, and then only the last few are kept and returned.
        stop: whether the end was asked for.
    """
    kept: deque[M] = deque(maxlen=count or 1)
    total = poison = 0
    start = time.monotonic()
    console = Console(stderr=True, highlight=False)
    failed = True
    try:
        with progress(label, count or None, console) as show:
            for message in confirmed:
                total += 1
                poison += message.poison
                kept.append(message)
                show(total)
        failed = False
    finally:
        seconds = time.monotonic() - start
        ending = ", stopped" if stop else ""
        if total or not failed:
            rate = f"{total / max(seconds, 1e-3):,.0f}/s"
            console.print(f"{label}: {total:,} confirmed ({poison:,} poison) in {seconds:.1f} s, {rate}{ending}")
    return list(kept)


@contextmanager
def progress(label: str, total: int | None, console: Console) -> Iterator[Confirmed]:
    """A bar on a terminal, nothing elsewhere. `total` None: a spinner that counts."""
    if not console.is_terminal:
        yield lambda _: None
        return
    columns = [
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    ]
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(label, total=total)
        yield lambda confirmed: bar.update(task, completed=confirmed)


def main(run: Callable[[argparse.Namespace, Stop], ExitCode], arguments: argparse.Namespace) -> int:
    """Run a program: signals taken, client libraries silent, errors in one line on stderr. Returns the exit code."""
    for library in ("kafka", "pika"):
        # Their troubles come back as exceptions; their logs would say everything twice.
        logging.getLogger(library).setLevel(logging.CRITICAL + 1)
    stop = Stop()
    stop.listen()
    try:
        return run(arguments, stop)
    except CommandError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.code
