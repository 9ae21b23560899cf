"""The short way of an ordinary synchronous Invoke: no task, no messages, and the answer in one write.

Uvicorn's ASGI and its coroutines take longer than all that a call needs here. `HttpProtocol` asks for this way when a
request's head is there. What is not ordinary (a large body, another type, a function URL's name) goes by `Endpoint`;
both ways lead through the same door and `Invocations`, and answer the same.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from typing import NamedTuple
from urllib.parse import unquote

from poller.api.answers import internal
from poller.api.call import Answer, Head, Headers, Memory, path_of, refused, too_slow
from poller.api.invocations import Invocations
from poller.api_errors import ApiError
from poller.request_ids import new_request_id

LARGEST = 64 * 1024
"""Bytes of a body: so much of every connection is held without being counted anyway."""

_INVOKE = re.compile(rb"(/2015-03-31/functions/([^/?#]+)/invocations/?)(?:\?([^#]*))?")
_LONG_WAY = (b"expect", b"transfer-encoding", b"upgrade")
_FUNCTION_URL = b".lambda-url"
_DIGITS = len(str(LARGEST))

_log = logging.getLogger(__name__)


class DirectInvoke:
    """For the loop's thread only.

    Args:
        look: whether a call may come in, as `Door.look_at_page`.
        invocations: invoke.
        memory: for all bodies.
    """

    def __init__(self, look: Callable[[Head], None], invocations: Invocations, memory: Memory) -> None:
        self.look = look
        self.invocations = invocations
        self.memory = memory

    def begin(self, method: bytes, url: bytes, headers: Headers) -> DirectCall | None:
        """A call by its head; None when it is to go the long way. The names of headers are in lower case."""
        found = _INVOKE.fullmatch(url) if method == b"POST" else None
        if found is None:
            return None
        path, name, query = found.groups(b"")
        head = Head({"headers": headers, "raw_path": path, "query_string": query}, new_request_id())
        given = head.headers
        if len(given) != len(headers):  # of one that comes twice not everybody takes the same value
            return None
        length = given.get(b"content-length", b"0")
        if not length.isdigit() or len(length) > _DIGITS or int(length) > LARGEST:
            return None
        if given.get(b"x-amz-invocation-type", b"RequestResponse") != b"RequestResponse":
            return None
        if any(name in given for name in _LONG_WAY) or _FUNCTION_URL in given.get(b"host", b"").lower():
            return None
        return DirectCall(self, head, name.decode("latin-1"))


class DirectCall(NamedTuple):
    """One call. `answer` gets what it comes to, once, on the loop's thread, and raises nothing."""

    way: DirectInvoke
    head: Head
    name: str

    @property
    def request_id(self) -> str:
        """For every answer."""
        return self.head.request_id

    def invoke(self, body: bytes, answer: Callable[[Answer], None]) -> None:
        """The body is there. Waits for nothing."""
        way, head, size = self.way, self.head, len(body)

        def finished(found: Answer) -> None:
            way.memory.give_back(size)
            answer(found)

        try:
            way.memory.take(size)
        except ApiError as error:
            answer(self._refused(error))
            return
        try:
            way.look(head)
            asked = way.invocations.asked(head, unquote(self.name))
            way.invocations.invoke_soon(head, asked, body, finished)
        except ApiError as error:
            finished(self._refused(error))
        except Exception:  # noqa: BLE001 - logged, and answered
            _log.exception("POST %r", path_of(head.scope))
            finished(refused(internal()))

    def too_slow(self, answer: Callable[[Answer], None]) -> None:
        """The body did not come in time."""
        answer(self._refused(too_slow()))

    def _refused(self, error: ApiError) -> Answer:
        # Quoted: what a caller has sent shall not look like lines of this log.
        _log.info("refused: POST %r: %r", path_of(self.head.scope), str(error))
        return refused(error)
