"""What becomes of a record that its destination did not take (B.3, B.4)."""

from __future__ import annotations

import pytest

from poller.errors import DestinationError, DestinationLoginRefused, DestinationRefused
from poller.policy.async_deliveries import REFUSALS, is_lost


def test_a_record_that_is_refused_itself_is_lost_at_once() -> None:  # B.3: over the target's size limit
    assert is_lost(DestinationRefused("too large", "Record"), 1)


@pytest.mark.parametrize("kind", ["Missing", "Denied"])
def test_a_place_that_is_missing_or_closed_gets_a_few_tries(kind: str) -> None:
    """It may have been made or opened a moment ago."""
    error = DestinationRefused("no", kind)  # type: ignore[arg-type]
    assert [is_lost(error, failures) for failures in range(1, REFUSALS + 2)] == [*[False] * (REFUSALS - 1), True, True]


@pytest.mark.parametrize("error", [DestinationError("no answer"), DestinationLoginRefused("wrong password")])
def test_what_may_end_by_itself_is_waited_for_without_end(error: DestinationError) -> None:
    assert not is_lost(error, 1_000_000)
