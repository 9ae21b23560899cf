"""Handlers to measure with. They do as little as a handler can, so that what is measured is the way to them.

Each writes one line of a ledger per invocation: 32 bytes, four numbers (see `tests.bench.ledger`).
"""

import base64
import json
import os
import struct
import time

_ENTRY = struct.Struct("=4q")
_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_APPEND
_ledger = os.open(f"{os.environ['LEDGER']}/{os.getpid()}", _FLAGS) if "LEDGER" in os.environ else -1


def _records(event):
    if "records" in event:
        return [record for shard in event["records"].values() for record in shard]
    return [message for queue in event["rmqMessagesByQueue"].values() for message in queue]


def count(event, context):
    """Count the records of the event, which the runtime has parsed."""
    began = time.monotonic_ns()
    shards = event["records"] if "records" in event else event["rmqMessagesByQueue"]
    number = sum(len(records) for records in shards.values())
    os.write(_ledger, _ENTRY.pack(began, time.monotonic_ns(), time.process_time_ns(), number))


def age(event, context):
    """Write an entry per record: how long ago `produced` was, in place of the processor time."""
    now = time.monotonic_ns()
    readings = [json.loads(base64.b64decode(record["value"])) for record in _records(event)]
    os.write(_ledger, b"".join(_ENTRY.pack(now, now, now - reading["produced"], 1) for reading in readings))


def echo(event, context):
    return event
