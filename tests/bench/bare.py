"""What every bare loop stands on: the handler's process behind the product's own frames, and how a loop is stopped."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import uuid
from types import FrameType
from typing import NoReturn

from poller.runtime.frames import Frame, FrameReader, FrameWriter
from poller.runtime.launch import BOOTSTRAP
from tests.bench.processes import FUNCTIONS

PIPE_SIZE = 1024 * 1024
"""As the product's pipes."""


class Handler:
    """The handler's process behind two blocking pipes."""

    def __init__(self, name: str) -> None:
        event, self._event = os.pipe()
        self._reply, reply = os.pipe()
        output = os.dup(sys.stdout.fileno())
        for fd in (self._event, self._reply):
            fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, PIPE_SIZE)
        variables = {"_HANDLER": f"handler.{name}", "LAMBDA_TASK_ROOT": str(FUNCTIONS), "TZ": ":UTC"}
        self.process = subprocess.Popen(
            [sys.executable, "-u", str(BOOTSTRAP), "marker", str(event), str(reply), str(output), "-1"],
            cwd=FUNCTIONS,
            env={**os.environ, **variables, "AWS_EXECUTION_ENV": "AWS_Lambda_python3.13"},
            pass_fds=(event, reply, output),
        )
        for fd in (event, reply, output):
            os.close(fd)
        self._reader = FrameReader()
        ready = self._receive()
        assert ready.header["type"] == "ready", ready

    def __call__(self, event: bytes) -> bytes | memoryview:
        """One invocation: the answer."""
        self.send(event)
        return self.receive()

    def send(self, event: bytes) -> None:
        """Blocks while the pipe is full."""
        header = {
            "type": "invoke",
            "request_id": str(uuid.uuid4()),
            "limit": 30,
            "slot": None,
            "invoked_function_arn": "arn:aws:lambda:us-east-1:123456789012:function:Bench",
            "trace_id": "Root=1-00000000-000000000000000000000000;Parent=0000000000000000;Sampled=0",
            "client_context": None,
        }
        writer = FrameWriter(header, event)
        while not writer.write(self._event):
            pass

    def receive(self) -> bytes | memoryview:
        """The answer to the oldest event that has none yet."""
        answer = self._receive()
        assert answer.header["type"] == "response", answer
        return answer.payload

    def _receive(self) -> Frame:
        while (frame := self._reader.read(self._reply)) is None:
            pass
        return frame

    def close(self) -> None:
        os.close(self._event)
        self.process.wait()


class Stopped(BaseException):
    """SIGTERM arrived."""


def stop_on_sigterm() -> None:
    """From here on SIGTERM raises `Stopped`, wherever the loop is."""

    def stop(_number: int, _frame: FrameType | None) -> NoReturn:
        raise Stopped

    signal.signal(signal.SIGTERM, stop)


def say_polling() -> None:
    """What the bench waits for."""
    print("polling", flush=True)
