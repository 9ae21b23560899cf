"""kafka-python's event loop on the thread that owns the consumer, instead of on one of its own.

The client runs its coroutines (connections, heartbeats, metadata) on a thread that it starts, and every call of a
consumer goes there and back several times: with hundreds of consumers in a process, and twice as many threads that want
the interpreter's lock, they spend their time on taking turns. The client can also drive its loop from within the call
that waits, and does so where that thread was never started. A source polls at least once a second whatever happens, so
heartbeats are sent from there.
"""

# mypy: allow-untyped-calls
# kafka-python has no annotations.
# ruff: noqa: SLF001 - there is no public way to do any of this

from __future__ import annotations

import selectors
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from kafka import KafkaConsumer
from kafka import errors as kafka_errors
from kafka.net.selector import NetworkSelector
from kafka.net.transport import KafkaTCPTransport

from poller.sources.kafka_python_fetching import Fetches, has_resumed, unpark

_LOOK_INTERVAL = 0.001
"""Seconds between two looks at the sockets while there is other work to do."""

_READ_SIZE = 64 * 1024
"""Bytes of one read. The client's own 4 KiB give up the interpreter's lock 256 times for a megabyte."""

_IDLE_TURN = 100.0
"""Milliseconds that the loop is driven at once when nothing is fetched, as the client would sleep."""


class Selector(selectors.DefaultSelector):
    """For the client's option `selector`: looks at the sockets when it may wait, and now and then when it may not.

    The client makes several turns of its loop for every call, and looks in each; a look gives up the interpreter's
    lock, which all other threads of the process are after.
    """

    _next_look = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """What is ready; nothing when it was looked at a moment ago and there is no time to wait."""
        if timeout is not None and timeout <= 0 and time.monotonic() < self._next_look:
            return []
        ready = super().select(timeout)
        self._next_look = time.monotonic() + _LOOK_INTERVAL
        return ready


def drive_on_owners_thread(client: Any) -> None:
    """Keep a client from starting its thread; its owner's calls drive the loop from here on, and nobody else may.

    Args:
        client: a KafkaNetClient that was just made.
    """
    net, manager = client._net, client._manager
    _replace(net, start=_nothing, wakeup=_nothing, close=_with_all_sockets(net))  # there is no other thread to wake
    build_transport = manager._build_transport

    async def _build_transport(*args: Any, **others: Any) -> Any:
        transport = await build_transport(*args, **others)
        if type(transport) is KafkaTCPTransport:  # TLS has its own ways to read and write
            _replace(transport, _sock_recv=_in_large_pieces(transport), write=_at_once(transport))
        return transport

    _replace(manager, _build_transport=_build_transport)


class Woken(Exception):  # noqa: N818 - it is none, but has to get out of the client's poll
    """A poll that waited was ended by `Turns.wake`. Nothing was taken."""


class Turns:
    """Lets polls of a consumer drive the loop when there is something to wait for, and a little while records flow.

    Owned by the thread that polls, save `wake`.
    """

    def __init__(self, consumer: KafkaConsumer, fetches: Fetches) -> None:
        """Take the consumer's waiting over; it was just made, and its client drives its loop on this thread."""
        self._coordinator, self._fetcher, self._net = consumer._coordinator, consumer._fetcher, consumer._net
        self._fetches = fetches
        self._ensure_ready = self._coordinator.ensure_coordinator_ready
        self._woken = False
        # Heartbeats are sent while the poll waits, so none is to end it.
        _replace(self._coordinator, ensure_coordinator_ready=self._ensure_coordinator_ready, time_to_next_poll=_never)
        _replace(self._fetcher, send_fetches=self._send_fetches, fetch_records=self._fetch_records)

    def wake(self) -> None:
        """Make a poll that waits for records raise `Woken`, or the next one. Any thread; joining a group goes on."""
        if not self._woken:
            self._woken = True
            NetworkSelector.wakeup(self._net)

    def rest(self, seconds: float) -> None:
        """Wait while there is nothing to fetch: for `wake`, the group's rebalance, or until the time is over.

        Heartbeats are sent and answered meanwhile.
        """
        self._wait(seconds * 1000, until=_no_reason)
        self._woken = False

    def _ensure_coordinator_ready(self, timeout_ms: float | None = None) -> bool:
        return not self._coordinator.coordinator_unknown() or bool(self._ensure_ready(timeout_ms))

    def _send_fetches(self) -> Any:
        sending = self._fetcher._send_fetches_async()  # it is a coroutine, but waits for nothing
        try:
            sending.send(None)
        except StopIteration as sent:
            return sent.value
        raise RuntimeError(
            "this kafka-python waits while it sends fetches; poller/sources/kafka_python_loop.py does not"
        )

    def _fetch_records(
        self, max_records: int | None = None, *, update_offsets: bool = True, timeout_ms: float = 0
    ) -> tuple[dict[Any, Any], bool]:
        """In the place of the client's: the records, and that it need not sleep."""
        fetcher = self._fetcher
        records, some_are_left = self._fetched(max_records, update_offsets=update_offsets)
        if not some_are_left and self._fetches.may_be_sent():
            self._send_fetches()
        if records:
            self._net.poll(timeout_ms=0)
            self._net.drain()
            return records, False
        under_way = [*fetcher._fetch_futures, *([] if fetcher._reset_task is None else [fetcher._reset_task])]
        waited_for = [future for future in under_way if not future.is_done]
        self._wait(
            timeout_ms if waited_for else min(timeout_ms, _IDLE_TURN, self._fetches.until_next() * 1000),
            until=lambda: any(future.is_done for future in waited_for),
        )
        if self._woken and not fetcher._completed_fetches:
            self._woken = False
            raise Woken
        records, _ = self._fetched(max_records, update_offsets=update_offsets)
        return records, False

    def _fetched(self, most: int | None, *, update_offsets: bool) -> tuple[dict[Any, Any], bool]:
        unpark(self._fetcher)
        records, some_are_left = self._fetcher.fetched_records(most, update_offsets=update_offsets)
        if not records and has_resumed(self._fetcher):
            # It was resumed, but found parked only after another partition, which is paused now, had been.
            unpark(self._fetcher)
            records, some_are_left = self._fetcher.fetched_records(most, update_offsets=update_offsets)
        return records, some_are_left

    def _wait(self, milliseconds: float, until: Callable[[], bool]) -> None:
        """Drive the loop, one turn at least."""
        deadline = time.monotonic() + milliseconds / 1000
        left = 0.0 if self._woken or until() else milliseconds
        while True:
            self._net.poll(timeout_ms=left)
            left = (deadline - time.monotonic()) * 1000
            if left <= 0 or self._woken or until() or is_told_to_join(self._coordinator):
                break
        self._net.drain()


def wait_for(client: Any, future: Any, timeout: float) -> bool:
    """Drive the loop until a future is done, well or not, or `timeout` seconds are over: whether it is."""
    with suppress(kafka_errors.KafkaError):
        client._net.run(client._manager.wait_for, future, timeout * 1000)
    return bool(future.is_done)


def _replace(of: Any, **methods: Callable[..., Any]) -> None:
    for name, method in methods.items():
        setattr(of, name, method)


def is_told_to_join(coordinator: Any) -> bool:
    """Whether the group rebalances, and has not heard from this member yet."""
    return coordinator._join_task is None and bool(coordinator.need_rejoin())


def _nothing() -> None:
    pass


def _never() -> float:
    return float("inf")


def _no_reason() -> bool:
    return False


def _with_all_sockets(net: Any) -> Callable[[], None]:
    """Close a loop, and the sockets that it forgets: 3.0.12 does so while they connect, or have something to send."""
    close = net.close

    def close_all() -> None:
        sockets = [key.fileobj for key in (net._selector.get_map() or {}).values()]
        close()
        for one in sockets:
            one.close()

    return close_all


def _in_large_pieces(transport: Any) -> Callable[[], tuple[bytes, Exception | None]]:
    receive = transport._sock_recv

    def _sock_recv() -> tuple[bytes, Exception | None]:
        pieces: list[bytes] = []
        while True:
            try:
                piece = transport._sock.recv(_READ_SIZE)
            except (BlockingIOError, InterruptedError):
                break
            except OSError:
                piece = b""
            if not piece:
                # The connection is at its end. That shows again, unless there is something to be handled first.
                return (b"".join(pieces), None) if pieces else receive()
            pieces.append(piece)
            if len(piece) < _READ_SIZE:
                break
        return (pieces[0] if len(pieces) == 1 else b"".join(pieces)), None

    return _sock_recv


def _at_once(transport: Any) -> Callable[[bytes], None]:
    """Write what the socket takes right away; the client would wait for two turns of the loop first."""
    queue = transport.write

    def write(data: bytes) -> None:
        if transport._writing or transport._closed or not transport._write or not data:
            queue(data)
            return
        try:
            sent = transport._sock.send(data)
        except OSError:  # full, or broken: the client's own task meets that again, and tells
            sent = 0
        else:
            transport.last_write = time.monotonic()
        if sent < len(data):
            queue(memoryview(data)[sent:])

    return write
