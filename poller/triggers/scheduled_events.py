"""What a schedule gives its function: EventBridge's scheduled event, or its Input. Pure."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

_CONTEXT = re.compile(r"<aws\.scheduler\.(schedule-arn|scheduled-time|execution-id|attempt-number)>")
"""Words in an Input of EventBridge's Scheduler that it replaces."""


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a schedule."""

    identifier: str
    """Unique: the event's id."""
    time: float
    """Seconds since the epoch at which it was to be."""
    attempt: int = 1
    """Of putting it on the function's queue."""


def scheduled_event(arn: str, input_: str | None, run: Run) -> bytes:
    """What the function gets.

    A rule of EventBridge and a schedule of its Scheduler differ: in the source, and in the `detail`, which the latter
    gives as text. Only the latter replaces words in an Input.

    Args:
        arn: of the rule or schedule; it tells account and region, too.
        input_: JSON text in the event's place.
        run: which one.
    """
    _, _, service, region, account = arn.split(":")[:5]
    time = f"{datetime.fromtimestamp(int(run.time), UTC).replace(tzinfo=None).isoformat()}Z"
    is_rule = service == "events"
    if input_ is not None:
        words = {
            "schedule-arn": arn,
            "scheduled-time": time,
            "execution-id": run.identifier,
            "attempt-number": str(run.attempt),
        }
        return (input_ if is_rule else _CONTEXT.sub(lambda found: words[found[1]], input_)).encode()
    event: dict[str, Any] = {
        "version": "0",
        "id": run.identifier,
        "detail-type": "Scheduled Event",
        "source": "aws.events" if is_rule else "aws.scheduler",
        "account": account,
        "time": time,
        "region": region,
        "resources": [arn],
        "detail": {} if is_rule else "{}",
    }
    return json.dumps(event, separators=(",", ":")).encode()


def input_problem(arn: str, input_: str) -> str:
    """Why an Input is none; empty when it is one: JSON, with what is replaced in it replaced."""
    try:
        json.loads(scheduled_event(arn, input_, Run("0", 0.0)))
    except (ValueError, RecursionError) as error:
        return f"is not JSON: {error}"
    return ""
