"""An event goes to a handler's process through memory that both share: whole, unchanged until its answer, read only."""

from __future__ import annotations

import errno
import json
import mmap
import os
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import pytest
from handlers.rig import Function
from hypothesis import given
from hypothesis import strategies as st

from poller.model import Invocation
from poller.runtime.event_memory import KEPT, LEAST, SIZE, EventMemory
from poller.runtime.pipe_dialogue import PipeDialogue


@pytest.fixture
def memory() -> Iterator[EventMemory]:
    one = EventMemory()
    yield one
    one.close()


def taken(memory: EventMemory) -> int:
    """Bytes that the system has given."""
    return os.fstat(memory.fd).st_blocks * 512


def descriptors() -> set[str]:
    return {one.name for one in Path("/proc/self/fd").iterdir()}


SIZES = st.integers(LEAST, LEAST + 50) | st.integers(100_000, 150_000) | st.integers(SIZE // 3, SIZE)


@given(st.lists(st.none() | SIZES, max_size=30))
def test_what_is_held_is_as_it_was_put_whatever_else_comes_and_goes(steps: list[int | None]) -> None:
    memory, held = EventMemory(), deque[tuple[tuple[int, int], bytes]]()
    try:
        for number, size in enumerate(steps):
            if size is None:
                if held:
                    memory.let_go(held.popleft()[0])
                continue
            content = bytes([number + 1]) * size
            place = memory.put(content)
            if place is None:
                ends = sorted(edge for between, _ in held for edge in between)
                gaps = zip([0, *ends[1::2]], [*ends[::2], SIZE], strict=True)
                assert all(end - start < size for start, end in gaps), "what is free is used"
            else:
                held.append((place, content))
        for (start, end), content in held:
            assert os.pread(memory.fd, end - start, start) == content
    finally:
        memory.close()


def test_an_event_of_the_greatest_size_has_room(memory: EventMemory) -> None:  # A.2
    assert memory.put(b"x" * 6_291_556) == (0, 6_291_556)
    assert memory.put(b"y" * 6_291_556) is None, "the next one has to go through the pipe"
    memory.let_go((0, 6_291_556))
    assert memory.put(b"y" * 6_291_556) == (0, 6_291_556)


def test_small_events_go_in_their_frames(memory: EventMemory) -> None:
    assert memory.put(b"x" * (LEAST - 1)) is None
    assert taken(memory) == 0


def test_memory_that_large_events_took_is_given_back_when_none_is_held(memory: EventMemory) -> None:
    first, second = memory.put(b"x" * (SIZE // 2)), memory.put(b"y" * (SIZE // 2))
    assert first
    assert second
    memory.let_go(first)
    assert taken(memory) == SIZE
    memory.let_go(second)
    assert taken(memory) == KEPT
    place = memory.put(b"z" * (SIZE - 1))
    assert place == (0, SIZE - 1)
    assert os.pread(memory.fd, SIZE, 0) == b"z" * (SIZE - 1) + b"\0"


def test_a_system_that_cannot_give_a_part_back_keeps_it(memory: EventMemory, monkeypatch: pytest.MonkeyPatch) -> None:
    class Kept(mmap.mmap):
        def madvise(self, *_: int) -> None:
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(mmap, "mmap", Kept)
    one = EventMemory()
    try:
        for content in (b"x" * SIZE, b"y" * SIZE):
            place = one.put(content)
            assert place == (0, SIZE)
            assert os.pread(one.fd, SIZE, 0) == content
            one.let_go(place)
            assert taken(one) == SIZE
    finally:
        one.close()


def test_what_a_process_is_given_is_to_be_read_only_and_keeps_its_size(memory: EventMemory) -> None:
    memory.put(b"x" * LEAST)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.pwrite(memory.fd, b"y", 0)
    with pytest.raises(OSError, match="Invalid argument"):
        os.ftruncate(memory.fd, 0)
    with pytest.raises(PermissionError):
        mmap.mmap(memory.fd, 0, prot=mmap.PROT_READ | mmap.PROT_WRITE)
    again = os.open(f"/proc/self/fd/{memory.fd}", os.O_RDWR)  # a shorter file would be a SIGBUS for us
    try:
        with pytest.raises(PermissionError):
            os.ftruncate(again, 0)
    finally:
        os.close(again)


def test_memory_that_the_system_does_not_give_is_not_written_to(
    memory: EventMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(os, "posix_fallocate", refuse)
        assert memory.put(b"x" * LEAST) is None
    assert memory.put(b"x" * LEAST) == (0, LEAST)


def test_nothing_has_room_in_what_is_closed_and_no_descriptor_is_left() -> None:
    before = descriptors()
    memory = EventMemory()
    place = memory.put(b"x" * LEAST)
    assert place == (0, LEAST)
    memory.started()
    memory.close()
    memory.close()
    assert memory.put(b"x" * LEAST) is None
    memory.let_go(place)
    assert descriptors() == before


@pytest.mark.parametrize(
    ("what", "error"),
    [("memfd_create", errno.EPERM), ("memfd_create", errno.EMFILE), ("ftruncate", errno.EFBIG), ("open", errno.ENOENT)],
)
def test_nothing_has_room_where_the_system_refuses_such_memory(
    monkeypatch: pytest.MonkeyPatch, what: str, error: int
) -> None:
    def refuse(*_: object) -> int:
        raise OSError(error, os.strerror(error))

    before = descriptors()
    with monkeypatch.context() as patched:
        patched.setattr(os, what, refuse)
        memory = EventMemory()
    assert memory.fd == -1
    assert memory.put(b"x" * LEAST) is None
    assert descriptors() == before
    memory.close()


def event_of(size: int, mark: str) -> bytes:
    return json.dumps({"mark": mark, "filled": "x" * size}).encode()


@pytest.fixture
def function() -> Iterator[Function]:
    one = Function("basic.echo", timeout=30.0)
    yield one
    one.environment.stop()


def memory_of(function: Function) -> EventMemory:
    dialogue = function.environment.process
    assert isinstance(dialogue, PipeDialogue)
    return dialogue.process.memory


@pytest.fixture
def shared(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Of each event that was sent, whether it went through the memory."""
    seen: list[bool] = []
    put = EventMemory.put

    def note(self: EventMemory, content: bytes) -> tuple[int, int] | None:
        place = put(self, content)
        seen.append(place is not None)
        return place

    monkeypatch.setattr(EventMemory, "put", note)
    return seen


@pytest.mark.parametrize("there", [True, False])
def test_events_of_every_size_arrive_whole_with_shared_memory_and_without(
    function: Function, monkeypatch: pytest.MonkeyPatch, shared: list[bool], there: bool
) -> None:
    if not there:
        monkeypatch.delattr(os, "memfd_create")
    for size in (0, LEAST, 137_000, 2_000_000, 6_200_000):
        event = event_of(size, str(size))
        answer = function.environment.invoke(Invocation(str(size), event, "arn"))
        assert answer.function_error is None
        assert json.loads(answer.payload) == json.loads(event)
    assert shared == [False, there, there, there, there]


def test_what_lies_ahead_is_its_own_event_also_behind_one_that_was_taken_back(
    function: Function, shared: list[bool]
) -> None:
    environment = function.environment
    environment.invoke(Invocation("warm", b"{}", "arn"))
    shared.clear()
    sizes = {"a": 3_000_000, "b": 3_000_000, "c": 1_500_000, "d": 3_000_000, "e": 5000}  # d has no room
    events = {name: Invocation(name, event_of(size, name), "arn") for name, size in sizes.items()}
    waiting = [events[name] for name in ("b", "c", "d", "e")]
    back = {}

    def feed() -> None:
        while waiting and environment.has_room():
            back[waiting[0].request_id] = environment.lay(waiting[0])
            waiting.pop(0)

    assert json.loads(environment.invoke(events["a"], feed).payload)["mark"] == "a"
    assert shared == [True, True, True, False], "d goes through the pipe, and waits there for its answer to be read"
    assert back["c"](), "the answer to b is larger than its pipe"
    for name in ("b", "d", "e"):
        answer = environment.invoke(events[name])
        assert json.loads(answer.payload) == json.loads(bytes(events[name].payload))
    assert shared == [True, True, True, False, True]
    assert environment.cold_starts == 1
    assert memory_of(function).put(b"x" * SIZE) == (0, SIZE), "nothing is held any more"


def test_a_handler_that_closes_what_it_can_gets_its_events_all_the_same() -> None:
    function = Function("rude.closes_low_descriptors_and_echoes", timeout=30.0)
    try:
        for mark in ("a", "b"):
            event = event_of(200_000, mark)
            answer = function.environment.invoke(Invocation(mark, event, "arn"))
            assert json.loads(answer.payload) == json.loads(event)
        assert function.environment.cold_starts == 1
    finally:
        function.environment.stop()
