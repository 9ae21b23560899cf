"""What RabbitMQ sends, cut in pika's place: a consumer's messages are its own, all else is pika's as pika has it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pika import frame, spec
from pika.exceptions import BodyTooLongError, InvalidFrameError

from poller.sources.amqp_deliveries import Deliveries, Delivery
from poller.sources.amqp_frames import Frames

TAG = "poller-1"
PROPERTIES = spec.BasicProperties(message_id="m", priority=1)

texts = st.text(max_size=20)


class Connection:
    """What pika's connection has of this."""

    def __init__(self) -> None:
        self._frame_buffer = b""
        self.bytes_received = 0
        self.processed: list[Any] = []

    def _process_frame(self, one: Any) -> None:
        self.processed.append(one)


class Rig:
    """A connection with a consumer on channel 1."""

    def __init__(self, *, consumes: bool = True) -> None:
        self.connection = Connection()
        self.told: list[int] = []
        self.frames = Frames(self.connection, self.told.append)  # type: ignore[arg-type]
        self.arrived: list[Delivery] = []
        if consumes:
            self.frames.consumer = Deliveries(1, TAG, self.arrived)

    def take(self, wire: bytes, piece: int = 2**20) -> None:
        for start in range(0, len(wire), piece):
            self.frames.take(wire[start : start + piece])

    @property
    def processed(self) -> list[str]:
        """Everything in the frames that pika got, as pika shows it."""
        return [repr(one) for one in self.connection.processed]


def decoded(wire: bytes) -> list[str]:
    """What pika makes of it."""
    shown = []
    while wire:
        consumed, one = frame.decode_frame(wire)
        shown.append(repr(one))
        wire = wire[consumed:]
    return shown


def deliver(number: int = 1, *, consumer: str = TAG, redelivered: bool = False, key: str = "q") -> spec.Basic.Deliver:
    return spec.Basic.Deliver(consumer, number, redelivered, exchange="", routing_key=key)


def message(method: spec.Basic.Deliver, properties: spec.BasicProperties, *body: bytes, channel: int = 1) -> bytes:
    """As the broker sends one: the method, the header, and the body in so many frames."""
    frames = [frame.Method(channel, method), frame.Header(channel, len(b"".join(body)), properties)]
    return b"".join(one.marshal() for one in [*frames, *(frame.Body(channel, piece) for piece in body)])


def encoded(properties: spec.BasicProperties) -> bytes:
    return b"".join(properties.encode())


others = st.one_of(
    st.builds(
        frame.Method,
        st.integers(1, 65_535),
        st.builds(
            spec.Basic.Deliver,
            texts.filter(lambda tag: tag != TAG),
            st.integers(0, 2**64 - 1),
            st.booleans(),
            exchange=texts,
            routing_key=texts,
        ),
    ),
    st.builds(frame.Header, st.just(2), st.integers(0, 2**40), st.just(PROPERTIES)),
    st.builds(frame.Body, st.integers(2, 65_535), st.binary(max_size=100)),
    st.just(frame.Heartbeat()),
    st.just(frame.Method(1, spec.Basic.CancelOk("consumer"))),
)


@given(st.lists(others, max_size=5), st.integers(1, 400), st.booleans())
def test_what_is_not_the_consumers_is_what_pika_decodes(sent: list[Any], piece: int, consumes: bool) -> None:
    wire = b"".join(one.marshal() for one in sent)
    rig = Rig(consumes=consumes)
    rig.take(wire, piece)
    assert rig.processed == decoded(wire)
    assert (rig.connection.bytes_received, rig.connection._frame_buffer) == (len(wire), b"")
    assert (rig.arrived, rig.told) == ([], [])


@given(
    sent=st.lists(
        st.one_of(
            others,
            st.tuples(
                st.integers(1, 2**64 - 1),
                st.booleans(),
                texts,
                st.builds(spec.BasicProperties, message_id=st.none() | texts, priority=st.none() | st.integers(0, 255)),
                st.lists(st.binary(min_size=1, max_size=60), max_size=3),
            ),
        ),
        max_size=6,
    ),
    piece=st.integers(1, 500),
)
def test_messages_are_the_same_in_whatever_pieces_they_arrive(sent: list[Any], piece: int) -> None:
    wire, rest, expected = b"", b"", []
    for one in sent:
        if isinstance(one, tuple):
            number, redelivered, key, properties, body = one
            wire += message(deliver(number, redelivered=redelivered, key=key), properties, *body)
            expected.append((number, redelivered, encoded(properties), b"".join(body)))
        else:
            wire += one.marshal()
            rest += one.marshal()
    rig = Rig()
    rig.take(wire, piece)
    assert rig.arrived == expected
    assert rig.processed == decoded(rest)
    assert (rig.connection.bytes_received, rig.connection._frame_buffer) == (len(wire), b"")
    assert bool(rig.told) == bool(expected)


@pytest.mark.parametrize("channels", [(1, 2), (2, 1)])
def test_messages_of_another_consumer_and_channel_are_pikas(channels: tuple[int, int]) -> None:
    rest = message(deliver(), PROPERTIES, b"body", channel=channels[1])[len(frame.Method(1, deliver()).marshal()) :]
    consumer = TAG if channels[0] == 2 else "poller-2"
    wire = frame.Method(channels[0], deliver(consumer=consumer)).marshal() + rest
    rig = Rig()
    rig.take(wire)
    assert (rig.arrived, rig.processed) == ([], decoded(wire))


def test_a_body_in_several_frames_is_one() -> None:
    rig = Rig()
    wire = message(deliver(7, redelivered=True), PROPERTIES, b"a" * 100, b"b" * 100)
    rig.take(wire + message(deliver(8), PROPERTIES, b"c"))
    expected = encoded(PROPERTIES)
    assert rig.arrived == [(7, True, expected, b"a" * 100 + b"b" * 100), (8, False, expected, b"c")]


def test_more_of_a_body_than_was_announced_is_refused_as_by_pika() -> None:
    wire = b"".join(
        one.marshal() for one in (frame.Method(1, deliver()), frame.Header(1, 3, PROPERTIES), frame.Body(1, b"four"))
    )
    with pytest.raises(BodyTooLongError):
        Rig().take(wire)


@pytest.mark.parametrize("broken", [0, 1, 2])
def test_a_frame_without_its_last_byte_is_refused_as_by_pika(broken: int) -> None:
    frames = [frame.Method(1, deliver()), frame.Header(1, 4, PROPERTIES), frame.Body(1, b"body")]
    pieces = [one.marshal() for one in frames]
    pieces[broken] = pieces[broken][:-1] + b"?"
    rig = Rig()
    with pytest.raises(InvalidFrameError):
        rig.take(b"".join(pieces))
    assert rig.arrived == []


def test_nothing_is_taken_any_more_once_the_connection_has_ended() -> None:
    rig = Rig()

    def end(_: Any) -> None:
        rig.connection.processed.append("ended")
        rig.connection._frame_buffer = b""

    rig.connection._process_frame = end  # type: ignore[method-assign]
    rig.take(frame.Heartbeat().marshal() + message(deliver(), PROPERTIES, b"body"))
    assert (rig.connection.processed, rig.connection._frame_buffer, rig.arrived) == (["ended"], b"", [])


def test_a_wait_ends_with_enough_messages() -> None:
    rig = Rig()
    rig.frames.enough = 2
    rig.take(message(deliver(1), PROPERTIES, b"a"))
    assert rig.told == []
    rig.take(message(deliver(2), PROPERTIES, b"b"))
    assert rig.told == [1]
