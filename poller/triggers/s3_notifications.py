"""What S3 servers say of their objects: bodies of notifications, read as values. Pure.

Servers agree on the outline of AWS's records and differ in the rest. Versity's gateway, with which this is tested, and
by its source Ceph give keys as they are; AWS and by its source MinIO form-url-encode them. The `s3:` before an event's
name, quotes around an ETag and the capital letter of `PrincipalId` come and go. A `Notification` is what they mean.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote_plus

LARGEST_BODY = 1024 * 1024
"""Bytes. A record takes one or two KB, and servers send one or a few at once."""

VERSITY = frozenset({"kafka-global", "nats-global", "rabbitmq-global", "webhook-global"})
"""Values of `configurationId` by which Versity's gateway is known."""
CEPH = "ceph:s3"
"""`eventSource` of Ceph's."""

AWS_NAMES = {"ObjectRemoved:DeleteObjects": "ObjectRemoved:Delete"}
"""Events that a server names otherwise than AWS: Versity's for each object that DeleteObjects removed."""

_LONGEST_SHOWN = 60


class NoNotification(ValueError):  # noqa: N818 - reads as what it says
    """A body that is no notification of S3; the text says what is wrong with it, for who sent it."""


@dataclass(frozen=True, slots=True)
class Notification:
    """One thing that happened to one object. Texts are empty where the server did not say."""

    name: str
    """As in AWS's events, without `s3:`, such as `ObjectCreated:Put`."""
    bucket: str
    key: str
    """As it is, not encoded."""
    time: datetime | None = None
    region: str = ""
    principal: str = ""
    owner: str = ""
    source_address: str = ""
    request_id: str = ""
    host_id: str = ""
    size: int | None = None
    etag: str = ""
    version_id: str = ""
    sequencer: str = ""
    restored_until: str = ""
    restored_class: str = ""


def notifications(body: bytes) -> Sequence[Notification]:
    """What a body says; nothing for the test event that a server sends when notifications are set up.

    Raises:
        NoNotification: it is something else. Then none of its records counts.
    """
    try:
        content = json.loads(body)
    except (ValueError, RecursionError) as error:  # not UTF-8, not JSON, a number of 5,000 digits, nested too deeply
        raise NoNotification(f"The body is not JSON: {_shortened(str(error) or type(error).__name__)}.") from None
    if not isinstance(content, dict):
        raise NoNotification("The body is not an object with Records.")
    if content.get("Event") == "s3:TestEvent":
        return ()
    records = content.get("Records")
    if not isinstance(records, list):
        raise NoNotification("The body has no list Records.")
    return [_notification(record, f"Records[{index}]") for index, record in enumerate(records)]


def _notification(record: Any, path: str) -> Notification:
    source = _at(record, "eventSource")
    if not isinstance(source, str) or not source.endswith(":s3"):  # aws:s3, minio:s3, ceph:s3
        raise NoNotification(f"{path}.eventSource is {_shown(source)}; it would be aws:s3.")
    name = _required(record, path, "eventName").removeprefix("s3:")
    bucket = _required(record, path, "s3", "bucket", "name")
    key = _required(record, path, "s3", "object", "key")
    if source != CEPH and _text(record, "s3", "configurationId") not in VERSITY:
        key = unquote_plus(key)
    size = _at(record, "s3", "object", "size")
    restored = ("glacierEventData", "restoreEventData")
    return Notification(
        AWS_NAMES.get(name, name),
        bucket,
        key,
        time=_time(_text(record, "eventTime")),
        region=_text(record, "awsRegion"),
        principal=_principal(record, "userIdentity"),
        owner=_principal(record, "s3", "bucket", "ownerIdentity"),
        source_address=_text(record, "requestParameters", "sourceIPAddress"),
        request_id=_text(record, "responseElements", "x-amz-request-id"),
        host_id=_text(record, "responseElements", "x-amz-id-2"),
        size=size if isinstance(size, int) and not isinstance(size, bool) else None,
        etag=(_text(record, "s3", "object", "eTag") or _text(record, "s3", "object", "etag")).strip('"'),
        version_id=_text(record, "s3", "object", "versionId"),
        sequencer=_text(record, "s3", "object", "sequencer"),
        restored_until=_text(record, *restored, "lifecycleRestorationExpiryTime"),
        restored_class=_text(record, *restored, "lifecycleRestoreStorageClass"),
    )


def _at(value: Any, *path: str) -> Any:
    """What stands there; None where nothing does."""
    for part in path:
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _text(record: Any, *path: str) -> str:
    value = _at(record, *path)
    return value if isinstance(value, str) and _is_unicode(value) else ""


def _required(record: Any, path: str, *place: str) -> str:
    value = _at(record, *place)
    if not isinstance(value, str) or not value or not _is_unicode(value):
        raise NoNotification(f"{path}.{'.'.join(place)} is {_shown(value)}; it would be a text.")
    return value


def _principal(record: Any, *path: str) -> str:
    return _text(record, *path, "principalId") or _text(record, *path, "PrincipalId")


def _is_unicode(text: str) -> bool:
    """Whether it can be written as UTF-8: JSON can hold half of a surrogate pair."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _time(text: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text)
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None


def _shown(value: Any) -> str:
    if value is None:
        return "missing"
    return _shortened(json.dumps(value)) if isinstance(value, str | int | float | bool) else type(value).__name__


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}…"
