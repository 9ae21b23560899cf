"""Records made from the wire are those that pika's decoding and `to_record` give (D.2)."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pika import BasicProperties
from pika.spec import Basic

from poller.model import Record
from poller.sources import amqp_table
from poller.sources.amqp_deliveries import Delivery
from poller.sources.rabbitmq_event import encode_header, encode_headers, to_record
from poller.sources.rabbitmq_records import RecordReader

amqp_table.install()
SHARD = "orders::/"

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
some = st.sampled_from(["", "a", "é", "50%s", 'a"b\\', "\x00", "abc", "\u2028"])
"""Few, so that many messages have the same or one of the same length."""
header_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | texts
    | st.binary(max_size=4)
    | st.decimals(min_value=-1000, max_value=1000, places=2)
    | st.integers(0, 2**32).map(lambda seconds: datetime.fromtimestamp(seconds, UTC)),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(texts, inner, max_size=2),
    max_leaves=4,
)
octets = st.none() | st.sampled_from([0, 1, 2, 255])
properties = st.builds(
    BasicProperties,
    content_type=st.none() | some,
    content_encoding=st.none() | some,
    headers=st.none() | st.just({"n": 1}) | st.dictionaries(texts, header_values, max_size=3),
    delivery_mode=octets,
    priority=octets,
    correlation_id=st.none() | some,
    reply_to=st.none() | some,
    expiration=st.none() | some,
    message_id=st.none() | some | texts,
    timestamp=st.none() | st.sampled_from([0, 1, 1764064800, 1764064800000, 2**64 - 1]),
    type=st.none() | some,
    user_id=st.none() | some,
    app_id=st.none() | some,
    cluster_id=st.none() | some,
)


def wire(of: BasicProperties) -> bytes:
    return b"".join(of.encode())


def plain(delivery: Delivery, position: int) -> Record:
    """By way of pika's objects."""
    tag, redelivered, encoded, body = delivery
    method = Basic.Deliver(delivery_tag=tag, redelivered=redelivered)
    decoded = BasicProperties().decode(encoded)
    return to_record(method, decoded, body, shard=SHARD, position=position, generation=3)


def read(deliveries: list[Delivery], reader: RecordReader | None = None) -> list[Record]:
    return (reader or RecordReader(SHARD)).to_records(deliveries, position=5, generation=3)


@given(
    kinds=st.lists(properties, min_size=1, max_size=4),
    chosen=st.lists(st.tuples(st.integers(0, 3), st.booleans(), st.binary(max_size=20)), min_size=1, max_size=12),
)
def test_records_are_those_of_the_plain_way(
    kinds: list[BasicProperties], chosen: list[tuple[int, bool, bytes]]
) -> None:
    deliveries = [
        (number, redelivered, wire(kinds[kind % len(kinds)]), body)
        for number, (kind, redelivered, body) in enumerate(chosen, 1)
    ]
    assert read(deliveries) == [plain(delivery, position) for position, delivery in enumerate(deliveries, 5)]


@given(
    like=properties,
    others=st.lists(
        st.fixed_dictionaries(
            {},
            optional={
                "message_id": some,
                "correlation_id": some,
                "timestamp": st.integers(0, 2**64 - 1),
                "headers": st.dictionaries(st.sampled_from("ab"), header_values, max_size=2),
                "app_id": some,
                "content_type": some,
                "delivery_mode": st.integers(0, 255),
            },
        ),
        max_size=12,
    ),
)
def test_messages_that_differ_a_little_are_not_taken_for_one_another(
    like: BasicProperties, others: list[dict[str, Any]]
) -> None:
    messages = [like, *(BasicProperties(**{**vars(like), **changes}) for changes in others)]
    deliveries = [(number, False, wire(one), b"body") for number, one in enumerate([*messages, *messages], 1)]
    assert read(deliveries) == [plain(delivery, position) for position, delivery in enumerate(deliveries, 5)]


def test_what_messages_have_in_common_is_decoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def message(number: int) -> Delivery:
        own = {"message_id": f"id-{number}", "timestamp": 1764064800 + number, "headers": {"trace": f"t-{number}"}}
        return number, False, wire(BasicProperties(content_type="text/plain", app_id="shop", **own)), b"body"

    reader = RecordReader(SHARD)
    read([message(1)], reader)
    expected = plain(message(2), 5)
    monkeypatch.setattr(BasicProperties, "decode", None)
    assert read([message(2)], reader) == [expected]


def test_a_message_that_comes_again_tells_how_often() -> None:
    # F.3: x-delivery-count on redeliveries
    encoded = wire(BasicProperties(headers={"x-delivery-count": 3}))
    records = read([(1, False, encoded, b""), (2, True, encoded, b""), (3, False, encoded, b"")])
    assert [record.deliveries for record in records] == [0, 3, 0]
    assert [json.loads(record.encoded)["redelivered"] for record in records] == [False, True, False]


@pytest.mark.parametrize("kinds", [1, 6, 300])
def test_any_number_of_kinds_of_messages_can_take_turns(kinds: int) -> None:
    deliveries = [
        (number, False, wire(BasicProperties(type="x" * (number % kinds % 200), priority=number % kinds % 6)), b"body")
        for number in range(2 * kinds)
    ]
    assert read(deliveries) == [plain(delivery, position) for position, delivery in enumerate(deliveries, 5)]


def test_flags_that_nobody_knows_are_left_to_pika() -> None:
    unknown = b"\x00\x02"
    continued = b"\x80\x01\x00\x00\x01a"
    deliveries = [(number, False, encoded, b"") for number, encoded in enumerate([unknown, continued] * 2)]
    assert read(deliveries) == [plain(delivery, position) for position, delivery in enumerate(deliveries, 5)]


@given(
    st.dictionaries(texts | st.binary(max_size=2), header_values | st.floats() | st.just(Decimal("NaN")), max_size=4)
)
@example({b"\xff": 1, "\ufffd": 2})
def test_a_table_of_headers_is_its_headers(headers: dict[str | bytes, Any]) -> None:
    # D.2
    one_by_one = {
        name.decode(errors="replace") if isinstance(name, bytes) else name: encode_header(value)
        for name, value in headers.items()
    }
    assert encode_headers(headers) == json.dumps(one_by_one, separators=(",", ":"))
