"""What tests of RabbitMQ queues share: their dead letters, and messages as the handler sees them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pika
import pytest
from brokers import RabbitMQBroker
from waiting import eventually

from poller.model import Record
from poller.sources.rabbitmq import RabbitMQSource

Opener = Callable[..., RabbitMQSource]
"""The fixture `opened_queue`."""

both_types = pytest.mark.parametrize("kind", ["quorum", "classic"])


def dead_letters(broker: RabbitMQBroker, queue: str) -> list[tuple[pika.BasicProperties, bytes]]:
    """Of the queue, once there is one."""
    return eventually(lambda: broker.drain(f"{queue}.dead"), what=f"a dead letter of {queue}")


def death_of(letter: tuple[pika.BasicProperties, bytes]) -> dict[str, Any]:
    """The newest entry of x-death."""
    newest: dict[str, Any] = letter[0].headers["x-death"][0]
    return newest


def basic_properties(source: RabbitMQSource, record: Record) -> dict[str, Any]:
    """As the handler sees them."""
    event = json.loads(source.build_event([record]))
    ((message,),) = event["rmqMessagesByQueue"].values()
    found: dict[str, Any] = message["basicProperties"]
    return found
