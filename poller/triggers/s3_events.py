"""Which functions a notification of S3 starts, and the event that each of them gets (B.6). Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote_plus

from poller.triggers.s3_notifications import Notification

EVENT_VERSION = "2.1"
WITHOUT_CONTENT = ("ObjectRemoved:", "LifecycleExpiration:")
"""Events after which there is no object to have a size and an ETag."""
RESTORED = "ObjectRestore:Completed"

OVERLAP = (
    "Configuration is ambiguously defined. Cannot have overlapping suffixes in two rules if the prefixes are "
    "overlapping for the same event type."
)
"""AWS's words where one event could start two configurations of a bucket."""
SHARED = "Configurations overlap. Configurations on the same bucket cannot share a common event type."
"""AWS's words where neither has a filter."""


@dataclass(frozen=True, slots=True)
class S3Trigger:
    """One function, and the events of one bucket that start it."""

    name: str
    """As the template calls it, such as `Thumbnail.Upload`; the `configurationId` of its events."""
    function_name: str
    bucket: str
    events: tuple[str, ...]
    """With `s3:`; the last part may be `*`."""
    prefix: str = ""
    """Of keys as they are."""
    suffix: str = ""

    def wants(self, notification: Notification) -> bool:
        """Whether this notification starts the function."""
        return (
            notification.bucket == self.bucket
            and notification.key.startswith(self.prefix)
            and notification.key.endswith(self.suffix)
            and any(includes(pattern, f"s3:{notification.name}") for pattern in self.events)
        )

    def overlaps(self, other: S3Trigger) -> str:
        """AWS's words where one event could start both; empty where none can."""
        if self.bucket != other.bucket or not share_events(self.events, other.events):
            return ""
        if not _either(self.prefix, other.prefix, str.startswith) or not _either(
            self.suffix, other.suffix, str.endswith
        ):
            return ""
        filtered = any((self.prefix, other.prefix, self.suffix, other.suffix))
        return OVERLAP if filtered else SHARED


def includes(pattern: str, event: str) -> bool:
    """Whether a pattern of a configuration, `s3:ObjectCreated:*` or `s3:ObjectCreated:Put`, means an event."""
    return event.startswith(pattern[:-1]) if pattern.endswith(":*") else event == pattern


def share_events(some: Iterable[str], others: Sequence[str]) -> bool:
    """Whether an event exists that patterns of both mean."""
    return any(includes(one, other) or includes(other, one) for one in some for other in others)


def _either(one: str, other: str, begins: Any) -> bool:
    return bool(begins(one, other) or begins(other, one))


def event_of(notification: Notification, configuration: str, *, region: str, now: float) -> bytes:
    """The event of B.6: one record, as S3 sends it.

    Args:
        notification: what happened.
        configuration: name of the trigger.
        region: where the server named none.
        now: seconds since the epoch, where the server gave no time.
    """
    time = notification.time or datetime.fromtimestamp(now, UTC)
    described: dict[str, Any] = {"key": quote_plus(notification.key, safe="/")}
    if not notification.name.startswith(WITHOUT_CONTENT):
        if notification.size is not None:
            described["size"] = notification.size
        if notification.etag:
            described["eTag"] = notification.etag
    if notification.version_id:
        described["versionId"] = notification.version_id
    described["sequencer"] = notification.sequencer
    record: dict[str, Any] = {
        "eventVersion": EVENT_VERSION,
        "eventSource": "aws:s3",
        "awsRegion": notification.region or region,
        "eventTime": f"{time.replace(tzinfo=None).isoformat(timespec='milliseconds')}Z",
        "eventName": notification.name,
        "userIdentity": {"principalId": notification.principal},
        "requestParameters": {"sourceIPAddress": notification.source_address},
        "responseElements": {"x-amz-request-id": notification.request_id, "x-amz-id-2": notification.host_id},
        "s3": {
            "s3SchemaVersion": "1.0",
            "configurationId": configuration,
            "bucket": {
                "name": notification.bucket,
                "ownerIdentity": {"principalId": notification.owner},
                "arn": f"arn:aws:s3:::{notification.bucket}",
            },
            "object": described,
        },
    }
    if notification.name == RESTORED:
        restored = {
            "lifecycleRestorationExpiryTime": notification.restored_until,
            "lifecycleRestoreStorageClass": notification.restored_class,
        }
        record["glacierEventData"] = {"restoreEventData": restored}
    return json.dumps({"Records": [record]}, separators=(",", ":")).encode()
