"""Records to SQS, SNS, EventBridge and S3 through AWS's own client, or to what answers at their addresses (B.3, B.4).

Needs the extra `aws`. Credentials, profile and addresses come from where AWS's client looks for them: variables such as
AWS_ENDPOINT_URL_SQS, the profile, the machine's role. The region is the ARN's.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from poller.destinations.aws_refusals import refusal
from poller.errors import DestinationError, DestinationLoginRefused, DestinationRefused
from poller.model import DeadLetter

TIMEOUT = 5
"""Seconds to connect, and again for an answer; each letter is tried three times."""

NUMBERS = {"ErrorCode"}
"""Headers that are attributes of type Number (B.4)."""


_NOT_TAKEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that SQS and SNS refuse in attributes; an error's text may have some, such as those that colour it."""


@dataclass(frozen=True, slots=True)
class AwsTarget:
    """What an ARN names, at AWS or at what answers in its stead."""

    arn: str
    region: str
    """Of a bucket, whose ARN has none."""

    def __str__(self) -> str:
        return self.arn

    @property
    def service(self) -> str:
        """`sqs`, `sns`, `events` or `s3`."""
        return self.arn.split(":")[2]

    @property
    def name(self) -> str:
        """Of the queue, topic, bus or bucket."""
        return self.arn.split(":", 5)[5].removeprefix("event-bus/")


class AwsDestination:
    """One queue, topic, bus or bucket. Connects at the first `send`; the client keeps its connections by itself."""

    def __init__(self, target: AwsTarget) -> None:
        self._target = target
        self._client: Any = None
        self._queue_url = ""
        by_service: Mapping[str, Callable[[bytes, Mapping[str, Any]], None]] = {
            "sqs": self._to_queue,
            "sns": self._to_topic,
            "events": self._to_bus,
            "s3": self._to_bucket,
        }
        self._send_one = by_service[target.service]

    def send(self, letters: Sequence[DeadLetter]) -> None:
        """Send one by one, each confirmed; blocks half a minute at most for each.

        A letter that is too large is refused, as on AWS: it does not go without its payload.

        Raises:
            DestinationRefused: a letter, the sender or the place is refused; the letters before it have arrived.
            DestinationLoginRefused: the next `send` looks for credentials anew.
            DestinationError: nobody answered, or the service cannot now.
        """
        for letter in letters:
            self._send(letter.body, {name: _attribute(name, value) for name, value in letter.headers})

    def close(self) -> None:
        """Drop the connections."""
        client, self._client = self._client, None
        if client is not None:
            client.close()

    def _send(self, body: bytes, attributes: Mapping[str, Any]) -> None:
        from botocore.exceptions import BotoCoreError, ClientError, ParamValidationError  # noqa: PLC0415 - an extra

        try:
            if self._client is None:
                self._client = _client(self._target)
            self._send_one(body, attributes)
        except ClientError as error:
            told = error.response.get("Error", {})
            status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
            raise self._refused(str(told.get("Code")), str(told.get("Message")), status) from None
        except ParamValidationError as error:
            raise DestinationRefused(f"{self._target} cannot take this: {error}", "Record") from None
        except (BotoCoreError, ValueError) as error:  # no credentials, no answer, no such profile, no URL
            self.close()
            raise DestinationError(f"{self._target} cannot be reached: {error}") from None

    def _refused(self, code: str, message: str, status: int) -> DestinationError:
        error = refusal(f"{self._target} refuses: {code}: {message}", code, status)
        if isinstance(error, DestinationLoginRefused):
            self.close()
        return error

    def _to_queue(self, body: bytes, attributes: Mapping[str, Any]) -> None:
        if not self._queue_url:
            account = self._target.arn.split(":")[4]
            found = self._client.get_queue_url(QueueName=self._target.name, QueueOwnerAWSAccountId=account)
            self._queue_url = found["QueueUrl"]
        self._client.send_message(
            QueueUrl=self._queue_url, MessageBody=body.decode(errors="replace"), MessageAttributes=attributes
        )

    def _to_topic(self, body: bytes, attributes: Mapping[str, Any]) -> None:
        self._client.publish(
            TopicArn=self._target.arn, Message=body.decode(errors="replace"), MessageAttributes=attributes
        )

    def _to_bus(self, body: bytes, _: Mapping[str, Any]) -> None:
        event = json.loads(body)
        entry = {
            "Source": event["source"],
            "DetailType": event["detail-type"],
            "Detail": json.dumps(event["detail"]),
            "Resources": event["resources"],
            "EventBusName": self._target.arn,
        }
        answer = self._client.put_events(Entries=[entry])
        if answer.get("FailedEntryCount"):
            told = answer["Entries"][0]
            raise self._refused(str(told.get("ErrorCode")), str(told.get("ErrorMessage")), 0)

    def _to_bucket(self, body: bytes, _: Mapping[str, Any]) -> None:
        self._client.put_object(Bucket=self._target.name, Key=object_key(body), Body=body)


def object_key(record: bytes) -> str:
    """Key of a record in a bucket (B.3); the same for the same record, so that sending it twice makes one object."""
    told = json.loads(record)
    function = told["requestContext"]["functionArn"].split(":")[6]
    day, _, time = told["timestamp"].partition("T")
    number = uuid.uuid5(uuid.NAMESPACE_OID, told["requestContext"]["requestId"])
    return f"aws/lambda/async/{function}/{day.replace('-', '/')}/{day}T{time[:8].replace(':', '.')}-{number}"


def _attribute(name: str, value: bytes) -> dict[str, str]:
    text = _NOT_TAKEN.sub("\N{REPLACEMENT CHARACTER}", value.decode())
    return {"DataType": "Number" if name in NUMBERS else "String", "StringValue": text or "-"}


def _client(target: AwsTarget) -> Any:
    import boto3  # noqa: PLC0415 - an extra, and half a second to import
    from botocore.config import Config  # noqa: PLC0415

    config = Config(connect_timeout=TIMEOUT, read_timeout=TIMEOUT, retries={"total_max_attempts": 3})
    return boto3.Session().client(target.service, region_name=target.arn.split(":")[3] or target.region, config=config)
