"""Names and arguments of what asynchronous events need on a RabbitMQ broker (B.1). Pure.

With the prefix `poller.<account>.<region>`, so that services of one account share their queues and others do not:

| Name | What it is |
|---|---|
| `….events` | topic exchange: routing key `<milliseconds waited>.<function>` |
| `….events.<function>` | events of a function whose time has come |
| `….delays` | topic exchange: routing key `<milliseconds to wait>.<function>` |
| `….delays.<milliseconds>` | events that wait so long, and then go to `….events` under the key they came with |
| `….records.<function>.<kind>` | records on their way to a function's OnSuccess, OnFailure or DeadLetterQueue |

All are durable quorum queues, which take nothing rather than throw something away.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from poller.async_invoke.rows import Kind

DAY = 86_400_000
"""Milliseconds: longer than any event may live, so nothing waits in a queue that nobody has used for so long."""

CONSUMER_TIMEOUT = DAY
"""Milliseconds that a message may be in work: a record is, while its destination does not answer."""

_KEPT: Mapping[str, Any] = {
    "x-queue-type": "quorum",
    "x-overflow": "reject-publish",  # where a policy of the broker bounds the queue, senders are to hear of it
}
WORK: Mapping[str, Any] = {
    **_KEPT,
    "x-delivery-limit": -1,  # a message that comes back twenty times would be thrown away; each end of a service counts
    "x-consumer-timeout": CONSUMER_TIMEOUT,
}
"""Arguments of a queue that is consumed."""


@dataclass(frozen=True, slots=True)
class Queue:
    """A queue to declare, and where it gets its messages from."""

    name: str
    arguments: Mapping[str, Any] = field(hash=False, compare=False)
    exchange: str = ""
    """Empty: the default exchange, which knows every queue by its name."""
    binding_key: str = ""
    expires: bool = False
    """The broker deletes it when nobody has declared it for a while."""


@dataclass(frozen=True, slots=True)
class Topology:
    """Names under one prefix."""

    account_id: str
    region: str

    @property
    def _prefix(self) -> str:
        return f"poller.{self.account_id}.{self.region}"

    @property
    def events_exchange(self) -> str:
        """Where events go whose time has come."""
        return f"{self._prefix}.events"

    @property
    def delays_exchange(self) -> str:
        """Where events go that wait."""
        return f"{self._prefix}.delays"

    def key(self, function: str, milliseconds: int = 0) -> str:
        """The routing key, in either exchange. Names of functions have no dots."""
        return f"{milliseconds}.{function}"

    def events(self, function: str) -> Queue:
        """The queue of a function's events."""
        return Queue(f"{self._prefix}.events.{function}", WORK, self.events_exchange, f"*.{function}")

    def delay(self, milliseconds: int) -> Queue:
        """The queue of events that wait so long.

        They are moved on with confirms: none is lost when the queue that it goes to cannot take it at the moment.
        """
        arguments = {
            **_KEPT,
            "x-message-ttl": milliseconds,
            "x-dead-letter-exchange": self.events_exchange,
            "x-dead-letter-strategy": "at-least-once",
            "x-expires": min(milliseconds + DAY, 2**31 - 1),
        }
        name = f"{self._prefix}.delays.{milliseconds}"
        return Queue(name, arguments, self.delays_exchange, f"{milliseconds}.*", expires=True)

    def records(self, function: str, kind: Kind) -> Queue:
        """The queue of records for a function's destination of that kind."""
        return Queue(f"{self._prefix}.records.{function}.{kind}", WORK)
