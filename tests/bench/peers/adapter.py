"""The child of Benthos' `subprocess` processor: one event in, one call of the handler, one answer out.

`python adapter.py HANDLER` speaks frames of a length of 4 bytes, big-endian, and so many bytes, on stdin and stdout.
It does for an event what the product's bootstrap does and no more, so that the peer is not held back by its child: a
pipe of the same size, frames without copies, one decoding, one JSON each way. The standard library only.
"""

from __future__ import annotations

import fcntl
import importlib
import json
import os
import struct
import sys
import time

PIPE_SIZE = 1024 * 1024
"""As the product's pipes."""
FIRST_READ = 256 * 1024
_LENGTH = struct.Struct(">I")


class Context:
    """What a handler asks its context for."""

    function_name = "Bench"
    memory_limit_in_mb = "128"

    def __init__(self) -> None:
        self._deadline = time.monotonic() + 30

    def get_remaining_time_in_millis(self) -> int:
        return int((self._deadline - time.monotonic()) * 1000)


def read_exactly(fd: int, view: memoryview) -> None:
    """Raises EOFError at the end of the file."""
    while view:
        count = os.readv(fd, [view])
        if not count:
            raise EOFError
        view = view[count:]


def main() -> None:
    for fd in 0, 1:
        fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, PIPE_SIZE)
    module, _, name = sys.argv[1].rpartition(".")
    sys.path.insert(0, os.environ["LAMBDA_TASK_ROOT"])
    handler = getattr(importlib.import_module(module), name)
    encode = json.JSONEncoder(separators=(",", ":")).encode
    prefix = memoryview(bytearray(4))
    try:
        while True:
            read_exactly(0, prefix)
            payload = memoryview(bytearray(_LENGTH.unpack(prefix)[0]))
            read_exactly(0, payload)
            result = handler(json.loads(str(payload, "utf-8")), Context())
            answer = encode(result).encode()
            os.writev(1, (_LENGTH.pack(len(answer)), answer))
    except EOFError:
        pass


if __name__ == "__main__":
    main()
