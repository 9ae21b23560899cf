"""The one thread that writes to the store: what many ask for at the same time goes into one transaction.

A transaction costs a flush of the disk, however much is in it, so waiting for each other's makes all of them quick.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from time import monotonic
from typing import Any

Statement = tuple[str, tuple[Any, ...]]

MOST_AT_ONCE = 500
"""Requests of one transaction: what waits longer than a flush takes is in the next one."""

FIRST_PAUSE = 0.25
"""Seconds before what has to be written is tried again; doubled for each further failure."""

LONGEST_PAUSE = 10.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Request:
    """Statements that are carried out together or not at all."""

    statements: Sequence[Statement]
    on_done: Callable[[Exception | None], None]
    """Called once, on the writer's thread: None when all is on the disk. Must be quick."""
    must: bool = False
    """Has to be written: a failure is not told, but tried again until it works or the writer is closed."""
    guarded: bool = False
    """When the first statement changes no row, the others are left out."""


class Writer:
    """The thread `async-store`: owns its connection. `submit` may be called from any thread, and does not block."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._inbox: SimpleQueue[Request | None] = SimpleQueue()
        self._held: list[Request] = []
        """What has to be written and could not be."""
        self._failures = 0
        self._not_before = 0.0
        self._closing = False
        self._closed = False
        self._handing_in = threading.Lock()
        """So that nothing comes in behind the last entry of the inbox."""
        self._thread = threading.Thread(target=self._run, name="async-store", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def submit(self, request: Request) -> bool:
        """Write soon. False once the writer is closed; then nothing is called back."""
        with self._handing_in:
            if self._closed:
                return False
            self._inbox.put(request)
            return True

    def close(self) -> None:
        """Write what was submitted, what failed before once more, and end the thread. Blocks. Idempotent."""
        with self._handing_in:
            if not self._closed:
                self._closed = True
                self._inbox.put(None)
        self._thread.join()

    def _run(self) -> None:
        while not self._closing:
            requests = self._next()
            if requests:
                self._carry_out(requests)
            if self._held and (self._closing or monotonic() >= self._not_before):
                self._try_again()
        if self._held:
            _log.error("%d changes could not be written; their events are taken up again later", len(self._held))
        self._connection.close()

    def _next(self) -> list[Request]:
        """Wait for a request, or until something held is to be tried again; then take what else is there."""
        timeout = max(0.0, self._not_before - monotonic()) if self._held else None
        requests: list[Request] = []
        try:
            entry = self._inbox.get(timeout=timeout)
            while entry is not None:
                requests.append(entry)
                if len(requests) >= MOST_AT_ONCE:
                    return requests
                entry = self._inbox.get_nowait()
            self._closing = True
        except Empty:
            pass
        return requests

    def _carry_out(self, requests: Sequence[Request]) -> None:
        """All in one transaction; each in its own when that fails, as one of them may be the only one that does."""
        error = self._transaction(requests)
        if error is None:
            _report(requests, None)
        elif len(requests) > 1:
            for request in requests:
                self._carry_out([request])
        elif requests[0].must:
            self._hold(requests, error)
        else:
            _report(requests, error)

    def _try_again(self) -> None:
        held, self._held = self._held, []
        error = self._transaction(held)
        if error is not None:
            self._hold(held, error)
            return
        _log.warning("%d changes are written that could not be before", len(held))
        self._failures = 0
        _report(held, None)

    def _hold(self, requests: Sequence[Request], error: Exception) -> None:
        self._held += requests
        self._failures += 1
        pause = min(FIRST_PAUSE * 2.0 ** min(self._failures - 1, 10), LONGEST_PAUSE)
        self._not_before = monotonic() + pause
        _log.error("the state cannot be written (%s); tried again in %.2f s", error, pause)

    def _transaction(self, requests: Sequence[Request]) -> Exception | None:
        connection = self._connection
        try:
            connection.execute("BEGIN IMMEDIATE")
            for request in requests:
                for number, (sql, values) in enumerate(request.statements):
                    changed = connection.execute(sql, values).rowcount
                    if request.guarded and not number and not changed:
                        break
            connection.execute("COMMIT")
        except Exception as error:  # noqa: BLE001 - also values that SQLite cannot take, such as a lone surrogate
            if connection.in_transaction:  # some errors end it by themselves
                try:
                    connection.execute("ROLLBACK")
                except sqlite3.Error as further:
                    _log.warning("the transaction that failed cannot be taken back: %s", further)
            return error
        return None


def _report(requests: Sequence[Request], error: Exception | None) -> None:
    for request in requests:
        try:
            request.on_done(error)
        except Exception:  # noqa: BLE001 - whatever it is, the others still have to hear of theirs
            _log.exception("the callback of a write failed")
