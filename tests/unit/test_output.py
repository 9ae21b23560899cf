"""Output belongs to the event that wrote it, also when the next event writes before the first answer is read (E.5)."""

import fcntl
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poller.runtime.output import Output


class Pipe:
    def __init__(self):
        fd, self.end = os.pipe()
        os.set_blocking(fd, False)
        self.events = [b""]
        self.output = Output(fd, self._emit)

    def _emit(self, chunk):
        self.events[-1] += chunk

    def write(self, content):
        os.write(self.end, content)

    def next_event(self, *, marked):
        self.output.end_event(marked=marked)
        self.events.append(b"")
        self.output.begin_event()

    def close(self):
        os.close(self.end)
        self.output.close()


@pytest.fixture
def pipe():
    one = Pipe()
    yield one
    one.close()


def test_what_lies_behind_a_marker_is_the_next_events(pipe):
    pipe.write(b"one\n" + pipe.output.marker + b"two\n")
    pipe.output.read()
    assert not pipe.output.wanted
    pipe.next_event(marked=True)
    assert pipe.events == [b"one\n", b"two\n"]
    assert pipe.output.wanted


def test_a_marked_answer_takes_the_output_up_to_the_marker_and_no_more(pipe):
    pipe.write(b"one\n" + pipe.output.marker + b"two\n" + pipe.output.marker + b"three\n")
    pipe.next_event(marked=True)
    pipe.next_event(marked=True)
    assert pipe.events == [b"one\n", b"two\n", b"three\n"]


def test_an_answer_without_a_marker_leaves_what_is_unread_to_the_next_event(pipe):
    pipe.write(b"two\n")
    pipe.next_event(marked=False)
    pipe.output.read()
    assert pipe.events == [b"", b"two\n"]


def test_what_looks_like_the_beginning_of_a_marker_is_output_after_all(pipe):
    start = pipe.output.marker[:5]
    pipe.write(b"one" + start)
    pipe.output.read()
    pipe.next_event(marked=False)
    assert pipe.events == [b"one" + start, b""]


def test_at_the_end_everything_is_handed_out_and_the_markers_are_left_out(pipe):
    pipe.write(b"one\n" + pipe.output.marker + b"two\n" + pipe.output.marker + b"three\n" + pipe.output.marker[:3])
    pipe.output.read(7)
    pipe.output.drain()
    assert pipe.events == [b"one\ntwo\nthree\n" + pipe.output.marker[:3]]


def test_a_line_that_comes_while_the_end_is_read_stays_whole(pipe, monkeypatch):
    def look(fd, request, pending, ioctl=fcntl.ioctl):
        ioctl(fd, request, pending)
        pipe.write(b"a line\n")

    emitted = []
    monkeypatch.setattr("poller.runtime.output.fcntl.ioctl", look)
    monkeypatch.setattr(pipe.output, "_emit", emitted.append)
    pipe.output.drain()
    assert emitted == [b"a line\n"]


def test_an_output_that_the_handler_closed_is_not_waited_for(pipe):
    os.close(pipe.end)
    assert pipe.output.read() == 0
    assert not pipe.output.wanted
    pipe.end = os.open(os.devnull, os.O_WRONLY)


@given(st.lists(st.binary(max_size=40), min_size=1, max_size=5), st.integers(1, 20))
def test_events_keep_their_own_output_however_it_is_read(contents, size):
    pipe = Pipe()
    try:
        pipe.write(pipe.output.marker.join(contents))
        for number in range(len(contents)):
            while pipe.output.wanted and pipe.output.read(size):
                pass
            if number + 1 < len(contents):
                pipe.next_event(marked=True)
        pipe.output.end_event(marked=False)
        assert pipe.events == contents
    finally:
        pipe.close()
