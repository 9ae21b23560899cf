"""Publishing what has to reach a queue: what went to none is published again, while the connection is the same (B.1)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pika

from poller.async_invoke.amqp_link import NO_QUEUE
from poller.async_invoke.amqp_publishing import ROUTED_WITHIN, Outgoing, Publisher
from poller.async_invoke.amqp_topology import Topology

QUEUE = Topology("123456789012", "us-east-1").events("Orders")
OUTGOING = Outgoing((QUEUE,), "events", "Orders", (pika.BasicProperties(), b"{}"))


class Link:
    """Says of each message what it is told to say, and keeps what is to be done later."""

    trouble = ""

    def __init__(self, *refusals: str) -> None:
        self.refusals = list(refusals)
        self.published = 0
        self.pauses: list[float] = []
        self.due: list[Callable[[], None]] = []

    def publish(self, _exchange: str, _key: str, _message: Any, on_result: Callable[[str], None]) -> None:
        self.published += 1
        on_result(self.refusals.pop(0))

    def later(self, seconds: float, action: Callable[[], None]) -> None:
        self.pauses.append(seconds)
        self.due.append(action)

    def go_on(self) -> None:
        while self.due:
            self.due.pop(0)()


class Declarations:
    """Has every queue, and counts how often it was seen to."""

    def __init__(self) -> None:
        self.forgotten: list[str] = []

    def ensure(self, _queue: Any, on_result: Callable[[str], None]) -> None:
        on_result("")

    def forget(self, name: str) -> None:
        self.forgotten.append(name)

    def fail(self, _text: str) -> None:
        pass


def publisher(link: Any, declarations: Any) -> Publisher:
    made = Publisher(link)
    made.use(declarations)
    return made


def test_what_went_to_no_queue_is_published_again_when_its_queue_was_declared_anew() -> None:
    link, declarations, told = Link(NO_QUEUE, NO_QUEUE, ""), Declarations(), []
    publisher(link, declarations).send(OUTGOING, told.append)
    link.go_on()
    assert (told, link.published, link.pauses) == ([""], 3, list(ROUTED_WITHIN[:2]))
    assert declarations.forgotten == [QUEUE.name] * 2


def test_after_the_last_pause_the_refusal_is_told() -> None:
    link, told = Link(*[NO_QUEUE] * 4), []
    publisher(link, Declarations()).send(OUTGOING, told.append)
    link.go_on()
    assert (told, link.pauses) == ([NO_QUEUE], list(ROUTED_WITHIN))


def test_any_other_refusal_is_told_at_once() -> None:
    link, told = Link("refused: a full queue"), []
    publisher(link, Declarations()).send(OUTGOING, told.append)
    assert (told, link.due) == (["refused: a full queue"], [])


def test_over_a_new_connection_it_is_not_published_a_second_time() -> None:
    link, told = Link(NO_QUEUE, ""), []
    made = publisher(link, Declarations())
    made.send(OUTGOING, told.append)
    other: Any = Declarations()
    made.use(other)
    link.go_on()
    assert (told, link.published) == (["the connection ended"], 1)
