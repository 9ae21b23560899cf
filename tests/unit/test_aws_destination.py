"""Records to SQS, SNS, EventBridge and S3 through AWS's own client, at what answers in their stead (B.3, B.4)."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.parse import parse_qs

import pytest
from builders import function_error

from poller.destinations.aws import AwsDestination, AwsTarget, object_key
from poller.destinations.aws_refusals import refusal
from poller.errors import DestinationError, DestinationLoginRefused, DestinationRefused
from poller.model import DeadLetter
from poller.policy.async_events import Ended
from poller.policy.async_records import EndedEvent, dead_letter, event_bridge_letter, record_letter

pytest.importorskip("boto3")

NOW = 1_764_027_018.123
ARN = "arn:aws:lambda:eu-west-1:123456789012:function:FN:$LATEST"
QUEUE = "arn:aws:sqs:eu-west-1:123456789012:failed"
TOPIC = "arn:aws:sns:eu-west-1:123456789012:dead"
BUS = "arn:aws:events:eu-west-1:123456789012:event-bus/results"
BUCKET = "arn:aws:s3:::results"
EVENT = EndedEvent("id", ARN, b'{"the":"event"}', Ended("RetriesExhausted", 3), function_error(), function_error())
RECORD = record_letter(EVENT, now=NOW)


class Services(HTTPServer):
    """Answers as the four services do, and keeps what it was asked."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: list[tuple[str, dict[str, str], bytes]] = []
        """Path, headers and body."""
        self.largest = 1_000_000
        """Bytes of a request; larger ones are refused."""
        self.failed_entries = 0
        self.refused_key = ""
        """Access key whose requests are refused."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def sent(self, operation: str) -> list[dict[str, object]]:
        """Bodies of JSON requests of that operation."""
        return [json.loads(body) for _, headers, body in self.asked if headers["x-amz-target"].endswith(operation)]


class _Handler(BaseHTTPRequestHandler):
    server: Services

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        headers.setdefault("x-amz-target", "")
        self.server.asked.append((self.path, headers, body))
        target = headers["x-amz-target"]
        if self.server.refused_key and f"={self.server.refused_key}/" in headers["authorization"]:
            self._answer(403, b'{"__type":"InvalidClientTokenId","message":"The security token is invalid."}')
        elif len(body) > self.server.largest:
            self._answer(400, b'{"__type":"InvalidParameterValue","message":"One or more parameters are invalid."}')
        elif target.endswith("GetQueueUrl"):
            self._answer(200, json.dumps({"QueueUrl": f"{self.server.url}/123456789012/failed"}).encode())
        elif target.endswith("PutEvents"):
            failed = self.server.failed_entries
            entry = {"ErrorCode": "InternalFailure", "ErrorMessage": "odd"} if failed else {"EventId": "1"}
            self._answer(200, json.dumps({"FailedEntryCount": failed, "Entries": [entry]}).encode())
        elif b"Action=Publish" in body:
            self._answer(
                200, b"<PublishResponse><PublishResult><MessageId>1</MessageId></PublishResult></PublishResponse>"
            )
        else:
            self._answer(200, b'{"MessageId":"1"}' if target else b"")

    do_PUT = do_POST

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def services(monkeypatch: pytest.MonkeyPatch) -> Iterator[Services]:
    server = Services()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    variables = {
        "AWS_ENDPOINT_URL": server.url,
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def send(arn: str, *letters: DeadLetter) -> None:
    destination = AwsDestination(AwsTarget(arn, "eu-west-1"))
    try:
        destination.send(letters)
    finally:
        destination.close()


def test_a_queue_gets_the_record_as_a_message(services: Services) -> None:  # B.3
    send(QUEUE, RECORD, RECORD)
    assert services.sent("GetQueueUrl") == [{"QueueName": "failed", "QueueOwnerAWSAccountId": "123456789012"}]
    messages = services.sent("SendMessage")
    assert [message["MessageBody"] for message in messages] == [RECORD.body.decode()] * 2
    assert "/eu-west-1/sqs/" in services.asked[0][1]["authorization"], "signed for the ARN's region"


@pytest.mark.statement(24)
def test_a_dead_letter_queue_gets_the_event_and_three_attributes(services: Services) -> None:
    """B.4, G 24."""
    send(QUEUE, dead_letter(EVENT))
    (message,) = services.sent("SendMessage")
    assert message["MessageBody"] == '{"the":"event"}'
    assert message["MessageAttributes"] == {
        "RequestID": {"DataType": "String", "StringValue": "id"},
        "ErrorCode": {"DataType": "Number", "StringValue": "200"},
        "ErrorMessage": {"DataType": "String", "StringValue": "boom"},
    }


def test_characters_that_no_attribute_may_have_do_not_keep_a_dead_letter_away(services: Services) -> None:
    send(QUEUE, DeadLetter(b"{}", headers=(("ErrorMessage", b"\x1b[31mred\x1b[0m\x00\t\n"), ("ErrorCode", b"200"))))
    (message,) = services.sent("SendMessage")
    assert message["MessageAttributes"] == {
        "ErrorMessage": {"DataType": "String", "StringValue": "\ufffd[31mred\ufffd[0m\ufffd\t\n"},
        "ErrorCode": {"DataType": "Number", "StringValue": "200"},
    }


def test_a_topic_gets_the_event_and_three_attributes(services: Services) -> None:  # B.4
    send(TOPIC, dead_letter(EVENT))
    told = parse_qs(services.asked[0][2].decode())
    assert (told["TopicArn"], told["Message"]) == ([TOPIC], ['{"the":"event"}'])
    names = {value[0] for name, value in told.items() if name.endswith(".Name")}
    assert names == {"RequestID", "ErrorCode", "ErrorMessage"}


def test_a_bus_gets_the_event(services: Services) -> None:  # B.3
    letter = event_bridge_letter(EVENT, bus_arn=BUS, account="123456789012", region="eu-west-1", id_="1", now=NOW)
    send(BUS, letter)
    (asked,) = services.sent("PutEvents")
    (entry,) = asked["Entries"]  # type: ignore[misc]
    assert json.loads(entry.pop("Detail")) == json.loads(RECORD.body)
    assert entry == {
        "Source": "lambda",
        "DetailType": "Lambda Function Invocation Result - Failure",
        "Resources": [BUS, ARN],
        "EventBusName": BUS,
    }


def test_a_bucket_gets_an_object_under_the_key_of_the_specification(services: Services) -> None:  # B.3
    send(BUCKET, RECORD)
    path, headers, body = services.asked[0]
    assert path.startswith("/results/aws/lambda/async/FN/2025/11/24/2025-11-24T23.30.18-")
    assert path == f"/results/{object_key(RECORD.body)}", "sent twice it is the same object"
    assert RECORD.body in body or body == RECORD.body
    assert "/eu-west-1/s3/" in headers["authorization"], "a bucket's ARN names no region"


def test_a_record_that_is_too_large_is_refused_and_does_not_go_without_its_payloads(services: Services) -> None:  # B.3
    services.largest = 2000
    large = record_letter(replace(EVENT, payload=b'"' + b"x" * 2000 + b'"'), now=NOW)
    with pytest.raises(DestinationRefused) as refused:
        send(QUEUE, large)
    assert refused.value.kind == "Record"
    assert len(services.sent("SendMessage")) == 1


def test_what_is_refused_or_not_answered_is_told(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    services.largest = 10
    with pytest.raises(DestinationError, match=f"{QUEUE} refuses: InvalidParameterValue: One or more"):
        send(QUEUE, dead_letter(EVENT))
    services.largest, services.failed_entries = 1_000_000, 1
    letter = event_bridge_letter(EVENT, bus_arn=BUS, account="1", region="eu-west-1", id_="1", now=NOW)
    with pytest.raises(DestinationError, match="refuses: InternalFailure: odd"):
        send(BUS, letter)
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.setenv("HOME", "/nonexistent")
    with pytest.raises(DestinationError, match="cannot be reached"):
        send(QUEUE, RECORD)


@pytest.mark.parametrize(
    ("code", "status", "kind"),
    [
        ("QueueDoesNotExist", 400, "Missing"),
        ("com.amazonaws.sqs#QueueDoesNotExist", 400, "Missing"),
        ("AWS.SimpleQueueService.NonExistentQueue", 400, "Missing"),
        ("NotFound", 404, "Missing"),
        ("ResourceNotFoundException", 400, "Missing"),
        ("NoSuchBucket", 404, "Missing"),
        ("AuthorizationError", 403, "Denied"),
        ("AccessDeniedException", 400, "Denied"),
        ("SomethingNew", 403, "Denied"),
        ("InvalidParameterValue", 400, "Record"),
        ("InvalidParameter", 400, "Record"),
        ("EntityTooLarge", 400, "Record"),
        ("MalformedDetail", 0, "Record"),
    ],
)
def test_refusals_for_good_are_told_apart(code: str, status: int, kind: str) -> None:
    error = refusal("text", code, status)
    assert isinstance(error, DestinationRefused)
    assert (error.kind, str(error)) == (kind, "text")


@pytest.mark.parametrize(
    ("code", "status"),
    [("ThrottlingException", 400), ("SlowDown", 503), ("InternalFailure", 0), ("TooMany", 429), ("Odd", 500)],
)
def test_throttles_and_faults_of_the_service_are_for_another_try(code: str, status: int) -> None:
    assert type(refusal("text", code, status)) is DestinationError


def test_credentials_that_are_not_taken_are_looked_for_anew_at_the_next_send(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    destination = AwsDestination(AwsTarget(QUEUE, "eu-west-1"))
    services.refused_key = "key"
    with pytest.raises(DestinationLoginRefused, match="InvalidClientTokenId"):
        destination.send([RECORD])
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "another")
    destination.send([RECORD])
    destination.close()
    assert len(services.sent("SendMessage")) == 1
