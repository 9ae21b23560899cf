"""The event stream encoding of AWS (`application/vnd.amazon.eventstream`): messages with headers and checksums. Pure.

4 bytes  length of the whole message, big-endian
4 bytes  length of the headers
4 bytes  CRC-32 of the eight bytes before
headers  each: length of its name (1 byte), name, 7 for text, length of its value (2 bytes), value
payload
4 bytes  CRC-32 of all bytes before
"""

from __future__ import annotations

import struct
import zlib

CONTENT_TYPE = b"application/vnd.amazon.eventstream"
MAXIMUM_CHUNK = 128 * 1024
"""Bytes of one PayloadChunk; every client can take more."""

_TEXT = 7
_OVERHEAD = 16
"""Bytes of a message that are neither headers nor payload."""


def message(event_type: str, content_type: str, payload: bytes) -> bytes:
    """One event."""
    given = {":event-type": event_type, ":content-type": content_type, ":message-type": "event"}
    headers = b"".join(_header(name, value) for name, value in given.items())
    prelude = struct.pack(">II", _OVERHEAD + len(headers) + len(payload), len(headers))
    whole = prelude + struct.pack(">I", zlib.crc32(prelude)) + headers + payload
    return whole + struct.pack(">I", zlib.crc32(whole))


def chunks(payload: bytes) -> bytes:
    """A function's whole answer as PayloadChunk events: at least one, each of a bounded size."""
    return b"".join(
        message("PayloadChunk", "application/octet-stream", payload[start : start + MAXIMUM_CHUNK])
        for start in range(0, len(payload) or 1, MAXIMUM_CHUNK)
    )


def _header(name: str, value: str) -> bytes:
    return struct.pack(">B", len(name)) + name.encode() + struct.pack(">BH", _TEXT, len(value)) + value.encode()
