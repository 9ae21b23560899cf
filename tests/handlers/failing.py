"""Handlers that end badly."""

import os
import signal
import sys
import time


def raises(event, context):
    raise ValueError("text")


def deep(event, context):
    return _below()


def _below():
    raise KeyError("größer")


class SilentError(Exception):
    def __str__(self):
        raise RuntimeError


def unprintable(event, context):
    raise SilentError


def surrogate(event, context):
    raise ValueError("\ud800")


def at_length(event, context):
    raise ValueError("m" * 7_000_000)


def exits(event, context):
    if event == "os":
        os._exit(3)
    sys.exit(event)


def kills_itself(event, context):
    os.kill(os.getpid(), event)
    time.sleep(60)


def ignores_sigterm(event, context):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    print("started", os.getpid(), flush=True)
    time.sleep(60)
