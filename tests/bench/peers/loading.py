"""What the Python peers share: the bench's handler, loaded into their own process, and the event for it.

They run on an interpreter of their own, with their own libraries, so nothing of this program is imported here.
"""

from __future__ import annotations

import importlib
import os
import sys
from base64 import b64encode
from collections.abc import Callable, Iterable
from typing import Any

Row = tuple[int, int, int, bytes, bytes]
"""Partition, offset, timestamp in milliseconds, key, value."""


def load_handler(name: str) -> Callable[[Any, Any], Any]:
    """The function that `module.function` names in the folder LAMBDA_TASK_ROOT."""
    module, _, function = name.rpartition(".")
    sys.path.insert(0, os.environ["LAMBDA_TASK_ROOT"])
    loaded: Callable[[Any, Any], Any] = getattr(importlib.import_module(module), function)
    return loaded


def build_event(address: str, topic: str, rows: Iterable[Row]) -> dict[str, Any]:
    """The event of D.1.1 as what its JSON would be parsed to: without a process in between nobody needs the text."""
    shards: dict[str, list[dict[str, Any]]] = {}
    for partition, offset, timestamp, key, value in rows:
        record = {
            "topic": topic,
            "partition": partition,
            "offset": offset,
            "timestamp": timestamp,
            "timestampType": "CREATE_TIME",
            "key": b64encode(key).decode("ascii"),
            "value": b64encode(value).decode("ascii"),
            "headers": [],
        }
        shards.setdefault(f"{topic}-{partition}", []).append(record)
    return {"eventSource": "SelfManagedKafka", "bootstrapServers": address, "records": shards}
