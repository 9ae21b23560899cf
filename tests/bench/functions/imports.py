"""A handler with imports of its own, which tells how long they took."""

import time

_began = time.perf_counter()

import argparse  # noqa: E402, F401
import asyncio  # noqa: E402, F401
import decimal  # noqa: E402, F401
import email.message  # noqa: E402, F401
import http.client  # noqa: E402, F401
import sqlite3  # noqa: E402, F401

MILLISECONDS = (time.perf_counter() - _began) * 1000


def handler(event, context):
    return MILLISECONDS


def rest(event, context):
    """Wait, so that one environment is needed for each event that is there."""
    time.sleep(event)
