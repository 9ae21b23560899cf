"""Frames survive any way of being cut, and garbage is told from frames."""

import os
import tracemalloc
from contextlib import suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from poller import model
from poller.runtime import frames
from poller.runtime.frames import FrameError, FrameReader, FrameWriter

headers = st.dictionaries(st.text(max_size=5), st.none() | st.integers() | st.text(max_size=9), max_size=3)


@pytest.fixture
def pipe():
    """A pipe with two non-blocking ends: read, write."""
    ends = os.pipe()
    for fd in ends:
        os.set_blocking(fd, False)
    yield ends
    for fd in ends:
        with suppress(OSError):
            os.close(fd)


def encoded(header, payload):
    read, write = os.pipe()
    try:
        FrameWriter(header, payload).write(write)
        return os.read(read, 1 << 20)
    finally:
        os.close(read)
        os.close(write)


def read_available(reader, fd):
    found = []
    while True:
        try:
            frame = reader.read(fd)
        except BlockingIOError:
            return found
        if frame is not None:
            found.append((frame.header, bytes(frame.payload)))


def test_the_ceiling_is_that_of_a_reply():
    assert frames.MAXIMUM_PAYLOAD == model.MAXIMUM_RESPONSE  # A.2
    assert frames.MAXIMUM_PAYLOAD >= model.MAXIMUM_PAYLOAD


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(headers, st.binary(max_size=300)), max_size=4), st.data())
def test_frames_round_trip_under_any_chunking(pipe, messages, data):
    read, write = pipe
    stream = b"".join(encoded(*message) for message in messages)
    reader, found = FrameReader(), []
    while stream:
        size = data.draw(st.integers(1, len(stream)))
        os.write(write, stream[:size])
        stream = stream[size:]
        found += read_available(reader, read)
    assert found == messages


@pytest.mark.parametrize("size", [0, 1, 4096, 65535, 65536, 200_000, frames.MAXIMUM_PAYLOAD])
def test_a_payload_goes_through_a_pipe_smaller_than_itself(pipe, size):
    read, write = pipe
    payload = os.urandom(size)
    writer, reader, found, done = FrameWriter({"n": 1}, payload), FrameReader(), [], False
    while not found:
        with suppress(BlockingIOError):
            done = done or writer.write(write)
        found += read_available(reader, read)
    assert done
    assert found == [({"n": 1}, payload)]


@pytest.mark.parametrize(
    "garbage",
    [
        b"\xff" * 8,
        b"HTTP/1.1 200 OK\r\n",
        (frames.MAXIMUM_HEADER + 1).to_bytes(4, "big") + bytes(4),
        (2).to_bytes(4, "big") + (frames.MAXIMUM_PAYLOAD + 1).to_bytes(4, "big"),
        (2).to_bytes(4, "big") + bytes(4) + b"{]",
        (2).to_bytes(4, "big") + bytes(4) + b"\xff\xfe",
        (2).to_bytes(4, "big") + bytes(4) + b"[]",
    ],
)
def test_garbage_is_refused_before_memory_is_taken(pipe, garbage):
    read, write = pipe
    os.write(write, garbage)
    tracemalloc.start()
    try:
        with pytest.raises(FrameError, match=r"not a frame|not JSON|no JSON object"):
            FrameReader().read(read)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("beginning", [b"", b"\x00", encoded({"a": 1}, b"payload")[:-1]])
def test_the_end_of_the_pipe_is_told_inside_and_between_frames(pipe, beginning):
    read, write = pipe
    os.write(write, beginning)
    os.close(write)
    reader = FrameReader()
    if beginning:
        assert reader.read(read) is None
    with pytest.raises(EOFError):
        reader.read(read)


def test_an_empty_pipe_blocks_nobody(pipe):
    with pytest.raises(BlockingIOError):
        FrameReader().read(pipe[0])


def test_what_no_reader_would_take_is_not_written():
    with pytest.raises(FrameError, match="header of"):
        FrameWriter({"client_context": "x" * frames.MAXIMUM_HEADER})
    with pytest.raises(FrameError, match="payload of"):
        FrameWriter({}, bytes(frames.MAXIMUM_PAYLOAD + 1))
