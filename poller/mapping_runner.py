"""One event source mapping while it lives: its pollers, its dead letters, its state (C.2).

A change of state takes its time (a batch in work ends, a group is left), so it is carried out on a thread of its own,
`mapping-<name>`, one at a time; until it is done the mapping is in the state between. Pollers come and go one by one
with `resize`, which changes no state.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from poller.assembly import Assembly, labels_of
from poller.destinations.worker import DestinationWorker
from poller.event_poller import EventPoller
from poller.mapping_plan import NO_RECORDS, PollerState, Standing
from poller.metrics import MappingSnapshot
from poller.resources import EventSourceMapping

State = Literal["Creating", "Enabling", "Enabled", "Updating", "Disabling", "Disabled", "Deleting"]
"""C.2."""

CLOSING = 5.0
"""Seconds beyond the grace of what is in work that pollers may take to commit and to leave their groups."""

LEAVING_GRACE = 5.0
"""Seconds that what is in work may take when a mapping is disabled or deleted, if ShutdownGrace is not shorter. Whoever
switches a mapping off wants it to be off; what ends later comes again."""

_LETTERS_GRACE = 1.0
"""Seconds for dead letters that are on their way when their sender ends."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Running:
    number: int
    poller: EventPoller
    thread: threading.Thread


class MappingRunner:
    """Runs one mapping.

    `start`, `update`, `delete` and the two halves of the stop are the control plane's to call, never two at once; the
    rest is for any thread. Nothing here blocks, save `join`.
    """

    def __init__(self, mapping: EventSourceMapping, assembly: Assembly, pollers: int) -> None:
        """Set up; nothing runs before `start`.

        Args:
            mapping: complete, as `poller.wiring` leaves it.
            assembly: makes its parts.
            pollers: how many it starts with while it is enabled.
        """
        self.mapping = mapping
        self.last_modified = assembly.clock.time()
        """Seconds since the epoch."""
        self._assembly = assembly
        self._wanted = pollers
        self._started = False
        self._lock = threading.RLock()
        """Guards what follows; never held while something is waited for."""
        self._state: State = "Creating" if mapping.Enabled else "Disabled"
        self._running: tuple[_Running, ...] = ()
        self._leaving: list[_Running] = []
        self._letters: DestinationWorker | None = None
        self._change: threading.Thread | None = None
        self._last_result = NO_RECORDS
        """Of pollers that are gone."""

    # --- what is asked --------------------------------------------------------------------------------------------

    def state(self) -> State:
        """Where the mapping is in its life.

        The states on the way to Enabled end when every poller has found its broker, or has found out why it cannot.
        """
        with self._lock:
            opening = self._state in {"Creating", "Enabling", "Updating"} and self._started and self._change is None
            standings = [item.poller.state.standing for item in self._running]
            if opening and all(item.polling or item.problem for item in standings):
                self._state = "Enabled"
            return self._state

    def status(self) -> dict[str, object]:
        """For `/readyz` and the API: AWS's names where AWS has one (C.2)."""
        state = self.state()
        return status_of(self.mapping, state, self.poller_states(), self._last_result)

    def snapshot(self) -> MappingSnapshot:
        """For `/metrics`."""
        states = self.poller_states()
        lag: dict[str, int] = {}
        # Who reads a partition knows best; who leaves or cannot read has it until another one does.
        leaving = [item.poller.state for item in self._leaving]
        for item in [*leaving, *sorted(states, key=lambda item: item.standing.polling)]:
            lag |= item.lag or {}
        return MappingSnapshot(
            labels=labels_of(self.mapping),
            enabled=any(item.standing.polling for item in states),
            lag=lag,
            held=sum(item.held for item in states),
            pollers=len(states) if self._started or not self.mapping.Enabled else self._wanted,
        )

    def alive(self) -> bool:
        """Whether every poller that should run does."""
        return all(item.thread.is_alive() for item in self._running)

    @property
    def wanted(self) -> int:
        """Pollers that it has while it is enabled."""
        return self._wanted

    def poller_states(self) -> list[PollerState]:
        """Of those that run."""
        return [item.poller.state for item in self._running]

    # --- what is done ---------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start what the mapping wants; brokers are connected to on the pollers' threads."""
        with self._lock:
            self._started = True
            if self.mapping.Enabled:
                self._open()

    def update(self, mapping: EventSourceMapping, pollers: int) -> State:
        """Go on with other values: from the next batch on, where the source stays the same.

        Returns:
            The state that the change began with; it may be over by now.
        """
        with self._lock:
            before, self.mapping, self._wanted = self.mapping, mapping, pollers
            self.last_modified = self._assembly.clock.time()
            if before.Enabled and not mapping.Enabled:
                self._begin("Disabling", self._close, "Disabled")
            elif mapping.Enabled and not before.Enabled:
                self._begin("Enabling", self._open, "Enabling")
            elif mapping.Enabled:
                self._begin("Updating", lambda: self._adapt(before), "Updating")
            return self._state

    def delete(self, gone: Callable[[], None]) -> None:
        """End for good; `gone` is called when nothing runs any more, on the thread of the change."""

        def end() -> None:
            self._close()
            gone()

        with self._lock:
            self._begin("Deleting", end, "Deleting")

    def resize(self, pollers: int) -> None:
        """Have that many pollers.

        Ones too many end what they have in work, within ShutdownGrace; then the group shares their partitions out.
        """
        with self._lock:
            self._wanted = pollers
            if self._running and self._state not in {"Disabling", "Disabled", "Deleting"} and self._change is None:
                self._fit()

    def leave(self) -> None:
        """Ask everything to end, as the service does; the first half of its stop."""
        for item in (*self._running, *self._leaving):
            item.poller.stop()

    def join(self, deadline: float) -> None:
        """Wait until `deadline` (monotonic seconds) for the pollers to end, then end what sends dead letters."""
        change = self._change
        if change is not None:
            _join(change, deadline)
        for item in (*self._running, *self._leaving):
            _join(item.thread, deadline)
        if self._letters is not None:
            self._letters.stop(grace=_LETTERS_GRACE)

    def _begin(self, state: State, carry_out: Callable[[], None], afterwards: State) -> None:
        def run() -> None:
            try:
                carry_out()
            finally:
                with self._lock:
                    self._change = None
                    self._state = afterwards

        self._state = state
        self._change = threading.Thread(target=run, name=f"mapping-{self.mapping.name}", daemon=True)
        self._change.start()

    def _open(self) -> None:
        with self._lock:
            if not self._wanted:
                return
            self._letters = self._assembly.dead_letters(self.mapping)
            if self._letters is not None:
                self._letters.start()
            self._fit()

    def _close(self) -> None:
        """Stop all pollers and wait for them; blocks for the grace and a little more. The position stays committed."""
        with self._lock:
            running, self._running = self._running, ()
        self._stop(running)
        with self._lock:
            self._last_result = _result(_seen([item.poller.state for item in running]), self._last_result)
            letters, self._letters = self._letters, None
        if letters is not None:
            letters.stop(grace=_LETTERS_GRACE)

    def _adapt(self, before: EventSourceMapping) -> None:
        mapping = self.mapping
        if _lasting(before) != _lasting(mapping):
            self._close()
            self._open()
            return
        with self._lock:
            letters = self._letters
            if before.on_failure != mapping.on_failure:
                self._letters = self._assembly.dead_letters(mapping)
                if self._letters is not None:
                    self._letters.start()
            self._fit()
            taken_up = [(item, self._tell(item)) for item in self._running]
        for item, event in taken_up:
            while item.thread.is_alive() and not event.wait(0.1):
                pass
        if letters is not None and letters is not self._letters:
            letters.stop(grace=_LETTERS_GRACE)

    def _tell(self, item: _Running) -> threading.Event:
        mapping, letters = self.mapping, self._letters
        return item.poller.update(lambda source: self._assembly.change(mapping, source, letters))

    def _fit(self) -> None:
        """Start or stop pollers until there are as many as wanted; with the lock."""
        kept = self._running[: self._wanted]
        self._stop_soon(self._running[self._wanted :], self._assembly.settings.ShutdownGrace)
        numbers = _free_numbers(kept, self._wanted - len(kept))
        started = [self._poller(number) for number in numbers]
        self._running = (*kept, *started)
        for item in started:
            item.thread.start()

    def _poller(self, number: int) -> _Running:
        poller = self._assembly.poller(self.mapping, number, self._letters)
        name = f"poller-{self.mapping.name}-{number}"
        return _Running(number, poller, threading.Thread(target=poller.run, name=name, daemon=True))

    def _stop_soon(self, running: Iterable[_Running], grace: float) -> None:
        self._leaving = [item for item in self._leaving if item.thread.is_alive()]
        for item in running:
            item.poller.stop(grace)
            self._leaving.append(item)

    def _stop(self, running: Iterable[_Running]) -> None:
        grace = self._leaving_grace
        with self._lock:
            leaving, self._leaving = self._leaving, []
            self._stop_soon([*leaving, *running], grace)  # also those that had more time
            leaving = list(self._leaving)
        deadline = time.monotonic() + grace + CLOSING
        for item in leaving:
            _join(item.thread, deadline)

    @property
    def _leaving_grace(self) -> float:
        return min(LEAVING_GRACE, self._assembly.settings.ShutdownGrace)


def status_of(
    mapping: EventSourceMapping, state: State, pollers: Sequence[PollerState] = (), last_result: str = NO_RECORDS
) -> dict[str, object]:
    """A mapping for `/readyz` and the API: AWS's names where AWS has one (C.2).

    Args:
        mapping: which one.
        state: where it is in its life.
        pollers: those that run for it.
        last_result: LastProcessingResult of those that did.
    """
    seen = _seen(pollers)
    return {
        "Mapping": mapping.name,
        "UUID": mapping.UUID,
        "State": state,
        "StateTransitionReason": _first([standing.reason for standing, _ in seen], "USER_INITIATED"),
        "LastProcessingResult": _result(seen, last_result),
        "Problem": _first([standing.problem for standing, _ in seen], ""),
    }


def _seen(pollers: Iterable[PollerState]) -> list[tuple[Standing, str]]:
    """How each stands, and its LastProcessingResult, at one moment: a poller may write to its own meanwhile."""
    return [(item.standing, item.last_processing_result) for item in pollers]


def _result(seen: Iterable[tuple[Standing, str]], last_result: str) -> str:
    result = _first([standing.refusal or result for standing, result in seen], NO_RECORDS)
    return last_result if result == NO_RECORDS else result


def _lasting(mapping: EventSourceMapping) -> object:
    """What a poller has from its start to its end: a change of it needs new pollers."""
    login = mapping.SourceAccessConfigurations, mapping.security, mapping.broker_url
    return login, mapping.extensions.EventGrouping


def _free_numbers(running: Iterable[_Running], count: int) -> list[int]:
    taken = {item.number for item in running}
    return [number for number in range(len(taken) + count) if number not in taken][:count]


def _first(answers: Iterable[str], ordinary: str) -> str:
    """The first poller's answer that is not the ordinary one."""
    return next((answer for answer in answers if answer != ordinary), ordinary)


def _join(thread: threading.Thread, deadline: float) -> None:
    """Wait for a thread, but not for ever.

    One that hangs in its client must not keep the process: what it has not acknowledged comes again. Its stack is told.
    """
    if not thread.is_alive():
        return
    thread.join(max(0.0, deadline - time.monotonic()))
    if thread.is_alive():
        frame = sys._current_frames().get(thread.ident or 0)  # noqa: SLF001 - the documented way to another's stack
        stack = "".join(traceback.format_stack(frame)) if frame else ""
        _log.error("%s does not end and is left; it is here:\n%s", thread.name, stack)
