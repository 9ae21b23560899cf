"""What an extension subscribes to, by Lambda's Telemetry API or the Logs API that came before it (E.1). Pure.

Both take the same: types of events, where to deliver them, and how long to gather. They differ in their schemas, and in
how some events are named and shaped, which is a table here.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple, NoReturn
from urllib.parse import urlsplit

TELEMETRY = "/2022-07-01/telemetry"
LOGS = "/2020-08-15/logs"

_SCHEMAS = {TELEMETRY: ("2022-07-01", "2022-12-13", "2025-01-29"), LOGS: ("2020-08-15", "2021-03-18")}
"""The first is that of a subscription that names none."""
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
    api: str
    """Path of the API that it came by."""
    schema: str
    types: frozenset[str]
    port: int
    path: str
    """Where it is told over HTTP. Empty: as lines of JSON over TCP."""
    method: str
    maximum_items: int
    maximum_bytes: int
    timeout: float
    """Seconds that events may wait for company."""


def subscription(api: str, name: str, body: bytes) -> Subscription:
    """Understand the body of a subscription.

    Args:
        api: path of the API that it came by.
        name: of the extension.
        body: as it was sent.

    Raises:
        ValueError: what is wrong with it.
    """
    try:
        wanted = json.loads(body)
        types = frozenset(wanted["types"])
        destination = wanted["destination"]
        port, path, method = _destination(destination)
        buffering = wanted.get("buffering", {})
        values = {key: buffering.get(key, default) for key, (_, _, default) in _BUFFERING.items()}
        schema = wanted.get("schemaVersion", _SCHEMAS[api][0])
    except (LookupError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"the subscription has no {error}" if isinstance(error, KeyError) else str(error)) from None
    if not types or types - TYPES:
        raise ValueError(f"types are some of {', '.join(sorted(TYPES))}")
    if schema not in _SCHEMAS[api]:
        raise ValueError(f"schemaVersion is one of {', '.join(_SCHEMAS[api])}")
    for key, (least, most, _) in _BUFFERING.items():
        if not isinstance(values[key], int) or not least <= values[key] <= most:
            raise ValueError(f"{key} is {least} to {most}")
    limits = (values["maxItems"], values["maxBytes"], values["timeoutMs"] / 1000)
    return Subscription(name, api, schema, types, port, path, method, *limits)


def _destination(wanted: Mapping[str, Any]) -> tuple[int, str, str]:
    """Port, path and method."""
    if wanted.get("protocol") == "TCP":
        port = wanted.get("port")
        if not isinstance(port, int) or not 0 < port < 65536:  # noqa: PLR2004 - what a port is
            raise ValueError("a destination of protocol TCP has a port, 1 to 65535")
        return port, "", ""
    address = urlsplit(wanted["URI"])
    found = address.port
    if wanted.get("protocol") != "HTTP" or address.scheme != "http" or address.hostname not in HOSTS or not found:
        raise ValueError("the destination is HTTP, at http://sandbox.localdomain:PORT, or TCP")
    method = wanted.get("method", "POST")
    if method not in {"POST", "PUT"}:
        raise ValueError("the method of a destination is POST or PUT")
    if wanted.get("encoding", "JSON") != "JSON":
        raise ValueError("the encoding of a destination is JSON")
    path = (address.path or "/") + (address.query and f"?{address.query}")
    if not path.isascii() or not path.isprintable() or " " in path:
        raise ValueError("the path of a destination is ASCII without blanks, others percent-encoded")
    return found, path, method


class Event(NamedTuple):
    """One event, before it is shaped for who subscribed."""

    kind: str
    record: Any
    now: float
    """Seconds since the epoch."""


def shaped(wanted: Subscription, event: Event) -> dict[str, Any] | None:
    """An event as it goes to a subscriber; None when that did not subscribe to it, or its API has none such."""
    kind, record = event.kind, event.record
    if kind.partition(".")[0] not in wanted.types:
        return None
    if wanted.api == LOGS:
        found = _of_logs_api(wanted, kind, record)
        if found is None:
            return None
        kind, record = found
    elif kind in _LOGS_ONLY:
        return None
    elif kind == "function" and wanted.schema > "2022-07-01":
        record = _as_object(record)
    time = datetime.fromtimestamp(event.now, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return {"time": time, "type": kind, "record": record}


_LOGS_ONLY = {"platform.fault", "platform.end"}
_OF_TELEMETRY_ONLY = {"platform.initStart", "platform.initRuntimeDone", "platform.initReport"}


def _of_logs_api(wanted: Subscription, kind: str, record: Any) -> tuple[str, Any] | None:
    if kind in _OF_TELEMETRY_ONLY or (kind == "platform.runtimeDone" and wanted.schema < "2021-03-18"):
        return None
    if kind == "platform.telemetrySubscription":
        return "platform.logsSubscription", record
    if kind == "platform.runtimeDone":
        return kind, {"requestId": record["requestId"], "status": record["status"]}
    if kind == "platform.report":
        return kind, {"requestId": record["requestId"], "metrics": record["metrics"]}
    return kind, record


def _as_object(line: str) -> Any:
    """A line of JSON is its object from schema 2022-12-13 on."""
    if not line.startswith("{"):
        return line
    try:
        return json.loads(line, parse_constant=_no_json, parse_float=_finite)
    except (ValueError, RecursionError):
        return line


def _no_json(name: str) -> NoReturn:
    raise ValueError(f"{name} is Python's, not JSON's")


def _finite(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise ValueError(f"{digits} would be written as Infinity")
    return number


def subscribed(wanted: Subscription, *, again: bool) -> dict[str, Any]:
    """The record of platform.telemetrySubscription."""
    state = "Already subscribed" if again else "Subscribed"
    return {"name": wanted.name, "state": state, "types": sorted(wanted.types)}


def dropped(records: int, size: int, reason: str) -> dict[str, Any]:
    """The record of platform.logsDropped."""
    return {"reason": reason, "droppedRecords": records, "droppedBytes": size}
