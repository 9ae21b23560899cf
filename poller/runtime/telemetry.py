"""Lambda's Telemetry API (E.1): what an extension subscribed to, and the events that it then gets. Pure."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from poller.model import FunctionConfiguration
from poller.runtime.frames import Frame

TYPES = {"platform", "function", "extension"}
HOSTS = {"sandbox", "sandbox.localdomain", "localhost", "127.0.0.1"}
"""Names of the machine on which extensions run; here it is this one."""

_BUFFERING = {
    "maxItems": (1000, 10_000, 10_000),
    "maxBytes": (262_144, 1_048_576, 262_144),
    "timeoutMs": (25, 30_000, 1000),
}
"""Least, most and default."""


class Subscription(NamedTuple):
    """What an extension wants to be told, and where it listens."""

    name: str
    types: frozenset[str]
    port: int
    path: str
    maximum_items: int
    maximum_bytes: int
    timeout: float
    """Seconds that events may wait for company."""


def subscription(name: str, body: bytes) -> Subscription:
    """Understand the body of a subscription.

    Args:
        name: of the extension.
        body: as it was sent.

    Raises:
        ValueError: what is wrong with it.
    """
    try:
        wanted = json.loads(body)
        types = frozenset(wanted["types"])
        destination = wanted["destination"]
        address = urlsplit(destination["URI"])
        protocol, port = destination.get("protocol"), address.port
        buffering = wanted.get("buffering", {})
        values = {key: buffering.get(key, default) for key, (_, _, default) in _BUFFERING.items()}
    except (LookupError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"the subscription has no {error}" if isinstance(error, KeyError) else str(error)) from None
    if not types or types - TYPES:
        raise ValueError(f"types are some of {', '.join(sorted(TYPES))}")
    if protocol != "HTTP" or address.scheme != "http" or address.hostname not in HOSTS or not port:
        raise ValueError("the destination is HTTP, at http://sandbox.localdomain:PORT")
    for key, (least, most, _) in _BUFFERING.items():
        if not isinstance(values[key], int) or not least <= values[key] <= most:
            raise ValueError(f"{key} is {least} to {most}")
    timeout = values["timeoutMs"] / 1000
    return Subscription(name, types, port, address.path or "/", values["maxItems"], values["maxBytes"], timeout)


def event(kind: str, record: Any, now: float) -> dict[str, Any]:
    """One event; `now` is in seconds since the epoch."""
    time = datetime.fromtimestamp(now, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return {"time": time, "type": kind, "record": record}


def subscribed(wanted: Subscription) -> dict[str, Any]:
    """The record of the first event."""
    return {"name": wanted.name, "state": "Subscribed", "types": sorted(wanted.types)}


def begun(request_id: str) -> dict[str, Any]:
    """The record of platform.start."""
    return {"requestId": request_id, "version": "$LATEST"}


def done(frame: Frame) -> dict[str, Any]:
    """The record of platform.runtimeDone, from the answer to an event."""
    header = frame.header
    status = "success" if header["type"] == "response" else "error"
    metrics = {"durationMs": round(header["seconds"] * 1000, 3), "producedBytes": len(frame.payload)}
    return {"requestId": header["request_id"], "status": status, "metrics": metrics}


def report(frame: Frame, configuration: FunctionConfiguration, memory: int | None) -> dict[str, Any]:
    """The record of platform.report; `memory` is in bytes."""
    milliseconds = frame.header["seconds"] * 1000
    metrics = {
        "durationMs": round(milliseconds, 3),
        "billedDurationMs": math.ceil(milliseconds),
        "memorySizeMB": configuration.memory_size,
        "maxMemoryUsedMB": -(-(memory or 0) // (1024 * 1024)),
    }
    return {"requestId": frame.header["request_id"], "metrics": metrics, "status": done(frame)["status"]}


class Lines:
    """Output, cut into lines."""

    def __init__(self) -> None:
        self._partial = b""

    def cut(self, chunk: bytes) -> list[str]:
        """The lines that are complete with this chunk."""
        *whole, self._partial = (self._partial + chunk).split(b"\n")
        return [line.decode(errors="replace") for line in whole]


def wants(wanted: Subscription, found: Mapping[str, Any]) -> bool:
    """Whether an event is of a type that was subscribed to."""
    return str(found["type"]).partition(".")[0] in wanted.types
