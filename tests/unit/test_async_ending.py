"""What is left of an asynchronous event whose destination is a function, when that cannot get the record (B.3, B.5)."""

from __future__ import annotations

from pathlib import Path

import pytest

from poller.async_invoke.configuration import AsyncConfiguration, AsyncDestination, FunctionTarget
from poller.async_invoke.ending import MAXIMUM_EVENT, MAXIMUM_PASSES, Remains, remains
from poller.async_invoke.rows import StoredEvent
from poller.model import FunctionConfiguration
from poller.policy.async_events import Ended, Standing

SMALL, LARGE = b"{}", b'"' + b"x" * MAXIMUM_EVENT + b'"'
TO_NEXT = AsyncConfiguration(on_success=AsyncDestination(FunctionTarget("next")))
FUNCTION = FunctionConfiguration("fn", code=Path(), handler="app.handler")


def of(payload: bytes, passes: int, *, may_recur: bool) -> Remains:
    event = StoredEvent("id", "fn", "", payload, Standing(0.0), 0.0, passes=passes)
    return remains(
        event,
        Ended("Success", 1),
        (None, None),
        FUNCTION,
        TO_NEXT,
        now=1.0,
        wall=1.0,
        new_id=lambda: "new",
        may_recur=lambda _: may_recur,
    )


@pytest.mark.parametrize("may_recur", [True, False])
@pytest.mark.parametrize("passes", [0, MAXIMUM_PASSES - 1])
def test_before_the_sixteenth_pass_the_record_becomes_an_event(passes: int, *, may_recur: bool) -> None:
    found = of(SMALL, passes, may_recur=may_recur)
    assert [(event.function, event.passes) for event in found.events] == [("next", passes + 1)]
    assert not found.lost


def test_at_the_sixteenth_it_is_dropped_as_recursion() -> None:  # B.5
    found = of(SMALL, MAXIMUM_PASSES, may_recur=False)
    assert not found.events
    assert [lost.is_recursion for lost in found.lost] == [True]


def test_a_function_that_may_recur_goes_on() -> None:  # RecursiveLoop: Allow
    assert len(of(SMALL, MAXIMUM_PASSES, may_recur=True).events) == 1


@pytest.mark.parametrize("passes", [0, MAXIMUM_PASSES])
def test_a_record_that_is_too_large_is_no_recursion_however_often_it_was_handed_on(passes: int) -> None:  # A.2
    found = of(LARGE, passes, may_recur=True)
    assert not found.events
    assert [lost.is_recursion for lost in found.lost] == [False]
    assert "an asynchronous event may have 1048576" in found.lost[0].why
