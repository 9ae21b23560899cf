"""Which queues of a broker a program takes asynchronous events and records from (setting AsyncQueue)."""

from __future__ import annotations

from poller.async_invoke.amqp_consumers import RECORDS_AT_ONCE, Wanted, consumptions
from poller.async_invoke.amqp_topology import Topology

NAMES = Topology("123456789012", "eu-west-1")
PREFIX = "poller.123456789012.eu-west-1"


def test_events_of_its_functions_and_records_for_their_destinations_are_taken() -> None:
    wanted = {"one": Wanted(20, ("OnSuccess", "DeadLetterQueue")), "two": Wanted(4)}
    found = consumptions(NAMES, wanted, (), lambda *_: None)
    assert {name: one.prefetch for name, one in found.items()} == {
        f"{PREFIX}.events.one": 20,
        f"{PREFIX}.events.two": 4,
        f"{PREFIX}.records.one.OnSuccess": RECORDS_AT_ONCE,
        f"{PREFIX}.records.one.DeadLetterQueue": RECORDS_AT_ONCE,
    }


def test_an_alias_has_records_and_no_events_of_its_own() -> None:
    found = consumptions(NAMES, {"one:live": Wanted(0, ("OnFailure",))}, (), lambda *_: None)
    assert list(found) == [f"{PREFIX}.records.one:live.OnFailure"]


def test_records_that_the_program_has_made_are_taken_though_their_destination_is_no_longer_configured() -> None:
    found = consumptions(NAMES, {"one": Wanted(1)}, {("one", "OnSuccess")}, lambda *_: None)
    assert set(found) == {f"{PREFIX}.events.one", f"{PREFIX}.records.one.OnSuccess"}


def test_a_message_is_told_with_its_queue() -> None:
    told: list[object] = []
    found = consumptions(NAMES, {"one": Wanted(1)}, (), lambda *given: told.append(given))
    (one,) = found.values()
    one.on_message(7, None, b"{}")  # type: ignore[arg-type]
    assert told == [(NAMES.events("one"), 7, None, b"{}")]
