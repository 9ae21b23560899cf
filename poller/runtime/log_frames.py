"""Log events in frames, as AWS's runtime clients write them, among the output of a process. Pure.

A client that finds `_LAMBDA_TELEMETRY_LOG_FD` writes each log event in one piece, so that an event of several lines
stays one. The descriptor is here the process's own output, so that order is kept:

    4 bytes  0xa55a00xx: the frame's type, with the level of the event in it
    4 bytes  length of the event, big-endian
    8 bytes  microseconds since the epoch
    event    UTF-8

No text begins with these bytes: they are not UTF-8. Within a character they may stand, as in "åZ": who looks for a
frame looks at what is before it.
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
_EARLIEST, _LATEST = 1_500_000_000_000_000, 5_000_000_000_000_000
"""When a frame may be from: years 2017 to 2128. A handler may print bytes of any kind, and a length that is none of a
frame would swallow its log."""
_LONGEST = 3
"""Bytes of a character before its last one."""


class Piece(NamedTuple):
    """Of the output: an event of its own, or a chunk in which lines begin and end anywhere."""

    content: bytes
    framed: bool


class FrameCutter:
    """Takes chunks, gives pieces."""

    def __init__(self) -> None:
        self._held = b""
        self._before = b""
        """The last bytes of output before what is held: they may begin a character."""
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
            start = self._find(chunk)
            if start:
                yield Piece(chunk[:start], framed=False)
                self._before = (self._before + chunk[max(0, start - _LONGEST) : start])[-_LONGEST:]
            head, chunk = chunk[start : start + _HEAD.size], chunk[start + _HEAD.size :]
            if len(head) < _HEAD.size:
                self._held = head
                return
            self._left = _HEAD.unpack(head)[1]
            if not self._left:
                yield self._whole()

    def _find(self, chunk: bytes) -> int:
        """Where in it a frame begins, or may begin at its end; its length where none does."""
        start = chunk.find(_MAGIC)
        while start >= 0 and not self._may_begin(chunk, start):
            start = chunk.find(_MAGIC, start + 1)
        if start < 0:
            start = len(chunk) - _begun(chunk)
            if start < len(chunk) and self._within_character(chunk, start):
                return len(chunk)
        return start

    def _may_begin(self, chunk: bytes, start: int) -> bool:
        """Whether what begins like a frame is one, as far as it is there."""
        head = chunk[start : start + _HEAD.size]
        if len(head) < _HEAD.size:
            return not self._within_character(chunk, start)
        when: int = _HEAD.unpack(head)[2]
        return _EARLIEST <= when <= _LATEST

    def _within_character(self, chunk: bytes, start: int) -> bool:
        """Whether the byte here goes on with a character of UTF-8."""
        before = chunk[max(0, start - _LONGEST) : start]
        if start < _LONGEST:
            before = (self._before + before)[-_LONGEST:]
        for back, byte in enumerate(reversed(before), 1):
            if byte >= 0xC2:  # noqa: PLR2004 - first of two, of three from 0xE0 on, of four from 0xF0 to 0xF4
                return byte <= 0xF4 and back < 2 + (byte >= 0xE0) + (byte >= 0xF0)  # noqa: PLR2004
            if byte < 0x80:  # noqa: PLR2004 - a character by itself
                return False
        return False

    def _go_on(self, piece: bytes) -> Iterator[Piece]:
        self._event += piece
        while len(self._event) > MAXIMUM_EVENT:
            yield Piece(bytes(self._event[:MAXIMUM_EVENT]), framed=True)
            del self._event[:MAXIMUM_EVENT]

    def _whole(self) -> Piece:
        event, self._event = bytes(self._event), bytearray()
        self._before = b""
        return Piece(event, framed=True)


def _begun(chunk: bytes) -> int:
    """How many bytes at the end may be the beginning of a frame."""
    return next((size for size in (2, 1) if chunk.endswith(_MAGIC[:size])), 0)
