"""How the service hears SIGTERM and SIGINT: always once, whatever its main thread is doing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from poller.stop_signals import HARD_STOP

ROOT = Path(__file__).resolve().parents[2]
PRELUDE = """
import os, signal, sys, threading, time
main = threading.main_thread().native_id

def until_asleep():
    while open(f"/proc/self/task/{main}/stat").read().rpartition(")")[2].split()[0] != "S":
        time.sleep(0.01)
"""


def run(script: str) -> subprocess.CompletedProcess[str]:
    """A program of its own, as handlers of signals belong to a process."""
    return subprocess.run(
        [sys.executable, "-c", PRELUDE + script],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )


def test_one_that_comes_before_anybody_waits_is_heard() -> None:
    done = run(
        """
from poller.stop_signals import StopSignals
stopping = StopSignals()
os.kill(os.getpid(), signal.SIGINT)
stopping.wait()
print("heard")
"""
    )
    assert (done.returncode, done.stdout) == (0, "heard\n"), done.stderr


def test_one_that_does_not_interrupt_the_main_thread_is_heard() -> None:
    """What happens in the instant before a thread sleeps, made to last: the kernel gives the signal to another thread,
    so nothing interrupts the one that waits."""
    done = run(
        """
from poller.stop_signals import StopSignals

def send():
    waiting.wait()
    until_asleep()
    os.kill(os.getpid(), signal.SIGTERM)

waiting = threading.Event()
thread = threading.Thread(target=send)
thread.start()
stopping = StopSignals()
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
waiting.set()
stopping.wait()
print("heard")
"""
    )
    assert (done.returncode, done.stdout) == (0, "heard\n"), done.stderr


def test_a_second_one_ends_the_process_at_once() -> None:
    done = run(
        """
from poller.stop_signals import StopSignals
stopping = StopSignals()
os.kill(os.getpid(), signal.SIGTERM)
stopping.wait()
os.kill(os.getpid(), signal.SIGINT)
time.sleep(60)
"""
    )
    assert done.returncode == HARD_STOP
    assert done.stderr == "second SIGINT: stopping at once\n"


def test_other_signals_do_not_end_the_waiting() -> None:
    done = run(
        """
from poller.stop_signals import StopSignals

def other(*_):
    print("other")
    came.set()

def send():
    until_asleep()
    os.kill(os.getpid(), signal.SIGUSR1)
    came.wait()
    until_asleep()
    print("waits on")
    os.kill(os.getpid(), signal.SIGTERM)

came = threading.Event()
signal.signal(signal.SIGUSR1, other)
stopping = StopSignals()
threading.Thread(target=send).start()
stopping.wait()
print("heard")
"""
    )
    assert (done.returncode, done.stdout) == (0, "other\nwaits on\nheard\n"), done.stderr
