"""Answers in pieces: the head before them, and what becomes of them on the way to the client."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poller.api import call as calls
from poller.api.call import Call, Memory
from poller.fronts.exchange import send_in_pieces
from poller.fronts.replies import NoResponse, Reply
from poller.fronts.streaming import DELIMITER, LONGEST_HEAD, Prelude, has_prelude

HEAD = b'{"statusCode":201,"headers":{"X-A":"1"},"cookies":["a=1"]}'
SENT = (("x-a", "1"), ("content-type", "application/octet-stream"), ("set-cookie", "a=1"))


@given(st.binary(max_size=60), st.lists(st.integers(0, 130), max_size=6))
def test_a_head_is_read_however_it_is_cut(body: bytes, cuts: list[int]) -> None:
    whole = HEAD + DELIMITER + body
    places = [0, *sorted(cuts), len(whole)]
    prelude, reply, rest = Prelude(), None, b""
    for start, end in itertools.pairwise(places):
        if reply is None:
            reply = prelude.feed(whole[start:end])
        else:
            rest += whole[start:end]
    assert reply is not None
    assert (reply.status, reply.headers, reply.body + rest) == (201, SENT, body)


def test_a_head_alone_is_a_response_without_a_body_and_status_200_when_it_says_none() -> None:
    prelude = Prelude()
    assert prelude.feed(b"{}") is None
    assert prelude.end() == Reply(200, (("content-type", "application/octet-stream"),))


@pytest.mark.parametrize(
    ("stream", "reason"),
    [(b"text" + DELIMITER, "not JSON"), (b"[]" + DELIMITER, "no object"), (DELIMITER, "not JSON"),
     (b" " * (LONGEST_HEAD + 1), "longer than"), (b'{"statusCode":99}' + DELIMITER, "no number from 100"),
     (b'{"headers":{"a":"\\n"}}' + DELIMITER, "line's end")],
)  # fmt: skip
def test_a_head_that_is_none_is_refused(stream: bytes, reason: str) -> None:
    with pytest.raises(NoResponse, match=reason):
        Prelude().feed(stream)


@pytest.mark.parametrize(
    ("payload", "found"),
    [(HEAD + DELIMITER, True), (b" " + HEAD + DELIMITER + b"x", True), (HEAD, False), (DELIMITER, False), (b'"\\u0000"', False)],
)  # fmt: skip
def test_a_whole_result_with_a_head_is_known_by_its_nul_bytes(payload: bytes, found: bool) -> None:
    assert has_prelude(payload) is found


async def pieces_of(pieces: Sequence[bytes], log: list[str]) -> AsyncIterator[bytes]:
    for piece in pieces:
        log.append(f"made {piece[-6:]!r}")
        yield piece


def sent(pieces: Sequence[bytes], head: Reply | None = None) -> tuple[list[str], list[dict[str, Any]]]:
    """What is sent to the client, and in what order pieces are made and taken."""
    log: list[str] = []
    messages: list[dict[str, Any]] = []

    async def send(message: Any) -> None:
        messages.append(dict(message))
        log.append(f"took {message.get('body', b'')[-6:]!r}")

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def run() -> None:
        call = Call({"headers": []}, receive, send, "the-id", Memory())
        await send_in_pieces(call, pieces_of(pieces, log), lambda reply: reply, head=head)

    asyncio.run(run())
    return log, messages


def test_every_piece_goes_on_before_the_next_one_is_waited_for() -> None:
    log, messages = sent([HEAD[:9], HEAD[9:] + DELIMITER + b"one", b"two", b""])
    assert messages[0]["status"] == 201
    assert (b"content-length", b"3") not in messages[0]["headers"]
    assert b"".join(message.get("body", b"") for message in messages) == b"onetwo"
    assert log.index("took b'two'") < log.index("made b''")
    assert messages[-1] == {"type": "http.response.body", "body": b""}


def test_a_head_that_comes_beside_the_pieces_needs_none_in_them() -> None:
    _, messages = sent([b"body"], head=Reply(404, (("x-a", "1"),)))
    assert (messages[0]["status"], messages[1]["body"]) == (404, b"body")


def test_a_status_without_a_body_has_no_pieces() -> None:
    _, messages = sent([b'{"statusCode":204}' + DELIMITER + b"x"])
    assert [message.get("body") for message in messages] == [None, b""]


def test_a_wrong_head_is_refused_before_anything_is_sent() -> None:
    with pytest.raises(NoResponse):
        sent([b"no head" + DELIMITER])


def test_a_client_that_takes_nothing_ends_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "TAKEN_WITHIN", 0.01)

    async def send(message: Any) -> None:
        if message["type"] == "http.response.body":
            await asyncio.Event().wait()

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def run() -> None:
        call = Call({"headers": []}, receive, send, "the-id", Memory())
        await send_in_pieces(call, pieces_of([b"x"], []), lambda reply: reply, head=Reply(200))

    with pytest.raises(ConnectionError):
        asyncio.run(run())
