"""The buffer between an environment and a client that takes a stream: order, bounds, and how it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from poller.api.streamed_response import MOST_HELD, StreamedResponse, StreamFailed
from poller.model import InvocationResult

GOOD = InvocationResult("r", streamed=True)
WRONG = InvocationResult("r", b"{}", function_error="Unhandled")
STOPPED = InvocationResult("r", b"{}", status=500)


class Rig:
    def __init__(self) -> None:
        self.answered: asyncio.Future[InvocationResult] = asyncio.get_running_loop().create_future()
        self.response = StreamedResponse(self.answered)
        self.wakes = 0
        self.response.attach("3", self._wake)

    def _wake(self) -> None:
        self.wakes += 1


def run(body: Callable[[Rig], Awaitable[Any]]) -> Any:
    async def inside() -> Any:
        return await body(Rig())

    return asyncio.run(inside())


def test_pieces_come_in_order_and_the_end_after_the_last() -> None:
    async def body(rig: Rig) -> list[bytes]:
        began = asyncio.ensure_future(rig.response.begun())
        rig.response.begin("text/plain")
        assert await began
        assert (rig.response.content_type, rig.response.version) == ("text/plain", "3")
        pieces = rig.response.pieces()
        waiting = asyncio.ensure_future(anext(pieces))
        await asyncio.sleep(0)
        assert not waiting.done()
        await asyncio.to_thread(rig.response.take, b"one")
        came = [await waiting]
        rig.response.take(b"two")
        rig.response.take(b"three")
        rig.answered.set_result(GOOD)
        came += [piece async for piece in pieces]
        return came

    assert run(body) == [b"one", b"twothree"]


def test_a_response_without_a_stream_never_begins() -> None:
    async def body(rig: Rig) -> None:
        began = asyncio.ensure_future(rig.response.begun())
        await asyncio.sleep(0)
        rig.answered.set_result(GOOD)
        assert not await began
        assert await rig.response.result() is GOOD

    run(body)


@pytest.mark.parametrize("result", [WRONG, STOPPED])
def test_what_came_before_a_failure_comes_before_it(result: InvocationResult) -> None:
    async def body(rig: Rig) -> None:
        rig.response.begin("")
        rig.response.take(b"begun")
        rig.answered.set_result(result)
        pieces = rig.response.pieces()
        assert await anext(pieces) == b"begun"
        with pytest.raises(StreamFailed) as failed:
            await anext(pieces)
        assert failed.value.result is result

    run(body)


def test_where_there_is_no_room_the_environment_is_woken_when_there_is_some() -> None:
    async def body(rig: Rig) -> None:
        response = rig.response
        response.begin("")
        pieces = response.pieces()
        response.take(b"x" * (MOST_HELD - 1))
        assert not response.full
        await anext(pieces)
        assert rig.wakes == 0
        response.take(b"x" * MOST_HELD)
        assert response.full
        assert len(await anext(pieces)) == MOST_HELD
        assert (response.full, rig.wakes) == (False, 1)

    run(body)


def test_who_leaves_lets_the_environment_go_on_and_holds_nothing() -> None:
    async def body(rig: Rig) -> None:
        response = rig.response
        response.begin("")
        response.take(b"x" * MOST_HELD)
        response.leave()
        assert (response.full, rig.wakes) == (False, 1)
        response.take(b"x" * MOST_HELD)
        assert not response.full

    run(body)


def test_pieces_for_a_loop_that_has_ended_harm_nobody() -> None:
    async def body(rig: Rig) -> StreamedResponse:
        return rig.response

    response = run(body)
    response.begin("")
    response.take(b"x")
