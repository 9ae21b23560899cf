"""A function's event invoke configuration and dead-letter queue, as models of the API (B.2, B.4)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from poller.validation import Integer, Model

DestinationType = Literal["SQS", "SNS", "Lambda", "EventBridge", "S3Bucket"]


class EventDestination(Model):
    """Where records of asynchronous invocations go."""

    Type: DestinationType | None = None
    """Of AWS::Serverless::Function only: what the ARN is of. It may be left out."""
    Destination: Annotated[str, Field(max_length=350)] = ""
    """ARN of another function of the template, or of an SQS queue, SNS topic, EventBridge bus or (OnFailure) S3 bucket,
    which may have an address in `Metadata.Poller.Endpoints`; also `kafka://…`, `amqp://…` or `file:…`."""


class EventDestinations(Model):
    """For success and for failure."""

    OnSuccess: EventDestination = EventDestination()
    OnFailure: EventDestination = EventDestination()


class EventInvokeConfig(Model):
    """How a function's asynchronous events are treated (B.2)."""

    MaximumRetryAttempts: Annotated[Integer, Field(ge=0, le=2)] | None = None
    """Attempts after the first one that failed, after 1 and 2 minutes; 2 by default."""
    MaximumEventAgeInSeconds: Annotated[Integer, Field(ge=60, le=21_600)] | None = None
    """Seconds after which an event is given up, 21600 by default."""
    DestinationConfig: EventDestinations = EventDestinations()


class DeadLetterTarget(Model):
    """The dead-letter queue of a function (B.4): `DeadLetterQueue` of SAM, `DeadLetterConfig` of CloudFormation."""

    Type: Literal["SQS", "SNS"] | None = None
    """Of AWS::Serverless::Function only: what the ARN is of."""
    TargetArn: str = ""
    """ARN of an SQS queue or SNS topic, which may have an address in `Metadata.Poller.Endpoints`."""
