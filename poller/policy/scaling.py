"""How many pollers a mapping has: from its lag, what handlers do with it, and what a poller can do (C.8). Pure.

On AWS the lag is looked at every minute, the number settles within three, and throttles and errors bring it down; how
it is computed is not told. Here, from one look to the next:

- behind: at the present pace the lag would outlast another minute. The first such look doubles the pollers, the next
  one in a row gives as many as there may be;
- quiet: the lag is what is worked off in ten seconds. The third such look in a row takes as many away as what is done
  now does not need: by concurrency, by bytes, and by the pace that a poller showed when it was behind;
- hampered: most invocations failed, or the function had no environment to spare. Half of the pollers go, and no more
  than are left come back within a quarter of an hour after that.

In between nothing changes, so that a mapping which does as well as it can keeps its pollers: every change rebalances
the group.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil

from poller.policy.workers import PollerBounds

LOOK_INTERVAL = 60.0
"""Seconds between two looks at the lag (C.8); the caller divides them by TimeScale."""

CONCURRENCY_PER_POLLER = 5
"""Invocations that a provisioned Kafka poller has in work at once (C.8)."""

BYTES_PER_POLLER = 5_000_000
"""Bytes a second that a provisioned Kafka poller reads (C.8)."""

_QUIET_PART = 1 / 6
"""Of what was worked off since the last look: a lag below that is no lag to speak of."""

_BEHIND_LOOKS, _QUIET_LOOKS = 2, 3
"""Looks in a row until the number settles; within three minutes, as on AWS."""

_CEILING_LOOKS = 15
"""Looks without trouble for which a number that was brought down is not exceeded."""

_HEADROOM = 0.8
"""Part of its known pace that a poller is trusted with when others are taken away."""


@dataclass(frozen=True, slots=True)
class Look:
    """A mapping on one worker at one moment. What is counted only grows."""

    at: float
    """Seconds."""
    partitions: int | None = None
    """Of the topic; None while no poller knows."""
    lag: int = 0
    """Records that are not finished, save those that wait for nothing but their batch to fill."""
    in_work: int = 0
    """Batches."""
    finished: float = 0.0
    """Counted: records."""
    invocations: float = 0.0
    """Counted: of its function."""
    errors: float = 0.0
    """Counted: those of them that ended in a function error; a partial batch response is none."""
    busy: float = 0.0
    """Counted: seconds in handlers, of all of them."""
    read: float = 0.0
    """Counted: bytes."""
    short: float = 0.0
    """Counted: seconds in which invocations waited for the function's concurrency, or were refused."""


@dataclass(frozen=True, slots=True)
class Scaling:
    """How many pollers a mapping has on one worker, and what that was decided from."""

    pollers: int
    last: Look | None = None
    """What the next look is compared with."""
    behind: int = 0
    quiet: int = 0
    """Looks in a row."""
    pace: float | None = None
    """Records a second of one poller, as far as is known what it can do."""
    ceiling: int | None = None
    ceiling_looks: int = 0
    """For how many more looks without trouble the ceiling holds."""
    reason: str = ""
    """Why the number is another one than before, for a person; empty when it is not."""


def scaled(state: Scaling, look: Look, bounds: PollerBounds, interval: float = LOOK_INTERVAL) -> Scaling:
    """The state after another look. Asked more often than once an interval, it only keeps the bounds.

    Args:
        state: after the look before.
        look: now.
        bounds: of the mapping on this worker.
        interval: seconds between two looks, at the program's TimeScale.
    """
    if look.partitions is None:
        return replace(state, reason="")
    allowed = bounds.within(state.pollers, look.partitions)
    if allowed != state.pollers:
        return replace(state, pollers=allowed, reason=f"the topic has {look.partitions} partitions")
    if state.last is None:
        return replace(state, last=look, reason="")
    if look.at - state.last.at < interval:
        return replace(state, reason="")
    return _judged(state, state.last, look, bounds)


def _judged(state: Scaling, last: Look, look: Look, bounds: PollerBounds) -> Scaling:
    partitions = look.partitions or 0
    seconds = look.at - last.at
    finished = look.finished - last.finished
    noise = partitions  # a record of each that has just come is no lag
    short = look.short - last.short > seconds / 2
    failing = (look.errors - last.errors) * 2 > look.invocations - last.invocations
    behind = min(last.lag, look.lag) > noise and look.lag > finished and (finished > 0 or look.in_work > 0)
    quiet = look.lag <= max(noise, finished * _QUIET_PART)
    state = replace(
        state,
        last=look,
        behind=state.behind + 1 if behind else 0,
        quiet=state.quiet + 1 if quiet else 0,
        pace=_pace(state, finished / seconds, behind=behind),
        ceiling_looks=max(0, state.ceiling_looks - 1),
        reason="",
    )
    if short or failing:
        return _hampered(
            state, bounds, partitions, "most invocations fail" if failing else "the function is at its limit"
        )
    if behind:
        return _more(state, look, bounds, partitions)
    if state.quiet >= _QUIET_LOOKS:
        needed = _needed(state, last, look)
        return _changed(state, min(state.pollers, needed), bounds, partitions, f"lag {look.lag}")
    return state


def _pace(state: Scaling, rate: float, *, behind: bool) -> float | None:
    """Behind, a poller shows what it can do; otherwise at least what it does."""
    each = rate / state.pollers if state.pollers else 0.0
    if behind:
        return each
    return None if state.pace is None else max(state.pace, each)


def _hampered(state: Scaling, bounds: PollerBounds, partitions: int, reason: str) -> Scaling:
    fewer = _changed(state, max(1, state.pollers // 2), bounds, partitions, reason)
    return replace(fewer, behind=0, ceiling=fewer.pollers, ceiling_looks=_CEILING_LOOKS)


def _more(state: Scaling, look: Look, bounds: PollerBounds, partitions: int) -> Scaling:
    most = bounds.most(partitions)
    wanted = most if state.behind >= _BEHIND_LOOKS else 2 * state.pollers
    if state.ceiling is not None and state.ceiling_looks:
        wanted = min(wanted, max(state.ceiling, state.pollers))
    return _changed(state, wanted, bounds, partitions, f"lag {look.lag}")


def _needed(state: Scaling, last: Look, look: Look) -> int:
    """Pollers that what is done now takes."""
    seconds = look.at - last.at
    by_concurrency = (look.busy - last.busy) / seconds / CONCURRENCY_PER_POLLER
    by_bytes = (look.read - last.read) / seconds / BYTES_PER_POLLER
    by_pace = (look.finished - last.finished) / seconds / (state.pace * _HEADROOM) if state.pace else 0.0
    return max(1, ceil(max(by_concurrency, by_bytes, by_pace)))


def _changed(state: Scaling, pollers: int, bounds: PollerBounds, partitions: int, reason: str) -> Scaling:
    pollers = bounds.within(pollers, partitions)
    return state if pollers == state.pollers else replace(state, pollers=pollers, reason=reason)
