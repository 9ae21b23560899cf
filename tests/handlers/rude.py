"""Handlers that do to their process what a protocol has to survive."""

import os
import resource
import signal
import subprocess
import sys
import threading
import time

REPLY = resource.getrlimit(resource.RLIMIT_NOFILE)[0] + 1
"""Where the protocol's descriptors are: right above the limit of E.3."""


def flood(event, context):
    """Write `event` MB to stdout."""
    chunk = (b"y" * 1023 + b"\n") * 1024
    for _ in range(event):
        os.write(1, chunk)
    return "done"


def endless_line(event, context):
    for _ in range(64):
        os.write(1, b"z" * 65536)
    return "done"


def reads_stdin(event, context):
    return sys.stdin.read()


def closes_low_descriptors(event, context):
    os.closerange(0, resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    return "still here"


def closes_low_descriptors_and_echoes(event, context):
    closes_low_descriptors(event, context)
    return event


def closes_all_descriptors(event, context):
    os.closerange(0, 65536)
    return "never seen"


def closes_all_and_stays(event, context):
    os.closerange(0, 65536)
    time.sleep(60)


def closes_output(event, context):
    os.closerange(1, 3)
    return "quiet"


def fork_that_returns(event, context):
    """A fork that comes back out of the handler; it must not answer."""
    if os.fork() == 0:
        return "from the fork"
    os.wait()
    return "from the handler"


def fork_that_stays(event, context):
    """A daemon that keeps stdout open."""
    pid = os.fork()
    if pid == 0:
        time.sleep(60)
        os._exit(0)
    return pid


def daemon_that_stays(event, context):
    """Out of the process group, as daemons do it; its number goes through a pipe."""
    reading, writing = os.pipe()
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.write(writing, str(os.getpid()).encode())
            time.sleep(60)
        os._exit(0)
    os.wait()
    return int(os.read(reading, 20))


def subprocess_that_stays(event, context):
    return subprocess.Popen(["sleep", "60"]).pid


def dies_and_leaves_a_child(event, context):
    child = subprocess.Popen(["sleep", "60"])
    print(child.pid, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)


def writes_garbage(event, context):
    os.write(REPLY, b"\xff" * 64)
    time.sleep(60)


def dies_inside_an_answer(event, context):
    os.write(REPLY, (20).to_bytes(4, "big") + (1000).to_bytes(4, "big") + b'{"type"')
    os.kill(os.getpid(), signal.SIGKILL)


def answers_for_another(event, context):
    header = b'{"type":"response","request_id":"somebody-else"}'
    os.write(REPLY, len(header).to_bytes(4, "big") + bytes(4) + header)
    time.sleep(60)


def prints_afterwards(event, context):
    def later():
        while True:
            print("background")
            time.sleep(0.001)

    threading.Thread(target=later, daemon=True).start()
    return "ok"
