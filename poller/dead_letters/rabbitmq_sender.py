"""Sends redriven messages to RabbitMQ queues: persistent as they were, mandatory, each confirmed."""

# mypy: allow-untyped-calls
# pika's annotations have gaps.

from __future__ import annotations

from collections.abc import Sequence

import pika
from pika.exceptions import ChannelClosedByBroker, NackError, UnroutableError

from poller.dead_letters.amqp_headers import exact_headers
from poller.dead_letters.letter import LetterRefusedError, RabbitMQOriginal
from poller.dead_letters.rabbitmq_client import RabbitMQClient, translated, virtual_host_of, with_virtual_host
from poller.destinations.rabbitmq import reason


class RabbitMQSender:
    """Publishes to queues of one broker through its default exchange, so that no other queue gets a copy.

    For one thread; everything blocks.

    Args:
        url: `amqp://user:password@host:port/vhost`, or `amqps://`; the virtual host is for messages that name none.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._clients: dict[str, RabbitMQClient] = {}

    def send(self, originals: Sequence[RabbitMQOriginal]) -> int:
        """Publish one by one, and return how many the broker has confirmed: all, or an error is raised.

        Raises:
            LetterRefusedError: one of them is refused for what it is or where it goes.
            LettersError: the broker is not there, or the login is refused.
        """
        confirmed = 0
        for original in originals:
            client = self._client(original.virtual_host or virtual_host_of(self._url))
            properties = pika.BasicProperties(**original.properties)
            with translated(client.where):
                channel = client.channel()
                try:
                    with exact_headers():
                        channel.basic_publish("", original.queue, original.body, properties, mandatory=True)
                except UnroutableError:
                    raise LetterRefusedError(f"there is no queue {original.queue} on {client.where}") from None
                except (NackError, ChannelClosedByBroker) as error:
                    raise LetterRefusedError(
                        f"the queue {original.queue} on {client.where}: {reason(error)}"
                    ) from error
            confirmed += 1
        return confirmed

    def beat(self) -> None:
        """Keep the connections alive during a pause."""
        for client in self._clients.values():
            client.beat()

    def close(self) -> None:
        """Leave the broker."""
        for client in self._clients.values():
            client.close()

    def _client(self, virtual_host: str) -> RabbitMQClient:
        if virtual_host not in self._clients:
            self._clients[virtual_host] = RabbitMQClient(with_virtual_host(self._url, virtual_host))
        return self._clients[virtual_host]
