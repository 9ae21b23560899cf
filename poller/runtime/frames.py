"""Length-prefixed frames between the poller and a handler's process. Both ends use this file.

    4 bytes  length of the header, big-endian
    4 bytes  length of the payload, big-endian
    header   JSON object in UTF-8: what kind of message this is
    payload  bytes as they are: an event or a handler's reply

The same classes work on blocking descriptors (the handler's end) and non-blocking ones (the poller's): a step makes
one system call and lets `BlockingIOError` through. Lengths are checked before memory is taken. A payload is neither
copied nor joined on its way out, and is copied at most once on its way in.

The handler's interpreter loads this file by its path, so it imports the standard library only.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Mapping
from json.scanner import make_scanner
from typing import Any, NamedTuple

MAXIMUM_HEADER = 64 * 1024
"""Bytes of a header. A client context is at most 3,583 bytes (A.1), so a longer header is garbage."""

MAXIMUM_PAYLOAD = 6_291_556
"""Bytes of a payload: the ceiling of a reply, which is above that of an event (A.2)."""

_PREFIX = struct.Struct(">II")
_FIRST_READ = 64 * 1024
_encode = json.JSONEncoder(separators=(",", ":")).encode
_scan = make_scanner(json.JSONDecoder())  # type: ignore[arg-type] # typeshed has another class there
"""Not `json.loads`: that looks for the encoding and for blanks first, more than half of what a header costs."""


class FrameError(Exception):
    """What came in is no frame, or what should go out is too large for one."""


class Frame(NamedTuple):
    """One message. The payload is `bytes` when it came in one piece, else a view of memory nobody else uses."""

    header: dict[str, Any]
    payload: bytes | memoryview


class FrameWriter:
    """One frame on its way out."""

    def __init__(self, header: Mapping[str, Any] | bytes, payload: bytes | memoryview = b"") -> None:
        """Send nothing yet.

        Args:
            header: what kind of message; or that as JSON, where making it is worth some care.
            payload: not to be changed before it is out.

        Raises:
            FrameError: it is too large.
        """
        encoded = header if isinstance(header, bytes) else _encode(header).encode()
        length = len(payload)
        if len(encoded) > MAXIMUM_HEADER:
            raise FrameError(f"a frame's header of {len(encoded)} bytes is above {MAXIMUM_HEADER}")
        if length > MAXIMUM_PAYLOAD:
            raise FrameError(f"a frame's payload of {length} bytes is above {MAXIMUM_PAYLOAD}")
        self._left: list[bytes | memoryview] = [_PREFIX.pack(len(encoded), length) + encoded, payload]
        self._length = _PREFIX.size + len(encoded) + length

    def write(self, fd: int) -> bool:
        """Write what the descriptor takes in one call; true when the whole frame is out.

        Raises:
            BlockingIOError: the descriptor is non-blocking and full.
            OSError: the other end is closed.
        """
        written = os.writev(fd, self._left)
        self._length -= written
        if not self._length:
            return True
        while written >= len(self._left[0]):
            written -= len(self._left.pop(0))
        self._left[0] = memoryview(self._left[0])[written:]
        return False


class FrameReader:
    """Frames on their way in. Keeps what comes after a frame for the next one."""

    def __init__(self) -> None:
        self._pending = b""
        self._buffer: bytearray | None = None
        self._filled = 0

    def buffered(self) -> Frame | None:
        """The next frame, if an earlier `read` brought all of it."""
        return self._take()

    def read(self, fd: int) -> Frame | None:
        """Read once; the frame when it is complete, else None: call again.

        Raises:
            BlockingIOError: the descriptor is non-blocking and empty.
            EOFError: the other end is closed; a frame that was begun will never be complete.
            FrameError: garbage or absurd lengths. Do not read on.
        """
        frame = self._take()
        if frame is not None:
            return frame
        if self._buffer is not None:
            with memoryview(self._buffer) as view:
                count = os.readv(fd, (view[self._filled :],))
            self._filled += count
        else:
            chunk = os.read(fd, _FIRST_READ)
            count = len(chunk)
            self._pending += chunk
        if not count:
            raise EOFError
        return self._take()

    def _take(self) -> Frame | None:
        """The next frame out of what was read, if it is all there."""
        if self._buffer is not None:
            if self._filled < len(self._buffer):
                return None
            buffer, self._buffer = self._buffer, None
            header_end = _PREFIX.size + _PREFIX.unpack_from(buffer)[0]
            return Frame(_decode(buffer[_PREFIX.size : header_end]), memoryview(buffer)[header_end:])
        pending = self._pending
        if len(pending) < _PREFIX.size:
            return None
        header_length, payload_length = _PREFIX.unpack_from(pending)
        if header_length > MAXIMUM_HEADER or payload_length > MAXIMUM_PAYLOAD:
            raise FrameError(
                f"lengths of {header_length} and {payload_length} bytes are above "
                f"{MAXIMUM_HEADER} and {MAXIMUM_PAYLOAD}: not a frame"
            )
        header_end = _PREFIX.size + header_length
        end = header_end + payload_length
        if len(pending) < end:
            self._buffer = bytearray(end)
            self._buffer[: len(pending)] = pending
            self._filled, self._pending = len(pending), b""
            return None
        self._pending = pending[end:]
        return Frame(_decode(pending[_PREFIX.size : header_end]), pending[header_end:end])


def _decode(header: bytes | bytearray) -> dict[str, Any]:
    try:
        text = str(header, "utf-8")
        decoded, end = _scan(text, 0)
    except (ValueError, RecursionError) as error:
        raise FrameError(f"a frame's header is not JSON: {error}") from None
    except StopIteration:
        raise FrameError("a frame's header is not JSON") from None
    if end != len(text):
        raise FrameError("a frame's header is not JSON: there is something behind it")
    if not isinstance(decoded, dict):
        raise FrameError(f"a frame's header is no JSON object but {type(decoded).__name__}")
    return decoded
