"""How the workers of one service share its mappings, so that limits hold over all, and when one starts again. Pure.

What AWS limits, it limits for a function or a mapping, whatever runs it (A.2, C.8). So a limit is divided, never
multiplied: among the workers that may run a function, which are never more than its concurrency.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

ACCOUNT_CONCURRENCY = 1000
"""Environments of all functions of an account; one that reserves none gets what the others leave (A.2)."""

STEADY = 60.0
"""Seconds after which a worker that ends is taken to have run well: its next start does not wait for earlier ends."""


@dataclass(frozen=True, slots=True)
class FunctionLimit:
    """What a function may have over all workers."""

    name: str
    reserved: int | None
    """ReservedConcurrentExecutions; 0 throttles every invocation."""
    provisioned: int = 0
    """Environments that are kept initialised; not above what it may have."""


@dataclass(frozen=True, slots=True)
class MappingDemand:
    """What a mapping wants over all workers."""

    name: str
    function: str
    pollers: int | None
    """To begin with, and the least; None: one on each worker that may run the function (a Kafka mapping on demand)."""
    maximum: int | None = None
    """MaximumPollers; None is the number of partitions."""
    scales: bool = False
    """By its lag: a Kafka mapping."""


@dataclass(frozen=True, slots=True)
class PollerBounds:
    """How few and how many pollers of a mapping one worker may have."""

    minimum: int
    """This worker's; 0 where the mapping is not read at all."""
    maximum: int | None = None
    """Over all workers; None is the number of partitions (a mapping on demand)."""
    part: int = 0
    """Which of the parts that the maximum is divided into is this worker's."""
    parts: int = 1

    def most(self, partitions: int) -> int:
        """Never more consumers than partitions, over all workers (C.8).

        A worker that reads the mapping keeps one, even if others have all the partitions: so it learns of new ones.
        """
        total = partitions if self.maximum is None else min(self.maximum, partitions)
        return max(min(self.minimum, 1), divided(total, self.parts)[self.part])

    def within(self, pollers: int, partitions: int) -> int:
        """The number nearest to this one that is allowed; the partitions win over the minimum."""
        return min(max(pollers, self.minimum), self.most(partitions))


@dataclass(frozen=True, slots=True)
class Share:
    """What one worker runs."""

    worker: int
    """From 1."""
    workers: int
    pollers: Mapping[str, int]
    """By mapping, every one of them."""
    concurrency: Mapping[str, int]
    """Most environments, by function, every one of them."""
    bounds: Mapping[str, PollerBounds] = field(default_factory=dict)
    """By mapping that scales and is read here."""
    provisioned: Mapping[str, int] = field(default_factory=dict)
    """Environments that are kept initialised, by function, every one of them."""

    def poller_name(self, number: int) -> str:
        """Of a mapping's poller in client ids: its number, after the worker's where there are several."""
        return str(number) if self.workers == 1 else f"{self.worker}-{number}"


def shares(
    functions: Sequence[FunctionLimit],
    mappings: Sequence[MappingDemand],
    workers: int,
    account_concurrency: int = ACCOUNT_CONCURRENCY,
) -> list[Share]:
    """Divide mappings and concurrency among so many workers; the first share is that of worker 1.

    A function runs on no more workers than it has concurrency, and there only where pollers of it are. What does not
    come out even goes to other workers with each function and mapping, so that the first does not get everything. A
    mapping scales where it has pollers to begin with: whoever reads nothing sees no lag.
    """
    unreserved = account_concurrency - sum(function.reserved or 0 for function in functions)
    pollers: list[dict[str, int]] = [{} for _ in range(workers)]
    concurrency: list[dict[str, int]] = [{} for _ in range(workers)]
    provisioned: list[dict[str, int]] = [{} for _ in range(workers)]
    bounds: list[dict[str, PollerBounds]] = [{} for _ in range(workers)]
    for turn, function in enumerate(functions):
        able = [(turn + step) % workers for step in range(min(workers, function.reserved or workers))]
        users: dict[int, None] = {}
        own = [mapping for mapping in mappings if mapping.function == function.name]
        for number, mapping in enumerate(own):
            rotated = [able[(number + step) % len(able)] for step in range(len(able))]
            wanted = len(able) if mapping.pollers is None else mapping.pollers
            given = dict(zip(rotated, divided(wanted, len(able)), strict=True))
            for worker in range(workers):
                pollers[worker][mapping.name] = given.get(worker, 0)
            reading = {worker: count for worker, count in given.items() if count}
            if mapping.scales:
                for part, (worker, count) in enumerate(reading.items()):
                    bounds[worker][mapping.name] = PollerBounds(count, mapping.maximum, part, len(reading))
            users |= dict.fromkeys(reading)
        limit = unreserved if function.reserved is None else function.reserved
        for total, given_to in ((limit, concurrency), (function.provisioned, provisioned)):
            parts = dict(zip(users or able[:1], divided(total, len(users) or 1), strict=True))
            for worker in range(workers):
                given_to[worker][function.name] = parts.get(worker, 0)
    return [
        Share(number + 1, workers, pollers[number], concurrency[number], bounds[number], provisioned[number])
        for number in range(workers)
    ]


def divided(total: int, parts: int) -> list[int]:
    """A number in whole parts that differ by at most one, the larger ones first."""
    each, left = divmod(total, parts)
    return [each + (number < left) for number in range(parts)]


def failures_after(failures: int, ran: float) -> int:
    """How often in a row a worker ended, now that it did again after so many seconds."""
    return 1 if ran >= STEADY else failures + 1
