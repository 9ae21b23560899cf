"""Asynchronous events as messages of a broker: names, messages and back, and what is held of them (B.1, B.3)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pika
import pytest
from hypothesis import given
from hypothesis import strategies as st

from poller.async_invoke.amqp_held import HeldMessages
from poller.async_invoke.amqp_messages import NotOurs, event_message, read_event, read_record, record_message
from poller.async_invoke.amqp_topology import Topology
from poller.async_invoke.rows import Delivery, StoredEvent
from poller.model import DeadLetter, InvocationResult
from poller.policy.async_events import Standing

NOW = 1_764_064_800.0
EVENT = StoredEvent("id", "fn", "", b'{"a" : 1}', Standing(NOW), NOW)
RECORD = Delivery("id", "fn", "OnFailure", NOW, DeadLetter(b"the record", without_payload=b"short"))
NAMES = Topology("123456789012", "eu-west-1")

results = st.builds(
    InvocationResult,
    st.just("id"),
    st.binary(max_size=50),
    st.sampled_from([200, 429, 500]),
    st.none() | st.just("Unhandled"),
    st.text(max_size=10),
    duration=st.just(0.0),  # not kept, as neither is what follows
    init_duration=st.none(),
    log_tail=st.just(b""),
    content_type=st.just(""),
    streamed=st.just(False),
)


events = st.builds(
    StoredEvent,
    request_id=st.just("id"),
    function=st.just("fn"),
    qualifier=st.text(max_size=10),
    payload=st.binary(max_size=50),
    standing=st.builds(Standing, st.just(NOW), st.integers(0, 3), st.integers(0, 10**6)),
    due=st.just(NOW + 9),
    client_context=st.none() | st.text(max_size=50),
    passes=st.integers(0, 16),
    answer=st.none() | results,
    delay=st.none() | results,
)


@given(event=events)
def test_an_event_comes_back_as_it_was(event: StoredEvent) -> None:
    properties, body = event_message(event)
    assert body.startswith(event.payload)
    assert read_event(properties, body, NOW + 9) == event


@given(body=st.binary(max_size=50), short=st.none() | st.binary(max_size=20), text=st.text(max_size=20))
def test_a_record_comes_back_as_it_was(body: bytes, short: bytes | None, text: str) -> None:
    headers = (("RequestID", b"id"), ("ErrorMessage", text.encode()))
    delivery = Delivery("id", "fn", "DeadLetterQueue", NOW, DeadLetter(body, None, headers, short))
    assert read_record(*record_message(delivery)) == delivery


tables = st.dictionaries(
    st.sampled_from(["function", "qualifier", "accepted-at", "attempts", "answer", "body", "headers", "made-at"]),
    st.none() | st.integers() | st.text(max_size=5) | st.binary(max_size=5) | st.lists(st.integers(), max_size=2),
)


@given(
    headers=st.none() | tables,
    type_=st.none() | st.sampled_from(["event", "OnSuccess"]),
    app=st.sampled_from(["poller", None]),
)
def test_whatever_somebody_else_sends_is_told_apart(headers: Any, type_: str | None, app: str | None) -> None:
    properties = pika.BasicProperties(headers=headers, type=type_, app_id=app, message_id="id")
    with pytest.raises(NotOurs):
        read_event(properties, b"hello", NOW)
    with pytest.raises(NotOurs):
        read_record(properties, b"hello")


def test_an_event_is_no_record_and_a_record_no_event() -> None:
    with pytest.raises(NotOurs):
        read_record(*event_message(EVENT))
    with pytest.raises(NotOurs):
        read_event(*record_message(RECORD), NOW)


def test_names_tell_account_region_and_function() -> None:
    assert NAMES.events("fn").name == "poller.123456789012.eu-west-1.events.fn"
    assert NAMES.delay(60_000).name == "poller.123456789012.eu-west-1.delays.60000"
    assert NAMES.records("fn", "OnFailure").name == "poller.123456789012.eu-west-1.records.fn.OnFailure"


def test_an_event_that_was_held_back_goes_to_its_function_s_queue_under_the_key_it_came_with() -> None:
    delay = NAMES.delay(60_000)
    assert delay.binding_key == "60000.*"
    assert NAMES.key("fn", 60_000) == "60000.fn"
    assert delay.arguments["x-dead-letter-exchange"] == NAMES.events("fn").exchange
    assert "x-dead-letter-routing-key" not in delay.arguments
    assert NAMES.events("fn").binding_key == "*.fn"


def test_no_queue_throws_anything_away() -> None:
    for queue in (NAMES.events("fn"), NAMES.records("fn", "OnSuccess"), NAMES.delay(1)):
        assert queue.arguments["x-queue-type"] == "quorum"
        assert queue.arguments["x-overflow"] == "reject-publish"
        assert queue.arguments.get("x-delivery-limit", -1) == -1
    assert NAMES.delay(1).arguments["x-dead-letter-strategy"] == "at-least-once"
    assert NAMES.delay(300_000).arguments["x-expires"] > 21_600_000, "longer than an event lives"


# --- what this program has in hand --------------------------------------------------------------------------------------


def test_rows_come_in_the_order_of_arrival_and_count_as_begun() -> None:
    held = HeldMessages()
    for number in range(4):
        assert held.add(replace(EVENT, request_id=f"id-{number}"), "queue", number) is None
    assert held.lines() == [("fn", None)]
    first = held.begin(("fn", None), 2)
    assert [one.item.request_id for one in first] == ["id-0", "id-1"]
    assert [one.item.request_id for one in held.begin(("fn", None), 9, {1})] == ["id-1", "id-2", "id-3"]
    assert held.begin(("fn", None), 9, after=4) == []
    assert held.begin(("fn", "OnFailure"), 9) == []


def test_what_is_begun_survives_its_connection_and_is_known_when_it_comes_back() -> None:
    held = HeldMessages()
    for number in range(2):
        held.add(replace(EVENT, request_id=f"id-{number}"), "queue", number + 1)
    (begun,) = held.begin(("fn", None), 1)
    held.lose_all()
    assert begun.tag is None
    assert held.get(2) is None, "what is not begun is forgotten"
    assert held.add(EVENT, "queue", 1) is None, "another one"
    assert held.add(begun.item, "queue", 7) is begun
    assert begun.tag == 7
    assert held.give_up() == []


def test_what_does_not_come_back_is_given_up_once() -> None:
    held = HeldMessages()
    held.add(EVENT, "queue", 1)
    (begun,) = held.begin(("fn", None), 1)
    held.lose_all()
    assert held.give_up() == [begun]
    assert held.give_up() == []
    assert held.get(1) is None
    assert held.lines() == []


def test_what_is_not_begun_can_be_given_back() -> None:
    held = HeldMessages()
    held.add(EVENT, "one", 1)
    held.begin(("fn", None), 1)
    held.add(EVENT, "one", 2)
    held.add(RECORD, "two", 3)
    assert held.give_back("one") == [2]
    assert held.give_back(None) == [3]
    assert held.give_back(None) == []
    assert held.get(1) is not None
    held.remove(1)
    assert held.get(1) is None
