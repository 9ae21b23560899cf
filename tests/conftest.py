"""Fixtures that tests of every kind share: the real brokers, each started once per session when a test asks for it."""

from __future__ import annotations

import gc
import logging
import os
import signal
import warnings
from collections.abc import Iterator
from typing import TypeVar

import pytest
from hypothesis import settings

with warnings.catch_warnings():
    # kafka-python reads its protocol's schemas, at import, with functions that Python 3.11 calls deprecated.
    warnings.filterwarnings("ignore", "(open|read)_text is deprecated", DeprecationWarning)
    from brokers import BrokerUnavailable, KafkaBroker, RabbitMQBroker
    from s3_gateway import S3Gateway, start_s3_gateway
    from secure_brokers import KafkaDoor, SecureKafka, SecureRabbitMQ

settings.register_profile("steady", derandomize=True)
settings.load_profile("steady")

T = TypeVar("T", bound=KafkaBroker | RabbitMQBroker)


def pytest_configure() -> None:
    # A run that is ended from outside (`timeout`, CI) takes its containers down, too.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # What a shell starts in the background ignores Ctrl-C, and hands that on to the commands that tests end with it.
    signal.signal(signal.SIGINT, signal.default_int_handler)


_ON_BROKERS = {"contract", "integration", "faults", "e2e"}
"""Folders of tests."""


def pytest_itemcollected(item: pytest.Item) -> None:
    """Let kafka-python leave sockets to the garbage collector, as it does at times, ours and the tests' own.

    It forgets to close one that has something left to send, or whose connection did not come about.
    """
    if item.path.parent.name in _ON_BROKERS:
        for kind in ("socket", "ssl.SSLSocket"):
            item.add_marker(pytest.mark.filterwarnings(f"ignore:unclosed <{kind}:ResourceWarning"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Collect no garbage while something that is given is nested to the limit of recursion.

    The collector runs finalizers wherever it is, and down there those of earlier tests fail for want of room.
    """
    given = item.callspec.params.values() if hasattr(item, "callspec") else ()
    if not any(map(_is_deep, given)):
        return (yield)
    gc.collect()
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()


def _is_deep(value: object) -> bool:
    if isinstance(value, tuple | list):
        return any(map(_is_deep, value))
    return ("[" * 1000 if isinstance(value, str) else b"[" * 1000) in value if isinstance(value, str | bytes) else False


def _start(kind: type[T]) -> T:
    try:
        return kind.start()
    except BrokerUnavailable as error:
        if os.environ.get("CI"):
            pytest.fail(f"in CI every test has to run: {error}")
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def open_kafka() -> Iterator[KafkaBroker]:
    """A real Kafka that takes everybody."""
    broker = _start(KafkaBroker)
    yield broker
    broker.stop()


@pytest.fixture(scope="session")
def open_rabbitmq() -> Iterator[RabbitMQBroker]:
    """A real RabbitMQ without TLS."""
    broker = _start(RabbitMQBroker)
    yield broker
    broker.stop()


@pytest.fixture(scope="session")
def kafka(request: pytest.FixtureRequest) -> KafkaBroker:
    """A real Kafka, in the open unless a door is given; mark tests that use it `broker`."""
    door = getattr(request, "param", "")
    if door:
        return KafkaDoor(request.getfixturevalue("secure_kafka"), door)
    broker: KafkaBroker = request.getfixturevalue("open_kafka")
    return broker


@pytest.fixture(scope="session")
def rabbitmq(request: pytest.FixtureRequest) -> RabbitMQBroker:
    """A real RabbitMQ, in the open unless a door is given; mark tests that use it `broker`."""
    door = getattr(request, "param", "")
    broker: RabbitMQBroker = request.getfixturevalue("secure_rabbitmq" if door else "open_rabbitmq")
    return broker


@pytest.fixture(scope="session")
def secure_kafka() -> Iterator[SecureKafka]:
    """A real Kafka with TLS, logins and access control; mark tests that use it `broker`."""
    broker = _start(SecureKafka)
    yield broker
    broker.stop()


@pytest.fixture(scope="session")
def secure_rabbitmq() -> Iterator[SecureRabbitMQ]:
    """A real RabbitMQ with TLS; mark tests that use it `broker`."""
    broker = _start(SecureRabbitMQ)
    yield broker
    broker.stop()


@pytest.fixture(scope="session")
def s3_gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Gateway]:
    """A real S3 server that tells nobody of what happens in it."""
    with start_s3_gateway(tmp_path_factory.mktemp("s3")) as gateway:
        yield gateway


@pytest.fixture
def refused_connections() -> Iterator[None]:
    """For tests in which Kafka goes away: its client forgets to close a socket whose connection was refused."""
    warnings.filterwarnings("ignore", r"unclosed <(ssl\.SSLS|s)ocket", ResourceWarning)  # pytest undoes this afterwards
    client_log = logging.getLogger("kafka")
    level = client_log.level
    client_log.setLevel(logging.CRITICAL)  # captured log records would keep the errors, and those the sockets
    yield
    client_log.setLevel(level)
    gc.collect()
