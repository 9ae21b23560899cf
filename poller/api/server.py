"""Uvicorn on a thread of its own, with a port that is bound before anything starts."""

from __future__ import annotations

import asyncio
import errno
import socket
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any

import uvicorn

from poller.api.call import App
from poller.api.http_protocol import HttpProtocol, most_connections
from poller.errors import PollerError
from poller.settings import option, variable

BACKLOG = 1024
"""Connections that may wait to be accepted: clients that all come at once are not turned away."""

TICK = 1.0
"""Seconds between two looks at the clock, for the header `date`."""

OPTIONS: Mapping[str, Any] = {
    "log_config": None,
    "access_log": False,
    "lifespan": "off",
    "ws": "none",
    "loop": "asyncio",
    "server_header": False,
    "proxy_headers": False,
    "timeout_keep_alive": 60,
    "timeout_graceful_shutdown": 1,
}
"""Of uvicorn. HTTP is read by httptools, which takes a third of the time of h11. uvloop was measured, too: 14 MB for
nothing, as most of a request's time is not the loop's."""


class PortInUse(PollerError):  # noqa: N818 - reads as what it says
    """The HTTP port is taken, or may not be bound."""


def bind(address: str, port: int, setting: str = "Port") -> socket.socket:
    """A listening socket.

    Args:
        address: such as `127.0.0.1`.
        port: 0 takes a free one.
        setting: that has the port.

    Raises:
        PortInUse: with what to do about it.
    """
    listener = socket.socket(
        socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP
    )
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((address, port))
        listener.listen(BACKLOG)
    except (OSError, OverflowError) as problem:
        listener.close()
        if isinstance(problem, OSError) and problem.errno == errno.EADDRINUSE:
            reason = "is in use by another program"
        else:
            reason = f"cannot be bound ({problem})"
        raise PortInUse(
            f"port {port} on {address} {reason}: take another with {option(setting)} or {variable(setting)} "
            "(0 takes a free one)"
        ) from None
    return listener


class _Server(uvicorn.Server):
    """Uvicorn that is told to end: by itself it looks ten times a second whether it shall."""

    _tell: Callable[[], object] | None = None
    """Ends the wait for the next tick, from any thread."""

    async def main_loop(self) -> None:
        """Until `end`. Called by uvicorn."""
        ending = asyncio.Event()
        self._tell = partial(asyncio.get_running_loop().call_soon_threadsafe, ending.set)
        while not await self.on_tick(0):  # of tenths of a second; it looks at the clock at whole ones
            with suppress(TimeoutError):
                await asyncio.wait_for(ending.wait(), TICK)

    def end(self) -> None:
        """Close the port and answer what is being answered. Any thread, idempotent, does not wait."""
        self.should_exit = True  # first: a loop that begins now sees it
        if self._tell is not None:
            with suppress(RuntimeError):  # the loop has ended
                self._tell()


class HttpServer:
    """A thread that owns uvicorn's loop. `start` and `stop` may be called in any order and more than once."""

    def __init__(
        self,
        app: App,
        listener: socket.socket,
        name: str = "api",
        protocol: type[HttpProtocol] = HttpProtocol,
        *,
        most: int | None = None,
    ) -> None:
        """Serve nothing yet.

        Args:
            app: what answers; one with a `DirectInvoke` as its `direct` also by that.
            listener: of `bind`.
            name: of the thread.
            protocol: reads HTTP.
            most: connections at the same time; by default as many as the system's limit of descriptors suggests.
        """
        self._listener = listener
        self._name = name
        limited: Any = partial(
            protocol,
            most=most_connections() if most is None else most,
            direct=getattr(app, "direct", None),
        )
        config = uvicorn.Config(app, http=limited, **OPTIONS)
        self._server = _Server(config)
        self._thread: threading.Thread | None = None

    @property
    def address(self) -> str:
        """`host:port` as bound."""
        host, port = self._listener.getsockname()[:2]
        return f"{host}:{port}"

    def start(self) -> None:
        """Serve from now on, unless `stop` was called; returns at once."""
        if self._thread is None and not self._server.should_exit:
            self._thread = threading.Thread(
                target=self._server.run, kwargs={"sockets": [self._listener]}, name=self._name, daemon=True
            )
            self._thread.start()

    def stop(self) -> None:
        """Answer what is being answered, then close the port. Blocks at most about a second."""
        self._server.end()
        if self._thread is not None:
            self._thread.join(timeout=3)
        self._listener.close()
