"""Ids of requests: version 4 UUIDs, one for each call and each invocation."""

from __future__ import annotations

from random import getrandbits

_FIXED = (4 << 76) | (0b10 << 62)
"""Version and variant."""
_FREE = (1 << 128) - 1 - (0b1111 << 76) - (0b11 << 62)


def new_request_id() -> str:
    """A new one; any thread.

    Not `uuid.uuid4`: that reads the kernel's random numbers and gives the interpreter's lock up for it. Under load,
    getting that back takes longer than all else that an id costs. Nothing secret hangs on it.
    """
    digits = f"{getrandbits(128) & _FREE | _FIXED:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
