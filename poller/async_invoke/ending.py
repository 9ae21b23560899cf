"""What an event leaves in the store when it ends: records for its destinations, and events of other functions. Pure."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass

from poller.async_invoke.configuration import AsyncConfiguration, AsyncDestination, FunctionTarget
from poller.async_invoke.rows import Delivery, Kind, StoredEvent, destinations_of
from poller.model import DeadLetter, FunctionConfiguration, InvocationResult
from poller.policy.async_events import Ended, Standing
from poller.policy.async_records import EndedEvent, dead_letter, event_bridge_letter, record, record_letter

MAXIMUM_EVENT = 1024 * 1024
"""Bytes of an asynchronous event: 1 MB (A.2)."""

MAXIMUM_PASSES = 16
"""Functions that may hand one event on to the next before it is taken for going round in a circle (B.5)."""


@dataclass(frozen=True, slots=True)
class Lost:
    """A record that a function which is a destination does not get."""

    why: str
    is_recursion: bool
    """The event went round in a circle (B.5); else the record is too large."""


@dataclass(frozen=True, slots=True)
class Remains:
    """What is kept of an event that ended."""

    deliveries: tuple[Delivery, ...] = ()
    events: tuple[StoredEvent, ...] = ()
    lost: tuple[Lost, ...] = ()


def remains(
    event: StoredEvent,
    ended: Ended,
    answers: tuple[InvocationResult | None, InvocationResult | None],
    function: FunctionConfiguration,
    configuration: AsyncConfiguration,
    *,
    now: float,
    wall: float,
    new_id: Callable[[], str],
    may_recur: Callable[[str], bool] = lambda _: False,
) -> Remains:
    """What the destinations of an event get.

    Args:
        event: as it was before its end.
        ended: why it ended.
        answers: the function's last one, and the delay since then.
        function: whose event it is.
        configuration: how it is configured now.
        now: seconds since the epoch, as the dispatcher counts them: what the age of a following event begins with.
        wall: the same as the wall clock has them, for the record.
        new_id: makes request ids.
        may_recur: whether a function, by its name, may be invoked however many handed the event on (RecursiveLoop).
    """
    answer, delay = answers
    arn = f"{function.function_arn}:{event.qualifier or '$LATEST'}"
    told = EndedEvent(event.request_id, arn, event.payload, ended, result=delay or answer, answer=answer)
    kinds: tuple[Kind, ...] = ("OnSuccess",) if ended.succeeded else ("OnFailure", "DeadLetterQueue")
    deliveries: list[Delivery] = []
    events: list[StoredEvent] = []
    lost: list[Lost] = []
    for kind in kinds:
        destination = configuration.destination(kind)
        if destination is None:
            continue
        target = destination.target
        if not isinstance(target, FunctionTarget):
            letter = dead_letter(told) if kind == "DeadLetterQueue" else _record_for(destination, told, function, wall)
            qualifier = "" if kind == "DeadLetterQueue" else event.qualifier
            whose = destinations_of(event.function, qualifier)
            deliveries.append(Delivery(event.request_id, whose, kind, wall, letter))
            continue
        payload = record(told, now=wall)
        is_recursion = event.passes >= MAXIMUM_PASSES and not may_recur(target.function_name)
        if refusal := _refusal(payload, is_recursion=is_recursion):
            lost.append(Lost(f"{target} does not get the record: {refusal}", is_recursion))
        else:
            name, qualifier, passes = target.function_name, target.qualifier, event.passes + 1
            events.append(StoredEvent(new_id(), name, qualifier, payload, Standing(now), now, passes=passes))
    return Remains(tuple(deliveries), tuple(events), tuple(lost))


def _record_for(
    destination: AsyncDestination, told: EndedEvent, function: FunctionConfiguration, now: float
) -> DeadLetter:
    if not destination.bus_arn:
        return record_letter(told, now=now)
    return event_bridge_letter(
        told,
        bus_arn=destination.bus_arn,
        account=function.account_id,
        region=function.region,
        id_=str(uuid.uuid5(uuid.NAMESPACE_OID, f"{told.request_id}/{told.ended.condition}")),
        now=now,
    )


def _refusal(payload: bytes, *, is_recursion: bool) -> str:
    """Why a record cannot become an event of another function; empty when it can."""
    if is_recursion:
        return f"the event has gone through {MAXIMUM_PASSES} functions, each the destination of the one before"
    if len(payload) > MAXIMUM_EVENT:
        return f"the record has {len(payload)} bytes, and an asynchronous event may have {MAXIMUM_EVENT}"
    return ""
