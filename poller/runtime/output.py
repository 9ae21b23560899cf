"""What a handler's process writes to stdout and stderr, cut where one event ends and the next one begins.

With the next event already in its pipe, the process goes on while its last answer is still on the way to us, and what
it writes for both may be read in one piece. So it puts a marker between them, whenever something of the first is still
unread. For the environment's owner.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import sys
import termios
from collections.abc import Callable

_CHUNK = 64 * 1024


class Output:
    """The reading end of a process's output, non-blocking."""

    def __init__(self, fd: int, emit: Callable[[bytes], None]) -> None:
        self.fd = fd
        self.marker = b"\0%b\0" % secrets.token_hex(8).encode()
        self._emit = emit
        self._open = True
        self._marked = False
        self._held = b""
        self._pending = bytearray(4)

    @property
    def wanted(self) -> bool:
        """Whether to wait for more: not behind a marker, which ends what belongs to this event, nor at its end."""
        return self._open and not self._marked

    def read(self, size: int = _CHUNK) -> int:
        """Read once and hand out what belongs to the event in work; how many bytes there were."""
        try:
            chunk = os.read(self.fd, size)
        except BlockingIOError:
            return 0
        if chunk:
            self._cut(chunk)
        else:
            self._open = False  # closed by the handler: else a poll would spin on it
        return len(chunk)

    def end_event(self, *, marked: bool) -> None:
        """The event in work was answered; `marked` as the answer says: then what it wrote ends at a marker."""
        if marked and not self._marked:
            self._read_pending(until_marked=True)
        elif not self._marked and self._held:  # looked like the beginning of a marker, and was none
            held, self._held = self._held, b""
            self._emit(held)

    def begin_event(self) -> None:
        """From here on output belongs to the next event: what was read too early comes now."""
        self._marked = False
        if self._held:
            held, self._held = self._held, b""
            self._cut(held)

    def drain(self) -> None:
        """Hand out everything that is in the pipe now. For the end: nothing comes after it.

        Not to the end of the pipe, since a process left behind may hold it open, or write for ever.
        """
        self._pass_markers()
        self._read_pending(until_marked=False)
        self.end_event(marked=False)

    def close(self) -> None:
        """Let the descriptor go."""
        os.close(self.fd)

    def _read_pending(self, *, until_marked: bool) -> None:
        fcntl.ioctl(self.fd, termios.FIONREAD, self._pending)
        left = int.from_bytes(self._pending, sys.byteorder)
        while True:
            # What came since is a line more likely than a byte: asking for one would tear it at the end of an event.
            count = self.read(min(left, _CHUNK) if left > 0 else _CHUNK)
            left -= count
            if not until_marked:
                self._pass_markers()
            if not count or left <= 0 or self._marked:
                return

    def _pass_markers(self) -> None:
        while self._marked:
            self.begin_event()

    def _cut(self, chunk: bytes) -> None:
        if self._held:
            chunk, self._held = self._held + chunk, b""
        if self._marked:
            self._held = chunk
            return
        before, found, after = chunk.partition(self.marker)
        if found:
            self._marked, self._held = True, after
        else:
            start = before.rfind(b"\0", -len(self.marker))
            if start >= 0 and self.marker.startswith(before[start:]):
                before, self._held = before[:start], before[start:]
        if before:
            self._emit(before)
