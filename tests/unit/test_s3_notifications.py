"""Notifications of S3 servers: which functions they start, and the event of B.6 that these get."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from poller.triggers.s3_events import S3Trigger, event_of
from poller.triggers.s3_notifications import NoNotification, Notification, notifications

NOW = 1_764_064_800.0

AWS = {
    "eventVersion": "2.1",
    "eventSource": "aws:s3",
    "awsRegion": "eu-west-1",
    "eventTime": "2025-11-25T10:00:00.000Z",
    "eventName": "ObjectCreated:Put",
    "userIdentity": {"principalId": "P"},
    "requestParameters": {"sourceIPAddress": "203.0.113.9"},
    "responseElements": {"x-amz-request-id": "R", "x-amz-id-2": "I"},
    "s3": {
        "s3SchemaVersion": "1.0",
        "configurationId": "cfg",
        "bucket": {"name": "b", "ownerIdentity": {"principalId": "O"}, "arn": "arn:aws:s3:::b"},
        "object": {
            "key": "url-encoded+key/%C3%BC.txt",
            "size": 1024,
            "eTag": "e",
            "versionId": "v",
            "sequencer": "0055",
        },
    },
}
"""As B.6 has it."""

VERSITY = {
    "eventVersion": "2.2",
    "eventSource": "aws:s3",
    "awsRegion": "us-east-1",
    "eventTime": "2026-11-25T18:44:01+01:00",
    "eventName": "s3:ObjectCreated:Put",
    "userIdentity": {"PrincipalId": "gateway"},
    "requestParameters": {"sourceIPAddress": "127.0.0.1"},
    "responseElements": {"x-amz-request-id": "", "x-amz-id-2": ""},
    "s3": {
        "s3SchemaVersion": "1.0",
        "configurationId": "webhook-global",
        "bucket": {
            "name": "bucket-1",
            "ownerIdentity": {"PrincipalId": "gateway"},
            "arn": "arn:aws:s3:::/bucket-1/a b+c%20/ü.txt",
        },
        "object": {"key": "a b+c%20/ü.txt", "size": 7, "eTag": '"9a03"', "versionId": None, "sequencer": "1"},
    },
    "glacierEventData": {
        "restoreEventData": {"lifecycleRestorationExpiryTime": "", "lifecycleRestoreStorageClass": ""}
    },
}
"""As Versity's gateway 1.8.0 sent it."""

MINIO = {
    "eventVersion": "2.0",
    "eventSource": "minio:s3",
    "awsRegion": "",
    "eventTime": "2025-11-25T10:00:00.123Z",
    "eventName": "s3:ObjectCreated:Put",
    "userIdentity": {"principalId": "minioadmin"},
    "requestParameters": {"principalId": "minioadmin", "region": "", "sourceIPAddress": "172.17.0.1"},
    "responseElements": {"x-amz-id-2": "dd9", "x-amz-request-id": "17A", "x-minio-deployment-id": "d"},
    "s3": {
        "s3SchemaVersion": "1.0",
        "configurationId": "Config",
        "bucket": {"name": "b", "ownerIdentity": {"principalId": "minioadmin"}, "arn": "arn:aws:s3:::b"},
        "object": {
            "key": "photos%2Fa+b.jpg",
            "size": 3,
            "eTag": "900150983cd24fb0d6963f7d28e17f72",
            "contentType": "image/jpeg",
            "userMetadata": {"content-type": "image/jpeg"},
            "sequencer": "17A5B6",
        },
    },
    "source": {"host": "172.17.0.1", "port": "", "userAgent": "MinIO"},
}


def body(*records: Any, **around: Any) -> bytes:
    return json.dumps({**around, "Records": list(records)}).encode()


def changed(record: dict[str, Any], **members: Any) -> dict[str, Any]:
    return {**record, **members}


def with_object(record: dict[str, Any], **members: Any) -> dict[str, Any]:
    return {**record, "s3": {**record["s3"], "object": {**record["s3"]["object"], **members}}}


def event(record: dict[str, Any]) -> dict[str, Any]:
    """The one record that a function gets."""
    (notification,) = notifications(body(record))
    (made,) = json.loads(event_of(notification, "cfg", region="eu-west-1", now=NOW))["Records"]
    return made  # type: ignore[no-any-return]


# --- the event ------------------------------------------------------------------------------------------------------


def test_a_function_gets_the_event_of_the_specification() -> None:  # B.6
    assert event(AWS) == AWS


def test_what_versity_sends_becomes_the_same_event() -> None:  # B.6
    assert event(VERSITY) == {
        **AWS,
        "awsRegion": "us-east-1",
        "eventTime": "2026-11-25T17:44:01.000Z",
        "userIdentity": {"principalId": "gateway"},
        "requestParameters": {"sourceIPAddress": "127.0.0.1"},
        "responseElements": {"x-amz-request-id": "", "x-amz-id-2": ""},
        "s3": {
            "s3SchemaVersion": "1.0",
            "configurationId": "cfg",
            "bucket": {
                "name": "bucket-1",
                "ownerIdentity": {"principalId": "gateway"},
                "arn": "arn:aws:s3:::bucket-1",
            },
            "object": {"key": "a+b%2Bc%2520/%C3%BC.txt", "size": 7, "eTag": "9a03", "sequencer": "1"},
        },
    }


def test_what_minio_sends_becomes_the_same_event() -> None:  # B.6
    made = event(MINIO)
    assert set(made) == set(AWS)
    assert (made["eventSource"], made["awsRegion"], made["eventName"]) == ("aws:s3", "eu-west-1", "ObjectCreated:Put")
    assert made["s3"]["object"] == {
        "key": "photos/a+b.jpg",
        "size": 3,
        "eTag": "900150983cd24fb0d6963f7d28e17f72",
        "sequencer": "17A5B6",
    }


def test_what_ceph_sends_becomes_the_same_event() -> None:  # B.6
    sent = with_object(
        changed(AWS, eventSource="ceph:s3", eventTime="2025-11-25 10:00:00.933439Z"), key="in/a b+c%20.txt"
    )
    sent["s3"]["object"]["etag"] = sent["s3"]["object"].pop("eTag")
    made = event(sent)
    assert (made["eventSource"], made["eventTime"]) == ("aws:s3", "2025-11-25T10:00:00.933Z")
    assert made["s3"]["object"] == {**AWS["s3"]["object"], "key": "in/a+b%2Bc%2520.txt"}  # type: ignore[index]


def test_a_removed_object_has_neither_size_nor_etag() -> None:
    made = event(changed(VERSITY, eventName="s3:ObjectRemoved:Delete"))
    assert set(made["s3"]["object"]) == {"key", "sequencer"}


def test_each_object_of_a_delete_of_many_is_a_delete_as_on_aws() -> None:
    assert event(changed(VERSITY, eventName="s3:ObjectRemoved:DeleteObjects"))["eventName"] == "ObjectRemoved:Delete"


def test_only_a_restored_object_has_data_of_glacier() -> None:
    data = {"restoreEventData": {"lifecycleRestorationExpiryTime": "T", "lifecycleRestoreStorageClass": "GLACIER"}}
    restored = changed(AWS, eventName="ObjectRestore:Completed", glacierEventData=data)
    assert event(restored)["glacierEventData"] == data
    assert "glacierEventData" not in event(changed(AWS, glacierEventData=data))


@pytest.mark.parametrize("time", ["", "yesterday", "0001-01-01T00:00:00+23:00", None, 5])
def test_without_a_time_it_is_now(time: Any) -> None:
    assert event(changed(AWS, eventTime=time))["eventTime"] == "2025-11-25T10:00:00.000Z"


# --- what is none ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        {"Service": "S3", "Event": "s3:TestEvent", "Time": "2026-11-25T17:44:00Z", "Bucket": "Test-Bucket"},
        {"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "b", "RequestId": "R", "HostId": "H"},
        {"Records": []},
    ],
)
def test_a_test_event_is_taken_and_starts_nothing(content: dict[str, Any]) -> None:
    assert list(notifications(json.dumps(content).encode())) == []


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "The body is not JSON"),
        (b"\xff\xfe", "The body is not JSON"),
        (b"{", "The body is not JSON"),
        (b"[" * 100_000, "The body is not JSON: maximum recursion depth"),
        (b'{"Records":' + b"9" * 5000 + b"}", "The body is not JSON"),
        (b"[]", "The body is not an object with Records"),
        (b"null", "The body is not an object"),
        (b"{}", "The body has no list Records"),
        (b'{"Records":{}}', "The body has no list Records"),
        (body(5), "Records[0].eventSource is missing"),
        (body(changed(AWS, eventSource="aws:sqs")), 'Records[0].eventSource is "aws:sqs"; it would be aws:s3'),
        (body(AWS, changed(AWS, eventName=None)), "Records[1].eventName is missing"),
        (body(changed(AWS, eventName=["x"])), "Records[0].eventName is list"),
        (body(changed(AWS, s3="x")), "Records[0].s3.bucket.name is missing"),
        (body(with_object(AWS, key="")), 'Records[0].s3.object.key is ""'),
        (body(with_object(AWS, key="\ud800")), r'Records[0].s3.object.key is "\ud800"'),
    ],
)
def test_what_is_no_notification_is_told(content: bytes, told: str) -> None:
    with pytest.raises(NoNotification) as caught:
        notifications(content)
    assert told in str(caught.value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@st.composite
def odd_records(draw: st.DrawFn) -> Any:
    """A right record, with odd values in some places."""
    record = json.loads(json.dumps(draw(st.sampled_from([AWS, VERSITY, MINIO]))))
    for _ in range(draw(st.integers(0, 3))):
        place = record
        while True:
            key = draw(st.sampled_from(sorted(place)))
            if not isinstance(place[key], dict) or not place[key] or draw(st.booleans()):
                break
            place = place[key]
        place[key] = draw(JSON)
    return record


@settings(deadline=None)
@given(st.lists(odd_records() | JSON, max_size=3), st.binary(max_size=20))
def test_any_body_is_read_or_refused(records: list[Any], other: bytes) -> None:
    for content in (body(*records), other, other + body(*records)):
        try:
            found = notifications(content)
        except NoNotification:
            continue
        for one in found:
            (made,) = json.loads(event_of(one, "cfg", region="eu-west-1", now=NOW))["Records"]
            assert made["eventSource"] == "aws:s3"


# --- which functions ------------------------------------------------------------------------------------------------


def trigger(*events: str, bucket: str = "b", prefix: str = "", suffix: str = "") -> S3Trigger:
    return S3Trigger("F.E", "F", bucket, events or ("s3:ObjectCreated:*",), prefix, suffix)


@pytest.mark.parametrize(
    ("one", "wanted"),
    [
        (trigger(), True),
        (trigger(bucket="c"), False),
        (trigger("s3:ObjectCreated:Put"), True),
        (trigger("s3:ObjectCreated:Copy"), False),
        (trigger("s3:ObjectCreated:Copy", "s3:ObjectCreated:Put"), True),
        (trigger("s3:ObjectRemoved:*"), False),
        (trigger(prefix="in/"), True),
        (trigger(prefix="in/", suffix=".jpg"), True),
        (trigger(prefix="out/"), False),
        (trigger(suffix=".JPG"), False),
        (trigger(prefix="in/a b", suffix="b.jpg"), True),
    ],
)
def test_bucket_event_prefix_and_suffix_choose_the_functions(one: S3Trigger, wanted: bool) -> None:
    assert one.wants(Notification("ObjectCreated:Put", "b", "in/a b.jpg")) is wanted


@pytest.mark.parametrize(
    ("one", "other", "overlap"),
    [
        (trigger(), trigger(), "Configurations overlap."),
        (trigger(), trigger(bucket="c"), ""),
        (trigger(), trigger("s3:ObjectRemoved:*"), ""),
        (trigger(), trigger("s3:ObjectCreated:Put"), "Configurations overlap."),
        (trigger("s3:ObjectCreated:Copy"), trigger("s3:ObjectCreated:Put"), ""),
        (trigger(prefix="a"), trigger(prefix="ab"), "Configuration is ambiguously defined."),
        (trigger(prefix="a"), trigger(prefix="b"), ""),
        (trigger(suffix=".jpg"), trigger(suffix="g"), "Configuration is ambiguously defined."),
        (trigger(suffix=".jpg"), trigger(suffix=".png"), ""),
        (trigger(prefix="a", suffix=".jpg"), trigger(prefix="ab", suffix=".png"), ""),
        (trigger(prefix="a", suffix=".jpg"), trigger(prefix="b", suffix=".jpg"), ""),
        (trigger(prefix="a"), trigger(suffix=".png"), "Configuration is ambiguously defined."),
    ],
)
def test_configurations_overlap_where_one_event_could_start_both(
    one: S3Trigger, other: S3Trigger, overlap: str
) -> None:
    assert one.overlaps(other).startswith(overlap)
    assert other.overlaps(one).startswith(overlap)
    assert bool(one.overlaps(other)) is bool(overlap)
