"""What a repeated attempt does to an account: three ways to book the same payment.

An asynchronous event is tried again when its function fails, also when it failed after it had done its work. These
handlers do just that: with `"fail_at_first": true` in the event they book, and then raise at the first attempt.

| Handler | Does | Twice |
|---|---|---|
| `set_balance` | "the balance is 30" | the same as once: idempotent by its nature |
| `add` | "add 10" | books twice |
| `add_once` | "add 10", under the payment's number | books once: Powertools remembers the number |

Ordinary Lambda code: the same file runs on AWS, with Powertools' own DynamoDBPersistenceLayer in place of ours.
"""

from __future__ import annotations

from typing import Any

from accounts import Accounts
from aws_lambda_powertools.utilities.idempotency import IdempotencyConfig, idempotent_function
from persistence import SQLitePersistenceLayer

accounts = Accounts()
config = IdempotencyConfig(event_key_jmespath="payment")


def set_balance(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """State, not change: repeating it changes nothing."""
    balance = accounts.set(event["account"], event["balance"])
    _fail_at_first(event, context)
    return {"balance": balance}


def add(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """A change, repeated as often as the event is tried."""
    balance = accounts.add(event["account"], event["amount"])
    _fail_at_first(event, context)
    return {"balance": balance}


@idempotent_function(data_keyword_argument="payment", persistence_store=SQLitePersistenceLayer(), config=config)
def book(payment: dict[str, Any]) -> int:
    """A change that is made once for each number of a payment; the result of the first time is the result of all."""
    return accounts.add(payment["account"], payment["amount"])


def add_once(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """The same change. What may fail stands outside `book`: Powertools forgets a number whose function raised."""
    config.register_lambda_context(context)
    balance = book(payment=event)
    _fail_at_first(event, context)
    return {"balance": balance}


def look(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """What an account holds, and how often an event was tried."""
    balance, attempts = accounts.look(event["account"], event["request_id"])
    return {"balance": balance, "attempts": attempts}


def _fail_at_first(event: dict[str, Any], context: Any) -> None:
    if event.get("fail_at_first") and accounts.attempt(context.aws_request_id) == 1:
        raise RuntimeError("the work is done, and its end is not")
