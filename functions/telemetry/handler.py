"""Takes device readings from Kafka: checks each one, and keeps count, extremes and mean per device.

A reading that is no reading does not hold up its neighbours: it is named in the partial batch response
(FunctionResponseTypes: ReportBatchItemFailures), tried again as often as the mapping says, and then goes to the
mapping's on-failure destination. Delivery is at least once, so storing is idempotent: see aggregates.py.

Ordinary Lambda code: the same file runs on AWS.
"""

from __future__ import annotations

import os
from functools import cache
from typing import Annotated, Any

from aggregates import Aggregates, Stored
from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.batch import BatchProcessor, EventType, process_partial_response
from aws_lambda_powertools.utilities.data_classes.kafka_event import KafkaEventRecord
from aws_lambda_powertools.utilities.typing import LambdaContext
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

logger = Logger()
# A batch in which every record failed is answered like any other: with the list of what failed.
processor = BatchProcessor(event_type=EventType.Kafka, raise_on_entire_batch_failure=False)


class Reading(BaseModel):
    """What a device may say. Anything outside is refused."""

    model_config = ConfigDict(strict=True)

    device: Annotated[str, Field(min_length=1, max_length=64)]
    temperature: Annotated[float, Field(ge=-60, le=85)]
    """Degrees Celsius, the range of the sensor."""
    humidity: Annotated[float, Field(ge=0, le=100)]
    battery: Annotated[float, Field(ge=0, le=100)]
    time: AwareDatetime


@cache
def aggregates() -> Aggregates:
    """Opened with the first event and kept while this environment is warm."""
    return Aggregates(os.environ.get("RESULTS_DIR", "/tmp/results"))  # noqa: S108 - the writable folder on AWS


def identity(record: KafkaEventRecord) -> str:
    """What makes a second delivery the same record: the producer's trace, else the place in the topic.

    The time belongs to the place: a topic that is deleted and made again counts its offsets from 0 again.
    """
    trace = record.decoded_headers.get("trace")
    if trace:
        return trace.decode(errors="replace")
    return f"{record.topic}-{record.partition}-{record.offset}@{record.timestamp}"


def read(record: KafkaEventRecord) -> Stored:
    """Check one record. Raises ValueError, which pydantic's ValidationError is, when it is no reading."""
    if record.get("value") is None:
        raise ValueError("a tombstone is no reading")
    reading = Reading.model_validate_json(record.decoded_value)
    return Stored(identity(record), reading.device, reading.temperature, reading.humidity, reading.battery)


def reason(error: BaseException | None) -> str:
    """Why a record was refused, in one line for the log."""
    if isinstance(error, ValidationError):
        return "; ".join(f"{'.'.join(map(str, part['loc']))} {part['msg']}".strip() for part in error.errors())
    return str(error)


@logger.inject_lambda_context
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Entry point. Replies with the records that failed; raises when nothing could be stored."""
    readings: list[Stored] = []
    response = process_partial_response(
        event=event, record_handler=lambda record: readings.append(read(record)), processor=processor, context=context
    )
    # One transaction for the batch. If it fails the whole batch fails, and comes again.
    aggregates().add(readings)
    if processor.fail_messages:
        refused = [
            {"record": identity(record), "reason": reason(exception[1])}
            for record, exception in zip(processor.fail_messages, processor.exceptions, strict=True)
        ]
        logger.warning("readings refused", extra={"stored": len(readings), "refused": refused})
    return dict(response)
