"""Log events in frames are events of their own, whatever lines are in them, and the rest stays output."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poller.runtime.handler_log import MAXIMUM_EVENT
from poller.runtime.log_frames import FrameCutter


def frame(event, kind=b"\xa5\x5a\x00\x03"):
    return kind + len(event).to_bytes(4, "big") + (1764064800000000).to_bytes(8, "big") + event


def cut(*chunks):
    """Pieces, output joined."""
    cutter, found = FrameCutter(), []
    for chunk in chunks:
        for piece in cutter.cut(chunk):
            if found and not piece.framed and not found[-1][1]:
                found[-1] = (found[-1][0] + piece.content, False)
            else:
                found.append(tuple(piece))
    return found


WHOLE = (
    b"before\n" + frame(b"two\nlines\n") + b"between" + frame(b"", b"\xa5\x5a\x00\x16") + frame("ü".encode()) + b"end\n"
)
PIECES = [
    (b"before\n", False),
    (b"two\nlines\n", True),
    (b"between", False),
    (b"", True),
    ("ü".encode(), True),
    (b"end\n", False),
]


@given(st.lists(st.integers(1, len(WHOLE) - 1), max_size=6))
def test_frames_are_found_whatever_the_chunks(cuts):
    places = [0, *sorted(set(cuts)), len(WHOLE)]
    assert cut(*(WHOLE[start:end] for start, end in itertools.pairwise(places))) == PIECES


@given(st.lists(st.one_of(st.binary(max_size=20), st.just(b"\xa5\x5a\x00"))))
def test_what_is_no_frame_is_output_as_it_is(noises):
    """Be it that it looks like the beginning of one, while more comes."""
    noise = b"".join(noises)
    assert cut(noise + b" " * 16) == [(noise + b" " * 16, False)]


def test_a_frame_is_found_behind_what_looks_like_one():
    looks = b"\xa5\x5a\x00\x03" + b"\xe5" * 9
    assert cut(looks + frame(b"event") + b"after\n") == [(looks, False), (b"event", True), (b"after\n", False)]


@pytest.mark.parametrize("text", ["på", "¥", "奥", "\U0001f965", "åZ\0", "åZ\0 and åZ\0"])
@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_a_character_that_holds_the_first_bytes_of_a_frame_is_output_at_once(text, size):
    encoded = text.encode()
    assert cut(*(encoded[at : at + size] for at in range(0, len(encoded), size))) == [(encoded, False)]
    assert cut(encoded + frame(b"event")) == [(encoded, False), (b"event", True)]


@pytest.mark.parametrize("size", [MAXIMUM_EVENT, MAXIMUM_EVENT + 1, 3 * MAXIMUM_EVENT])
def test_an_event_that_is_too_long_is_cut(size):
    pieces = cut(frame(b"x" * size))
    assert all(framed for _, framed in pieces)
    assert sum(len(content) for content, _ in pieces) == size
    assert max(len(content) for content, _ in pieces) <= MAXIMUM_EVENT
