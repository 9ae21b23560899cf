"""The sockets of one environment's Runtime API: an address of its own, connections, bytes in and out. Never blocks.

Used on the environment's thread, whose poll it adds itself to.
"""

from __future__ import annotations

import errno
import logging
import select
import socket
from collections import deque
from collections.abc import Callable
from time import monotonic

from poller.model import MAXIMUM_RESPONSE, ResponseStream
from poller.runtime.frames import Frame
from poller.runtime.http_wire import BadRequest, Reply, Request, RequestReader, head_of
from poller.runtime.runtime_api import MAXIMUM_STREAM, Answer

_CHUNK = 256 * 1024
_KEEP = MAXIMUM_RESPONSE + 1
"""Bytes of a body: one more than is allowed (A.2)."""
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_FULL = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
"""The connection stays where it is, and its listener readable: a poll would spin on it."""
_PAUSE = 0.1
"""Seconds until it is tried again."""

_log = logging.getLogger(__name__)


class _Connection:
    """One client's connection."""

    def __init__(self, connected: socket.socket, stream_of: Callable[[Request], ResponseStream | None]) -> None:
        self.socket = connected
        self.reader = RequestReader(_KEEP, MAXIMUM_STREAM, stream_of)
        self.unsent: deque[memoryview] = deque()
        self.waiting: Request | None = None
        """A call that waits for something; nothing else can be answered before."""
        self.closing = False

    def send(self, reply: Reply, *, keep_alive: bool) -> None:
        self.unsent.append(memoryview(head_of(reply, keep_alive=keep_alive)))
        if reply.body:
            self.unsent.append(memoryview(reply.body))
        self.closing = self.closing or not keep_alive

    def flush(self) -> bool:
        """Send what goes out at once; true when all is out. Raises OSError."""
        while self.unsent:
            try:
                sent = self.socket.sendmsg(list(self.unsent)[:8])
            except BlockingIOError:
                return False
            while sent:
                piece = self.unsent[0]
                if sent < len(piece):
                    self.unsent[0] = piece[sent:]
                    break
                sent -= len(piece)
                self.unsent.popleft()
        return True


class ApiServer:
    """Listens on an address of its own.

    Args:
        poll: that of the environment's thread.
        handle: answers a request.
        gave_up: says what a request means whose client hung up in the middle.
        stream_of: says where the body of a response in streaming mode goes while it comes; None is with its request.
    """

    def __init__(
        self,
        poll: select.poll,
        handle: Callable[[Request], Answer],
        gave_up: Callable[[Request], Frame | None],
        stream_of: Callable[[Request], ResponseStream | None],
    ) -> None:
        self._poll = poll
        self._handle = handle
        self._gave_up = gave_up
        self._stream_of = stream_of
        self._connections: dict[int, _Connection] = {}
        self._paused: list[_Connection] = []
        """Not read, and not in the poll, until their streams have room."""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(0)
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._resting = False
        self._watched = True
        """Whether the listener is in the poll."""
        self._again: float | None = None
        """Monotonic time to try again for a connection that there was no descriptor for."""
        poll.register(self._listener, select.POLLIN)

    def rest(self) -> None:
        """Nobody is expected: a wait is not to end for a new connection, which `look` finds."""
        self._resting = True
        self._watch(wanted=False)

    def look(self) -> None:
        """Take a new connection after `rest`, or a deferred one, if there is one. Costs a system call."""
        if self._resting or self._again is not None:
            self._accept()

    @property
    def deferred(self) -> bool:
        """Whether a connection waits for a descriptor: somebody has to `look` or `resume` ten times a second."""
        return self._again is not None

    def owns(self, fd: int) -> bool:
        """Whether a ready descriptor is for `serve`."""
        return fd in self._connections or fd == self._listener.fileno()

    def serve(self, fd: int) -> list[Frame]:
        """Do what a ready descriptor is ready for; what that means for the environment."""
        if fd == self._listener.fileno():
            self._accept()
            return []
        connection = self._connections[fd]
        try:
            self._flush(connection)
            data = connection.socket.recv(_CHUNK)
        except BlockingIOError:
            return []
        except OSError:
            data = b""
        return self._received(connection, data) if data else self._hung_up(connection)

    def answer_waiting(self, matches: Callable[[Request], bool], reply: Reply) -> bool:
        """Answer the call that has waited longest of those that match; whether there was one."""
        for connection in list(self._connections.values()):
            if connection.waiting is not None and matches(connection.waiting):
                self._answer(connection, connection.waiting, reply)
                return True
        return False

    def waits(self, path: str) -> bool:
        """Whether a call of this path waits."""
        return any(one.waiting is not None and one.waiting.path == path for one in self._connections.values())

    def resume(self) -> None:
        """Read on where a stream was full and has room now; take a deferred connection."""
        if self._again is not None:
            self._accept()
        for connection in self._paused[:]:
            stream = connection.reader.stream
            if stream is None or not stream.full:
                self._paused.remove(connection)
                self._poll.register(connection.socket, select.POLLIN)

    @property
    def unsent(self) -> bool:
        """Whether an answer is still on its way out."""
        return any(connection.unsent for connection in self._connections.values())

    def close(self) -> None:
        """Let the address and all connections go. Idempotent."""
        for connection in list(self._connections.values()):
            self._drop(connection)
        if self._listener.fileno() >= 0:
            self._watch(wanted=False)
            self._listener.close()

    def _watch(self, *, wanted: bool) -> None:
        if wanted != self._watched:
            self._watched = wanted
            if wanted:
                self._poll.register(self._listener, select.POLLIN)
            else:
                self._poll.unregister(self._listener)

    def _accept(self) -> None:
        if self._again is not None and monotonic() < self._again:
            return
        try:
            connected, _ = self._listener.accept()
        except OSError as error:
            if error.errno in _FULL:
                if self._again is None:
                    _log.warning("a connection of a runtime or an extension waits: %s", error)
                self._again = monotonic() + _PAUSE
                self._watch(wanted=False)
                return
            connected = None  # gone again
        self._again = None
        self._watch(wanted=not self._resting)
        if connected is None:
            return
        connected.settimeout(0)
        # By its number: a socket from `accept` knows no protocol, and what looks at that sets nothing.
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._connections[connected.fileno()] = _Connection(connected, self._streams)
        self._poll.register(connected, select.POLLIN)

    def _received(self, connection: _Connection, data: bytes) -> list[Frame]:
        outcomes: list[Frame] = []
        try:
            requests = connection.reader.feed(data)
        except BadRequest as error:
            connection.send(Reply(400, (("Content-Type", "text/plain"),), f"{error}\n".encode()), keep_alive=False)
            unfinished = connection.reader.unfinished
            self._flush(connection)
            if unfinished is not None and unfinished.streamed and (outcome := self._gave_up(unfinished)) is not None:
                outcomes.append(outcome)  # what went on to the caller cannot be said anew
            return outcomes
        for request in requests:
            if connection.waiting is not None or connection.closing:
                self._drop(connection)  # it does not wait for its answers
                return outcomes
            answer = self._answered(request)
            if answer.outcome is not None:
                outcomes.append(answer.outcome)
            if answer.reply is None:
                connection.waiting = request
            else:
                self._answer(connection, request, answer.reply)
        if connection.reader.expects_continue():
            connection.unsent.append(memoryview(_CONTINUE))
            self._flush(connection)
        stream = connection.reader.stream
        if stream is not None and stream.full and connection.socket.fileno() >= 0:
            self._paused.append(connection)
            self._poll.unregister(connection.socket)  # not left in with no event: a reset would end every wait
        return outcomes

    def _streams(self, request: Request) -> ResponseStream | None:
        return self._stream_of(request) if self._is_for_us(request) else None

    def _is_for_us(self, request: Request) -> bool:
        """A web page that made a name for this address (DNS rebinding) is no runtime."""
        host = request.headers.get("host", self.address)
        return host.rpartition(":")[0] in {"127.0.0.1", "localhost"}

    def _answered(self, request: Request) -> Answer:
        if not self._is_for_us(request):
            return Answer(Reply(403, (("Content-Type", "text/plain"),), b"not for this host\n"))
        return self._handle(request)

    def _answer(self, connection: _Connection, request: Request, reply: Reply) -> None:
        connection.waiting = None
        connection.send(reply, keep_alive=request.keep_alive)
        self._flush(connection)

    def _flush(self, connection: _Connection) -> None:
        try:
            done = connection.flush()
        except OSError:
            self._drop(connection)
            return
        if done and connection.closing:
            self._drop(connection)
        elif connection not in self._paused:
            self._poll.modify(connection.socket, select.POLLIN if done else select.POLLIN | select.POLLOUT)

    def _hung_up(self, connection: _Connection) -> list[Frame]:
        unfinished = connection.reader.unfinished
        self._drop(connection)
        outcome = None if unfinished is None else self._gave_up(unfinished)
        return [] if outcome is None else [outcome]

    def _drop(self, connection: _Connection) -> None:
        if self._connections.pop(connection.socket.fileno(), None) is not None:
            if connection in self._paused:
                self._paused.remove(connection)
            else:
                self._poll.unregister(connection.socket)
            connection.socket.close()
