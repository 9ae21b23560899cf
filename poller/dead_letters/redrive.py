"""The redrive: letters go back to their origin at a rate, are marked, and the sums are checked at the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from poller.clock import Clock
from poller.dead_letters.filters import Filter, due, next_batch
from poller.dead_letters.letter import Letter, LetterRefusedError, LettersError

LONGEST_PAUSE = 2.0
"""Seconds between two signs of life to brokers while the rate makes the redrive wait."""

MAXIMUM_BYTES = 8 * 1024 * 1024
"""Bytes of the records that are delivered in one call; a single letter may be larger."""


class Letterbox(Protocol):
    """Where dead letters lie. For one thread; blocks; raises LettersError."""

    where: str
    """For a person."""

    def survey(self, wanted: Filter) -> int:
        """See what is there now, before anything else. Returns how many letters there can be at most."""

    def letters(self, wanted: Filter, *, redriven: bool = False) -> Iterator[Letter]:
        """What the survey saw and the filter lets through; redriven ones only if asked for."""

    def find(self, letter: str) -> Letter | None:
        """The letter of that id."""

    def close(self) -> None:
        """Leave everything as it was."""


class Delivery(Protocol):
    """Brings what letters hold back to where it came from, and marks the letters. Blocks."""

    def complete(self, letter: Letter) -> Letter:
        """Read at their origin what a letter names without holding it; says what is wrong in `problem`."""

    def together(self, letter: Letter) -> int:
        """How many letters up to this one may be delivered in one call; a crash repeats at most one call."""

    def deliver(self, letters: Sequence[Letter]) -> int:
        """Returns the records that brokers confirmed, once these are durable and the letters are marked.

        Raises:
            LetterRefusedError: something about these letters; none of them is marked.
            LettersError: brokers; it is not known whether they are marked.
        """

    def marked(self, expected: int) -> int:
        """Letters of this run that the broker says are marked; waits a while for as many as expected."""

    def beat(self) -> None:
        """Keep connections alive during a pause."""


@dataclass(slots=True)
class Tally:
    """What a redrive did."""

    letters: int = 0
    """Redriven ones."""
    sent: int = 0
    """Records in them, handed to a producer."""
    confirmed: int = 0
    """Records that brokers confirmed."""
    marked: int = 0
    """Letters that are marked, as their broker tells."""
    left: list[tuple[Letter, str]] = field(default_factory=list)
    """Letters that the filter let through and that stay, with the reason."""
    failed: str = ""
    """What ended the run early."""
    interrupted: bool = False

    @property
    def is_right(self) -> bool:
        """The sums agree, and nothing that could be redriven stayed."""
        stayed = [letter for letter, _ in self.left if letter.originals]
        return self.sent == self.confirmed and self.letters == self.marked and not (self.failed or stayed)


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast, how much, and how to wait."""

    clock: Clock
    sleep: Callable[[float], None]
    rate: float | None = None
    """Letters a second."""
    limit: int | None = None
    """Letters at most."""


def dry_run(box: Letterbox, delivery: Delivery, wanted: Filter, limit: int | None) -> Tally:
    """What `redrive` would do now, letter by letter, without doing it: nothing is confirmed or marked."""
    tally = Tally()
    for letter in box.letters(wanted):
        if limit is not None and tally.letters >= limit:
            break
        complete = delivery.complete(letter)
        if complete.problem:
            tally.left.append((complete, complete.problem))
        else:
            tally.letters += 1
            tally.sent += len(complete.originals)
    return tally


def redrive(
    box: Letterbox, delivery: Delivery, wanted: Filter, pace: Pace, on_progress: Callable[[Tally], None]
) -> Tally:
    """Redrive what the filter lets through, and check the sums.

    Ends early, with a tally that says so, when a broker fails or the user interrupts.

    Args:
        box: surveyed already.
        delivery: for the letters of this box.
        wanted: which letters.
        pace: how fast and how many.
        on_progress: called after every delivery.
    """
    run = _Run(delivery, pace, on_progress)
    try:
        run.over(box.letters(wanted))
    except LettersError as error:
        run.tally.failed = str(error)
    except KeyboardInterrupt:
        run.tally.interrupted = True
    try:
        run.tally.marked = delivery.marked(run.certain)
    except LettersError as error:
        run.tally.failed = run.tally.failed or str(error)
    return run.tally


class _Run:
    def __init__(self, delivery: Delivery, pace: Pace, on_progress: Callable[[Tally], None]) -> None:
        self.tally = Tally()
        self.certain = 0
        """Letters of deliveries that did not fail."""
        self._delivery = delivery
        self._pace = pace
        self._on_progress = on_progress
        self._started = pace.clock.monotonic()
        self._batch: list[Letter] = []

    def over(self, letters: Iterator[Letter]) -> None:
        """All of them, or as many as the limit allows."""
        for found in letters:
            if self._pace.limit is not None and self.tally.letters + len(self._batch) >= self._pace.limit:
                break
            letter = self._delivery.complete(found)
            if letter.problem:
                self.tally.left.append((letter, letter.problem))
                continue
            together = self._delivery.together(letter)
            if together == 1:
                self._deliver()  # what stands together with others is done before one that stands alone
            self._batch.append(letter)
            full = len(self._batch) >= next_batch(self._pace.rate, together)
            if full or sum(item.length for item in self._batch) >= MAXIMUM_BYTES:
                self._deliver()
        self._deliver()

    def _deliver(self) -> None:
        batch, self._batch = self._batch, []
        if not batch:
            return
        self._wait()
        try:
            self._hand_over(batch)
        except LetterRefusedError as error:
            if len(batch) == 1:
                self.tally.left.append((batch[0], str(error)))
            else:
                # One of them is not wanted: find out which.
                for letter in batch:
                    self._batch = [letter]
                    self._deliver()
        self._on_progress(self.tally)

    def _hand_over(self, batch: Sequence[Letter]) -> None:
        records = sum(len(letter.originals) for letter in batch)
        try:
            confirmed = self._delivery.deliver(batch)
        except LetterRefusedError:
            raise
        except LettersError:
            # Sent, and no more is known: the sums must show it.
            self.tally.letters += len(batch)
            self.tally.sent += records
            raise
        self.certain += len(batch)
        self.tally.letters += len(batch)
        self.tally.sent += records
        self.tally.confirmed += confirmed

    def _wait(self) -> None:
        """Until the rate allows the next ones, with signs of life to the brokers."""
        clock = self._pace.clock
        while (left := self._started + due(self.tally.letters, self._pace.rate) - clock.monotonic()) > 0:
            self._pace.sleep(min(left, LONGEST_PAUSE))
            self._delivery.beat()
