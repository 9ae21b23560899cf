"""What pika's errors mean for a queue: what is wrong, what would be right, and the reason of C.2. Pure."""

# mypy: allow-untyped-calls
# pika's annotations have gaps.

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from pika import exceptions as pika_errors

from poller.errors import LOGIN_REFUSED, SourceError, SourceRejected, SourceUnavailable
from poller.sources.rabbitmq_event import RabbitMQSettings

_NOT_ALLOWED = "EVENT_SOURCE_AUTHZ_ERROR"
_ACCESS_REFUSED, _NOT_FOUND, _LOCKED = 403, 404, 405
"""AMQP reply codes; locked is another connection's exclusive queue."""
_SERVER_NAMED = "amq.gen-"


def name_of(settings: RabbitMQSettings) -> str:
    """The queue for a person."""
    return f"queue {settings.queue!r} in virtual host {settings.virtual_host!r}"


@contextmanager
def translated(settings: RabbitMQSettings) -> Iterator[None]:
    """No error of the client leaves the block but as SourceRejected or SourceUnavailable."""
    try:
        yield
    except SourceError:
        raise
    except Exception as error:  # pika's have no common base
        raise source_error(error, settings) from error


def source_error(error: Exception, settings: RabbitMQSettings) -> SourceError:
    """What went wrong; the text repeats no login."""
    address, text = f"RabbitMQ at {settings.address}", str(error)
    if isinstance(error, pika_errors.ProbableAuthenticationError) and "ACCESS_REFUSED" in text:
        return SourceRejected(f"{address} refuses the credentials", code=LOGIN_REFUSED)
    if "CERTIFICATE_VERIFY_FAILED" in repr(error):
        reason = "has a certificate that is signed by an unknown authority or is not for this address"
        return SourceRejected(f"{address} {reason}", code=LOGIN_REFUSED)
    if isinstance(error, pika_errors.ProbableAccessDeniedError) and "NOT_ALLOWED" in text:
        refused = f"{address} gives no access to virtual host {settings.virtual_host!r}"
        return SourceRejected(refused) if "not found" in text else SourceRejected(refused, code=_NOT_ALLOWED)
    if isinstance(error, pika_errors.ChannelClosedByBroker) and (refusal := _of_the_queue(error, settings)) is not None:
        return refusal
    return SourceUnavailable(f"no connection to {address}: {error!r}")


def _of_the_queue(error: pika_errors.ChannelClosedByBroker, settings: RabbitMQSettings) -> SourceRejected | None:
    queue, address, said = name_of(settings), settings.address, str(error.reply_text)
    # While a broker starts, a queue whose process is not up yet is "not found", too.
    if error.reply_code == _NOT_FOUND and "no queue" in said:
        if settings.queue.startswith(_SERVER_NAMED):
            hint = "a name that the broker made ends with the connection it was made for: declare a queue with its own"
        else:
            hint = "declare it, as a mapping makes none"
        return SourceRejected(f"{queue} does not exist on {address}; {hint}")
    if error.reply_code == _LOCKED:
        hint = "declare it without exclusive, under a name of its own"
        return SourceRejected(
            f"{queue} on {address} is exclusive: only the connection that made it may read it; {hint}"
        )
    if error.reply_code == _ACCESS_REFUSED and "exclusive use" in said:
        hint = "end it or let it share the queue (x-single-active-consumer lets one read at a time)"
        return SourceRejected(f"{queue} on {address} has an exclusive consumer, so nobody else may read it; {hint}")
    if error.reply_code == _ACCESS_REFUSED:
        refused = f"RabbitMQ at {address} refuses {queue}: {said}; the user needs permission to read it"
        return SourceRejected(refused, code=_NOT_ALLOWED)
    return None


def is_stream(settings: RabbitMQSettings) -> SourceRejected:
    """Streams are no queues: nothing in them is settled, so nothing could be retried, rejected or dead-lettered."""
    return SourceRejected(
        f"{name_of(settings)} on {settings.address} is a stream, where messages cannot be acknowledged one by one; "
        "declare a queue with x-queue-type quorum or classic, and bind it to the exchange that feeds the stream"
    )
