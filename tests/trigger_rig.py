"""Triggers without threads, brokers and a disk: a queue that takes events or does not, and what puts them there."""

from __future__ import annotations

import json
from typing import Any

from scripted import FakeClock

from poller.api_errors import ApiError
from poller.errors import StateError
from poller.triggers.s3_events import S3Trigger
from poller.triggers.s3_intake import S3Intake


class AsyncQueue:
    """Stands for `AsyncInvoker`."""

    def __init__(self) -> None:
        self.accepted: list[tuple[str, Any]] = []
        """Functions, and the events they got."""
        self.broken = False
        """The disk does not work."""
        self.left = 1_000_000
        """Events until it breaks."""

    def accept(self, function_name: str, qualifier: str, payload: bytes) -> str:
        assert not qualifier
        if self.broken or self.left == 0:
            raise StateError("the disk is full")
        if function_name == "Gone":
            raise ApiError(404, "ResourceNotFoundException", "Function not found: Gone:$LATEST")
        self.left -= 1
        self.accepted.append((function_name, json.loads(payload)))
        return "id"

    @property
    def keys(self) -> list[tuple[str, str]]:
        """Functions, and the keys of the objects they were started for."""
        return [(name, event["Records"][0]["s3"]["object"]["key"]) for name, event in self.accepted]


TRIGGERS = (
    S3Trigger("Thumbnail.Upload", "Thumbnail", "photos", ("s3:ObjectCreated:*",), "", ".jpg"),
    S3Trigger("Audit.Any", "Audit", "photos", ("s3:ObjectCreated:*", "s3:ObjectRemoved:*")),
    S3Trigger("Gone.Any", "Gone", "old", ("s3:ObjectCreated:*",)),
)
"""Two functions of one bucket, and one that is not there any more. (A template would refuse the first two together.)"""


def intake(queue: AsyncQueue) -> S3Intake:
    return S3Intake(TRIGGERS, queue.accept, region="us-east-1", clock=FakeClock())


def notification(*keys: str, bucket: str = "photos", name: str = "s3:ObjectCreated:Put") -> bytes:
    records = [
        {"eventSource": "aws:s3", "eventName": name, "s3": {"bucket": {"name": bucket}, "object": {"key": key}}}
        for key in keys
    ]
    return json.dumps({"Records": records}).encode()
