"""Takes invoices from a RabbitMQ queue and works out what is to be paid.

Delivery is at least once, so storing is idempotent: see ledger.py.

What happens to an invoice that cannot be worked out depends on who reads the queue:

* AWS has no partial batch response for RabbitMQ: a reply is ignored, and the whole batch counts as handled. Naming
  the failed messages in it would lose them. So the handler raises, the whole batch goes back to the queue, and the
  invoices that were stored already are passed over when they come again. The queue's delivery limit ends it.
* Where a mapping answers to ReportBatchItemFailures (Metadata.Poller.EventSources in the template), the handler
  names the messages by their messageId and only those come again, until they go to the dead-letter exchange.

PARTIAL_RESPONSE_SOURCE says for which event source the second holds. The template sets it to an ARN that stands for
a broker of your own and that no broker on AWS can have, so a deployment to AWS raises without any further setting.

Ordinary Lambda code: the same file runs on AWS.
"""

from __future__ import annotations

import base64
import hashlib
import os
from decimal import ROUND_HALF_UP, Decimal
from functools import cache
from typing import Annotated, Any, Literal

from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.data_classes.rabbit_mq_event import RabbitMessage, RabbitMQEvent
from aws_lambda_powertools.utilities.typing import LambdaContext
from ledger import Ledger, Total
from pydantic import BaseModel, Field, ValidationError

logger = Logger()

Money = Annotated[Decimal, Field(ge=0, max_digits=12, decimal_places=2)]


class Line(BaseModel):
    """One line of an invoice."""

    article: Annotated[str, Field(min_length=1)]
    quantity: Annotated[int, Field(gt=0, strict=True)]
    price: Money


class Invoice(BaseModel):
    """What the queue carries. Anything else is refused."""

    invoice: Annotated[str, Field(min_length=1)]
    currency: Literal["EUR", "CHF", "USD"]
    vat_percent: Annotated[Decimal, Field(ge=0, le=100)]
    lines: Annotated[list[Line], Field(min_length=1)]

    def total(self) -> Decimal:
        """Net sum of the lines plus value-added tax, rounded half up to the cent."""
        net = sum((line.quantity * line.price for line in self.lines), Decimal(0))
        return (net * (1 + self.vat_percent / 100)).quantize(Decimal("0.01"), ROUND_HALF_UP)


class InvoicesRefused(Exception):  # noqa: N818 - reads as what it says
    """Some messages of the batch are no invoices. The others are stored."""


@cache
def ledger() -> Ledger:
    """Opened with the first event and kept while this environment is warm."""
    return Ledger(os.environ.get("RESULTS_DIR", "/tmp/results"))  # noqa: S108 - the writable folder on AWS


def identity(message: RabbitMessage) -> str:
    """What makes a second delivery the same message: its messageId, else its content."""
    return message.basic_properties.message_id or hashlib.sha256(message.data.encode()).hexdigest()


def reason(error: ValidationError) -> str:
    """Why a message was refused, in one line for the log."""
    return "; ".join(f"{'.'.join(map(str, part['loc']))} {part['msg']}".strip() for part in error.errors())


@logger.inject_lambda_context
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Entry point. Replies with the messages that failed where that counts, else raises InvoicesRefused."""
    mq = RabbitMQEvent(event)
    totals: list[Total] = []
    refused: list[tuple[RabbitMessage, str]] = []
    for message in (message for messages in mq.rmq_messages_by_queue.values() for message in messages):
        try:
            invoice = Invoice.model_validate_json(base64.b64decode(message.data))
        except ValidationError as error:
            refused.append((message, reason(error)))
        else:
            totals.append(Total(identity(message), invoice.invoice, invoice.currency, invoice.total()))
    # One transaction for the batch. If it fails the whole batch fails, and comes again.
    ledger().add(totals)
    if not refused:
        return {"batchItemFailures": []}
    log = [{"message": identity(message), "reason": why} for message, why in refused]
    logger.warning("invoices refused", extra={"stored": len(totals), "refused": log})
    names = [message.basic_properties.message_id for message, _ in refused]
    if mq.event_source_arn == os.environ.get("PARTIAL_RESPONSE_SOURCE") and all(names):
        return {"batchItemFailures": [{"itemIdentifier": name} for name in names]}
    raise InvoicesRefused(f"{len(refused)} of {len(refused) + len(totals)} messages: {refused[0][1]}")
