"""kafka-python's connections, what became of them, and a defect of its joins: it tells nobody why something failed.

`Connections` is for consumers and producers alike: give `make` as their option `kafka_client`.
"""

# mypy: allow-untyped-calls
# kafka-python has no annotations.
# ruff: noqa: SLF001 - there is no public way to ask

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any

from kafka import ConsumerRebalanceListener, TopicPartition
from kafka import errors as kafka_errors
from kafka.net.compat import KafkaNetClient

from poller.errors import SourceError, SourceRejected, SourceUnavailable
from poller.sources import kafka_refusals
from poller.sources.kafka_oauth import TokenError
from poller.sources.kafka_python_crowd import crowd
from poller.sources.kafka_python_loop import drive_on_owners_thread
from poller.sources.kafka_refusals import Refusal, tls_refusal, token_refusal
from poller.sources.kafka_security import InvalidKeys

REFUSALS: dict[type[Exception], Refusal] = {
    kafka_errors.SaslAuthenticationFailedError: kafka_refusals.SASL,
    kafka_errors.UnsupportedSaslMechanismError: kafka_refusals.SASL,
    kafka_errors.IllegalSaslStateError: kafka_refusals.SASL,
    kafka_errors.AuthorizationError: kafka_refusals.ACCESS,
    kafka_errors.InconsistentGroupProtocolError: kafka_refusals.CONFIGURATION,  # other members use another assignor
    kafka_errors.InvalidGroupIdError: kafka_refusals.CONFIGURATION,
    kafka_errors.InvalidSessionTimeoutError: kafka_refusals.CONFIGURATION,
    kafka_errors.KafkaConfigurationError: kafka_refusals.CONFIGURATION,
    kafka_errors.UnsupportedCodecError: kafka_refusals.CONFIGURATION,  # records compressed with a codec not installed
}


class Connections:
    """The client of one consumer or producer, and the last failure of its connections.

    `make` runs on the owner's thread; failures are noted on the client's.
    """

    def __init__(self) -> None:
        self.client: KafkaNetClient | None = None
        self._failure: Exception | None = None
        self._in_crowd = False

    def make(self, **options: Any) -> KafkaNetClient:
        """The client. It is kept here, as the constructor that asks for it leaves it behind when it fails."""
        self._failure = None
        self.client = client = KafkaNetClient(**options)
        # Consumer and producer forget to pass allow_auto_create_topics on, and would make a topic by asking for it.
        client.cluster.config["allow_auto_create_topics"] = False
        self._watch(client._manager)
        return client

    def make_on_owners_thread(self, **options: Any) -> KafkaNetClient:
        """As `make`, for a consumer that is polled all the time: it needs no thread of the client's."""
        client = self.make(**options)
        drive_on_owners_thread(client)
        crowd.join()
        self._in_crowd = True
        return client

    def _watch(self, manager: Any) -> None:
        connect, build_transport = manager._connect, manager._build_transport

        async def _connect(node: Any, connection: Any, **others: Any) -> None:
            await connect(node, connection, **others)
            future = connection.init_future
            self._failure = future.exception if future.failed() else None
            refused = isinstance(self._failure, kafka_errors.SaslAuthenticationFailedError)
            if refused and manager.cluster.is_bootstrap(node.node_id):
                # The client has a place for this, but in 3.0.12 never puts it there, and would log in again and again
                # with the same password until its time is over. Later on it should: one broker of several may lag.
                manager._auth_failures[node.node_id] = self._failure

        async def _build_transport(*args: Any, **others: Any) -> Any:
            transport = await build_transport(*args, **others)
            _keep_last_words(transport)
            return transport

        manager._connect = _connect
        if manager.config["security_protocol"] == "SASL_SSL":
            manager._build_transport = _build_transport

    def close(self) -> None:
        """Close what is left of the client."""
        client = self.client
        self.forget()
        if self._in_crowd:
            self._in_crowd = False
            crowd.leave()
        if client is not None:
            client.close()

    def forget(self) -> None:
        """Its owner closes the client."""
        self.client = self._failure = None

    def refused(self, addresses: str) -> SourceError | None:
        """Why the last connection did not come about, if that was no mere failure of the network."""
        failure = self._failure
        if isinstance(failure, TokenError):
            return token_refusal(failure, addresses)
        return refusal_of(failure, addresses) if failure is not None else None

    @contextmanager
    def translated(self, addresses: str) -> Iterator[None]:
        """No error of the client leaves the block, save what was raised inside of a callback.

        Raises:
            SourceUnavailable: the cluster cannot be reached.
            SourceRejected: it refuses.
        """
        try:
            yield
        except SourceError:
            raise
        except TokenError as error:
            raise token_refusal(error, addresses) from None
        except InvalidKeys as error:
            raise kafka_refusals.KEYS.rejected(f"Kafka at {addresses}: {error}") from None
        except kafka_errors.KafkaTimeoutError as error:
            refused = self.refused(addresses)
            raise refused or SourceUnavailable(f"no Kafka broker answers at {addresses}") from error
        except Exception as error:
            cause = error.__cause__
            if isinstance(error, kafka_errors.KafkaError) and cause and not isinstance(cause, kafka_errors.KafkaError):
                raise cause from None
            refused = refusal_of(error, addresses)
            raise refused or SourceUnavailable(f"Kafka at {addresses}: {error}") from error


def _keep_last_words(transport: Any) -> None:
    """Let a broker's refusal count that comes together with the end of the connection: 3.0.12 throws it away."""
    receive = transport._sock_recv
    held: list[Exception] = []

    def _sock_recv() -> tuple[bytes, Exception | None]:
        if held:
            return b"", held.pop()
        data, error = receive()
        if data and error is not None:
            held.append(error)  # the socket stays readable, so it is asked again at once
            error = None
        return data, error

    transport._sock_recv = _sock_recv


def _in_words(error: Exception) -> str:
    """What the client's error says: Kafka's name for it, and for whom or what it is."""
    said = error.args[0] if error.args else ""
    names = ", ".join(sorted(said)) if isinstance(said, set | frozenset) else str(said).rpartition("Error: ")[2]
    kind = str(getattr(error, "message", "") or type(error).__name__)
    return f"{kind}: {names}" if names else kind


def refusal_of(error: Exception, addresses: str) -> SourceRejected | None:
    """What the cluster refuses, if it is that."""
    for kind, refusal in REFUSALS.items():
        if isinstance(error, kind):
            return refusal.rejected(f"Kafka at {addresses} refuses: {_in_words(error)}")
    if isinstance(error, kafka_errors.KafkaConnectionError) and (told := tls_refusal(str(error))) is not None:
        refusal, text = told
        return refusal.rejected(f"Kafka at {addresses}: {text}")
    return None


_OnPartitions = Callable[[Collection[TopicPartition]], None]


class _FinishedJoin:
    """A finished join that is taken for one under way, so that its outcome is used."""

    is_done = False

    def __init__(self, task: Any) -> None:
        self.add_callback = task.add_callback
        self.add_errback = task.add_errback


def keep_finished_joins(coordinator: Any) -> None:
    """Let a group's answer count that came between two polls.

    kafka-python 3.0.12 throws it away and joins anew, which makes every other member join anew: a member that polls in
    short slices, as the loop does while it waits for results, would keep its group rebalancing for ever. And the leader
    of a group that joins anew since its topic has more partitions takes itself to be done as soon as it has shared them
    out, so that a poll which ends right then leaves the group unjoined.
    """
    join, need_rejoin = coordinator.join_group_async, coordinator.need_rejoin

    def is_joining() -> bool:
        return coordinator._join_task is not None or bool(need_rejoin())

    async def join_group_async(timeout_ms: float | None = None) -> Any:
        task = coordinator._join_task
        if task is not None and task.is_done:
            coordinator._join_task = _FinishedJoin(task)
        return await join(timeout_ms)

    coordinator.join_group_async = join_group_async
    coordinator.need_rejoin = is_joining


class Rebalances(ConsumerRebalanceListener):
    """Hands the client's rebalance calls on; they come from inside of the owner's own calls."""

    def __init__(self, assigned: _OnPartitions, revoked: _OnPartitions, lost: _OnPartitions) -> None:
        self._assigned, self._revoked, self._lost = assigned, revoked, lost

    def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        """The member has these, too."""
        self._assigned(assigned)

    def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        """The member is about to give these up."""
        self._revoked(revoked)

    def on_partitions_lost(self, lost: Collection[TopicPartition]) -> None:
        """They are another's already; by default that is the same as revoked."""
        self._lost(lost)
