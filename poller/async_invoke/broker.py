"""The setting `AsyncQueue`: the broker whose queues asynchronous events wait in, as `poller run` opens it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from poller.async_invoke.configuration import AsyncConfiguration, FunctionTarget
from poller.async_invoke.event_store import EventStore
from poller.async_invoke.lanes import AsyncFunction, most_running
from poller.async_invoke.rows import Kind
from poller.clock import Clock
from poller.endpoints import rabbitmq_url

if TYPE_CHECKING:
    from pathlib import Path

    from poller.settings import Settings

KINDS: tuple[Kind, ...] = ("OnSuccess", "OnFailure", "DeadLetterQueue")


def queue_url(settings: Settings, folder: Path) -> str | None:
    """The complete URL of `AsyncQueue`; None when it is not set.

    Args:
        settings: all.
        folder: what the path of a certificate authority is relative to.

    Raises:
        ValueError: it is wrong; the text does not repeat it, since it may hold a password.
    """
    if settings.AsyncQueue is None:
        return None
    url = settings.AsyncQueue.get_secret_value()
    try:
        parts = urlsplit(url)
    except ValueError:
        raise ValueError("is not a URL") from None
    virtual_host = unquote(parts.path[1:]) or "/"
    return rabbitmq_url(parts._replace(path="").geturl(), None, None, virtual_host, folder=folder)


def kinds_of(configuration: AsyncConfiguration) -> tuple[Kind, ...]:
    """Destinations whose records wait on the broker: all but other functions."""
    found = ((kind, configuration.destination(kind)) for kind in KINDS)
    return tuple(kind for kind, place in found if place is not None and not isinstance(place.target, FunctionTarget))


def broker_store(
    settings: Settings,
    folder: Path,
    names: Callable[[], Iterable[str]],
    function: Callable[[str, str], AsyncFunction | None],
    clock: Clock,
) -> Callable[[], EventStore] | None:
    """Opens the broker's queues; None without `AsyncQueue`. Its library is imported only then.

    Args:
        settings: checked before.
        folder: as `queue_url`.
        names: of the functions that this program has now, and `function:qualifier` of versions and aliases with
            destinations of their own; any thread.
        function: as `AsyncInvoker`.
        clock: for the time at which events come.
    """
    url = queue_url(settings, folder)
    if url is None:
        return None
    from poller.async_invoke.amqp_consumers import Wanted  # noqa: PLC0415
    from poller.async_invoke.amqp_store import RabbitMQStore  # noqa: PLC0415
    from poller.async_invoke.amqp_topology import Topology  # noqa: PLC0415

    def wanted() -> dict[str, Wanted]:
        found = {}
        for name in names():
            function_name, _, qualifier = name.partition(":")
            one = function(function_name, qualifier)
            if one is not None:
                # As many again as run: the next one is there when one has ended.
                at_once = 0 if qualifier else 2 * most_running(one.function.reserved_concurrent_executions)
                found[name] = Wanted(at_once, kinds_of(one.asynchronous))
        return found

    topology = Topology(settings.AccountId, settings.Region)
    return lambda: RabbitMQStore(url, topology, wanted, time_scale=settings.TimeScale, clock=clock)
