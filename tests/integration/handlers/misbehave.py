"""A function that does to its process what a body says in `does`, and handles it then, if it still can.

| `does` | |
| --- | --- |
| hang, ignore_signals | never answer; the second one ignores SIGTERM and SIGINT, too |
| exit, die | leave, or be ended as the kernel does it when memory is short |
| garbage | write on the reply pipe what is no frame |
| flood | write `megabytes` to stdout |
| leave_child, leave_daemon | start a process that outlives the invocation; the second one in a session of its own |
| answer_much | answer 10 MB |
"""

import os
import resource
import signal
import time
from typing import Any

import work

_REPLY = resource.getrlimit(resource.RLIMIT_NOFILE)[0] + 1
"""Where the reply pipe is: above the limit of descriptors (E.3)."""


def handler(event: dict[str, Any], context: Any) -> Any:
    answer = None
    for item in work.items(event):
        task = work.task_of(item.body)
        if "does" in task:
            answer = globals()[task["does"]](task)
        work.handle(item, context)
    return answer


def hang(task: dict[str, Any]) -> None:
    time.sleep(3600)


def ignore_signals(task: dict[str, Any]) -> None:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    time.sleep(3600)


def exit(task: dict[str, Any]) -> None:  # noqa: A001 - what the body says
    os._exit(3)


def die(task: dict[str, Any]) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def garbage(task: dict[str, Any]) -> None:
    os.write(_REPLY, b"\xff" * 64)
    time.sleep(3600)


def flood(task: dict[str, Any]) -> None:
    line = b"y" * 65_535 + b"\n"
    for _ in range(task["megabytes"] * 16):
        os.write(1, line)


def leave_child(task: dict[str, Any]) -> None:
    if os.fork() == 0:
        time.sleep(3600)
        os._exit(0)


def leave_daemon(task: dict[str, Any]) -> None:
    """As a daemon is made: two forks, a session of its own, no terminal."""
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        return
    os.setsid()
    if os.fork() == 0:
        time.sleep(3600)
    os._exit(0)


def answer_much(task: dict[str, Any]) -> str:
    return "z" * 10_000_000
