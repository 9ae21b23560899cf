"""What the functions of these tests do with a record: note it in the ledger, fail on poison.

A body that is a JSON object may say `id`, `poison` (fails), `work` (seconds it takes), `gate` (a file to wait for) and
`reply` (what `answer_as_told` answers).
The ledger gets one line a handling, written as it happens, so that a kill cannot take back what was done.
"""

import base64
import itertools
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

_ledger = os.open(os.environ["LEDGER"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
_poller = os.getppid()  # now, as it may be killed while a record is handled


class Item(NamedTuple):
    """One record of an event of D.1.1 or D.2."""

    shard: str
    position: int | None
    """Offset of a Kafka record."""
    body: bytes | None
    identifier: Any
    """Of a partial batch response (C.6)."""
    redelivered: bool


def report(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Handle everything, and name what failed (C.6)."""
    failed = [item for item in items(event) if not handle(item, context)]
    return {"batchItemFailures": [{"itemIdentifier": item.identifier} for item in failed]}


def throw(event: dict[str, Any], context: Any) -> None:
    """Handle one after the other; the first that fails fails the invocation."""
    for item in items(event):
        if not handle(item, context):
            raise ValueError("poison")


def throw_at_first(event: dict[str, Any], context: Any) -> None:
    """Handle everything, then fail unless all of it was delivered before."""
    handled = list(items(event))
    for item in handled:
        handle(item, context)
    if not all(item.redelivered for item in handled):
        raise ValueError("not before the second time")


def answer_as_told(event: dict[str, Any], context: Any) -> Any:
    """Handle everything, then answer what the first record says."""
    first, *others = items(event)
    for item in (first, *others):
        handle(item, context)
    return task_of(first.body)["reply"]


def answer_no_json(event: dict[str, Any], context: Any) -> bytes:
    """Handle everything, then answer what nobody can read."""
    report(event, context)
    return b"all done!"


def name_a_stranger(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Handle everything, then name a record that is not in the batch."""
    report(event, context)
    return {"batchItemFailures": [{"itemIdentifier": {"partition": "elsewhere-0", "offset": 7}}]}


def items(event: dict[str, Any]) -> Iterator[Item]:
    for record in itertools.chain(*event.get("records", {}).values()):
        shard, offset = f"{record['topic']}-{record['partition']}", record["offset"]
        body = None if record["value"] is None else base64.b64decode(record["value"])
        yield Item(shard, offset, body, {"partition": shard, "offset": offset}, redelivered=False)
    for queue, messages in event.get("rmqMessagesByQueue", {}).items():
        for message in messages:
            identifier = message["basicProperties"]["messageId"]
            yield Item(queue, None, base64.b64decode(message["data"]), identifier, message["redelivered"])


def handle(item: Item, context: Any) -> bool:
    """Do what the body says, and note it. False when it is poison."""
    task = task_of(item.body)
    while task.get("gate") and not Path(task["gate"]).exists():
        time.sleep(0.005)
    time.sleep(task.get("work", 0))
    poison = bool(task.get("poison"))
    line = {
        "id": task.get("id"),
        "poison": poison,
        "shard": item.shard,
        "position": item.position,
        "body": None if item.body is None else item.body[:100].decode(errors="replace"),
        "redelivered": item.redelivered,
        "time": time.monotonic(),
        "poller": _poller,
        "request": context.aws_request_id,
    }
    os.write(_ledger, json.dumps(line).encode() + b"\n")
    return not poison


def task_of(body: bytes | None) -> dict[str, Any]:
    try:
        task = json.loads(body or b"")
    except ValueError:
        return {}
    return task if isinstance(task, dict) else {}
