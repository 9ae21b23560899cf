"""Log events in frames, as AWS's runtime clients write them, among the output of a process. Pure.

A client that finds `_LAMBDA_TELEMETRY_LOG_FD` writes each log event in one piece, so that an event of several lines
stays one. The descriptor is here the process's own output, so that order is kept:

    4 bytes  0xa55a00xx: the frame's type, with the level of the event in it
    4 bytes  length of the event, big-endian
    8 bytes  microseconds since the epoch
    event    UTF-8

No text begins with these bytes: they are not UTF-8.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from poller.runtime.handler_log import MAXIMUM_EVENT

DESCRIPTOR = "1"
"""Value of `_LAMBDA_TELEMETRY_LOG_FD`."""

_MAGIC = b"\xa5\x5a\x00"
_HEAD = struct.Struct(">4sIQ")


class Piece(NamedTuple):
    """Of the output: an event of its own, or a chunk in which lines begin and end anywhere."""

    content: bytes
    framed: bool


class FrameCutter:
    """Takes chunks, gives pieces."""

    def __init__(self) -> None:
        self._held = b""
        self._left = 0
        """Bytes of a frame's event that are still to come."""
        self._event = bytearray()

    def cut(self, chunk: bytes) -> Iterator[Piece]:
        """The pieces that are complete with this chunk. What is longer than an event may be is cut."""
        chunk, self._held = self._held + chunk, b""
        while chunk:
            if self._left:
                yield from self._go_on(chunk[: self._left])
                chunk, self._left = chunk[self._left :], max(0, self._left - len(chunk))
                if not self._left:
                    yield self._whole()
                continue
            start = chunk.find(_MAGIC)
            if start < 0:
                start = len(chunk) - _begun(chunk)
            if start:
                yield Piece(chunk[:start], framed=False)
            head, chunk = chunk[start : start + _HEAD.size], chunk[start + _HEAD.size :]
            if len(head) < _HEAD.size:
                self._held = head
                return
            self._left = _HEAD.unpack(head)[1]
            if not self._left:
                yield self._whole()

    def _go_on(self, piece: bytes) -> Iterator[Piece]:
        self._event += piece
        while len(self._event) > MAXIMUM_EVENT:
            yield Piece(bytes(self._event[:MAXIMUM_EVENT]), framed=True)
            del self._event[:MAXIMUM_EVENT]

    def _whole(self) -> Piece:
        event, self._event = bytes(self._event), bytearray()
        return Piece(event, framed=True)


def _begun(chunk: bytes) -> int:
    """How many bytes at the end may be the beginning of a frame."""
    return next((size for size in (2, 1) if chunk.endswith(_MAGIC[:size])), 0)
