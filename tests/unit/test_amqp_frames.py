"""Frames of RabbitMQ, cut from large pieces in pika's place: the same as pika's own, however they arrive."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pika import frame, spec
from pika.exceptions import InvalidFrameError

from poller.sources.amqp_frames import frames_to

texts = st.text(max_size=20)
delivers = st.builds(
    spec.Basic.Deliver, texts, st.integers(0, 2**64 - 1), st.booleans(), exchange=texts, routing_key=texts
)
frames = st.one_of(
    st.builds(frame.Method, st.integers(1, 65_535), delivers),
    st.builds(
        frame.Header, st.just(1), st.integers(0, 2**40), st.just(spec.BasicProperties(message_id="m", priority=1))
    ),
    st.builds(frame.Body, st.integers(1, 65_535), st.binary(max_size=100)),
    st.just(frame.Heartbeat()),
    st.just(frame.Method(1, spec.Basic.CancelOk("consumer"))),
)


class Connection:
    """What pika's connection has of this."""

    def __init__(self) -> None:
        self._frame_buffer = b""
        self.bytes_received = 0
        self.processed: list[Any] = []

    def _process_frame(self, one: Any) -> None:
        self.processed.append(one)


def shown(one: Any) -> str:
    """Everything in a frame, as pika shows it."""
    return repr(one)


@given(st.lists(frames, max_size=5), st.integers(1, 400))
def test_frames_are_those_that_pika_decodes_in_whatever_pieces_they_arrive(sent: list[Any], piece: int) -> None:
    wire = b"".join(one.marshal() for one in sent)
    connection, expected = Connection(), []
    rest = wire
    while rest:
        consumed, one = frame.decode_frame(rest)
        expected.append(shown(one))
        rest = rest[consumed:]
    take = frames_to(connection)  # type: ignore[arg-type]
    for start in range(0, len(wire), piece):
        take(wire[start : start + piece])
    assert [shown(one) for one in connection.processed] == expected
    assert (connection.bytes_received, connection._frame_buffer) == (len(wire), b"")


def test_a_frame_without_its_last_byte_is_refused_as_by_pika() -> None:
    for one in (frame.Body(1, b"body"), frame.Method(1, spec.Basic.Deliver("tag", 1, exchange="", routing_key="q"))):
        with pytest.raises(InvalidFrameError):
            frames_to(Connection())(one.marshal()[:-1] + b"?")  # type: ignore[arg-type]


def test_nothing_is_taken_any_more_once_the_connection_has_ended() -> None:
    connection = Connection()
    one = frame.Body(1, b"body")

    def end(_: Any) -> None:
        connection.processed.append("ended")
        connection._frame_buffer = b""

    connection._process_frame = end  # type: ignore[method-assign]
    frames_to(connection)(one.marshal() * 3)  # type: ignore[arg-type]
    assert (connection.processed, connection._frame_buffer) == (["ended"], b"")
