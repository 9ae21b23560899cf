"""What both Kafka clients say when a cluster refuses them, and the words of AWS for it (C.2)."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError
from kafka import errors

from poller.errors import SourceRejected, SourceUnavailable
from poller.sources import kafka_python_client
from poller.sources.kafka_librdkafka_options import refusal_of as librdkafka_refusal
from poller.sources.kafka_oauth import TokenError
from poller.sources.kafka_python_client import Connections
from poller.sources.kafka_python_client import refusal_of as kafka_python_refusal
from poller.sources.kafka_refusals import CLIENT, SERVER, Refusal, tls_refusal

AUTHN, AUTHZ, CONFIG = "EVENT_SOURCE_AUTHN_ERROR", "EVENT_SOURCE_AUTHZ_ERROR", "ESM_CONFIG_NOT_VALID"
SASL_FAILED = "PROBLEM: SASL authentication failed"
NOT_AUTHORIZED = "PROBLEM: Cluster failed to authorize Lambda"
SERVER_FAILED = "PROBLEM: Lambda failed to authenticate server"
CLIENT_FAILED = "PROBLEM: Server failed to authenticate Lambda"
KEYS_INVALID = "PROBLEM: Provided certificate or private key is invalid"


@pytest.mark.parametrize(
    ("text", "refusal"),
    [
        # OpenSSL through Python
        (
            "Handshake failed: [SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: self-signed certificate",
            SERVER,
        ),
        ("Handshake failed: [SSL: CERTIFICATE_VERIFY_FAILED] … Hostname mismatch, certificate is not valid", SERVER),
        ("[SSL: TLSV13_ALERT_CERTIFICATE_REQUIRED] tlsv13 alert certificate required (_ssl.c:2576)", CLIENT),
        ("[SSL: SSLV3_ALERT_BAD_CERTIFICATE] sslv3 alert bad certificate (_ssl.c:2576)", CLIENT),
        ("[SSL: TLSV1_ALERT_UNKNOWN_CA] tlsv1 alert unknown ca (_ssl.c:2576)", CLIENT),
        ("[SSL: SSLV3_ALERT_CERTIFICATE_EXPIRED] sslv3 alert certificate expired", CLIENT),
        # OpenSSL through librdkafka
        ("SSL handshake failed: error:0A000086:SSL routines::certificate verify failed: broker certificate", SERVER),
        (
            "Receive failed: error:0A00045C:SSL routines::tlsv13 alert certificate required: SSL alert number 116",
            CLIENT,
        ),
        ("Receive failed: error:0A000412:SSL routines::ssl/tls alert bad certificate: SSL alert number 42", CLIENT),
        # neither
        ("SSL handshake failed: Disconnected: connecting to a PLAINTEXT broker listener?", None),
        ("socket disconnected", None),
        ("[SSL: WRONG_VERSION_NUMBER] wrong version number", None),
    ],
)
def test_openssl_s_words_tell_who_refuses_whom(text: str, refusal: Refusal | None) -> None:
    told = tls_refusal(text)
    assert (told[0] if told else None) is refusal


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (errors.SaslAuthenticationFailedError("wrong"), (AUTHN, SASL_FAILED)),
        (errors.UnsupportedSaslMechanismError("PLAIN"), (AUTHN, SASL_FAILED)),
        (errors.TopicAuthorizationFailedError("t"), (AUTHZ, NOT_AUTHORIZED)),
        (errors.GroupAuthorizationFailedError("g"), (AUTHZ, NOT_AUTHORIZED)),
        (errors.KafkaConnectionError("[SSL: CERTIFICATE_VERIFY_FAILED]"), (AUTHN, SERVER_FAILED)),
        (errors.KafkaConnectionError("tlsv13 alert certificate required"), (AUTHN, CLIENT_FAILED)),
        (errors.InconsistentGroupProtocolError(), (CONFIG, None)),
        (errors.KafkaConnectionError("socket disconnected"), None),
        (errors.KafkaTimeoutError(), None),
    ],
)
def test_kafka_python_s_errors_have_their_reason_and_result(error: Exception, expected: Any) -> None:
    refused = kafka_python_refusal(error, "b:1")
    assert (refused and (refused.code, refused.last_processing_result)) == expected


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (
            errors.SaslAuthenticationFailedError("SaslAuthenticationFailedError: Authentication failed: no such user"),
            "SASL_AUTHENTICATION_FAILED: Authentication failed: no such user",
        ),
        (errors.TopicAuthorizationFailedError({"orders"}), "TOPIC_AUTHORIZATION_FAILED: orders"),
        (errors.GroupAuthorizationFailedError("billing"), "GROUP_AUTHORIZATION_FAILED: billing"),
        (errors.KafkaConfigurationError(), "KafkaConfigurationError"),
    ],
)
def test_kafka_python_s_refusals_are_told_in_words(error: Exception, text: str) -> None:
    assert str(kafka_python_refusal(error, "b:1")) == f"Kafka at b:1 refuses: {text}"


@pytest.mark.parametrize(
    ("code", "text", "expected"),
    [
        (KafkaError._AUTHENTICATION, "SASL authentication error: wrong", (AUTHN, SASL_FAILED)),
        (KafkaError.UNSUPPORTED_SASL_MECHANISM, "PLAIN", (AUTHN, SASL_FAILED)),
        (KafkaError.TOPIC_AUTHORIZATION_FAILED, "t", (AUTHZ, NOT_AUTHORIZED)),
        (KafkaError.GROUP_AUTHORIZATION_FAILED, "g", (AUTHZ, NOT_AUTHORIZED)),
        (KafkaError._SSL, "certificate verify failed", (AUTHN, SERVER_FAILED)),
        (KafkaError._TRANSPORT, "Receive failed: tlsv13 alert certificate required", (AUTHN, CLIENT_FAILED)),
        (KafkaError._INVALID_ARG, "ssl.key.pem failed: no key", (CONFIG, KEYS_INVALID)),
        (KafkaError._INVALID_ARG, "No such configuration property", (CONFIG, None)),
        (KafkaError._TRANSPORT, "Connect to b:1 failed: Connection refused", None),
        (KafkaError._SSL, "wrong version number", None),
    ],
)
def test_librdkafka_s_errors_have_their_reason_and_result(code: int, text: str, expected: Any) -> None:
    refused = librdkafka_refusal(KafkaError(code, text), "b:1")
    assert (refused and (refused.code, refused.last_processing_result)) == expected


# --- kafka-python's connections ------------------------------------------------------------------------------------


class Client:
    """Stands for kafka-python's: a connection of its manager fails with what the test says, or comes about."""

    failures: list[Exception | None]
    reads: list[tuple[bytes, Exception | None]]

    def __init__(self, **options: Any) -> None:
        self.cluster = SimpleNamespace(config={"allow_auto_create_topics": True})
        self._manager = SimpleNamespace(
            config={"security_protocol": options.get("security_protocol", "SASL_SSL")},
            _connect=self._connect,
            _build_transport=self._build_transport,
            _auth_failures={},
            cluster=SimpleNamespace(is_bootstrap=lambda node_id: isinstance(node_id, str)),
        )

    async def _connect(self, node: Any, connection: Any) -> None:
        failure = self.failures.pop(0)
        connection.init_future = SimpleNamespace(failed=lambda: failure is not None, exception=failure)

    async def _build_transport(self, node: Any) -> Any:
        return SimpleNamespace(_sock_recv=lambda: self.reads.pop(0))


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> type[Client]:
    monkeypatch.setattr(kafka_python_client, "KafkaNetClient", Client)
    return Client


NODE = SimpleNamespace(node_id="bootstrap-0")


def connect(connections: Connections, node: object = NODE) -> None:
    asyncio.run(connections.client._manager._connect(node, SimpleNamespace()))


def test_a_failure_is_known_until_a_connection_comes_about(client: type[Client]) -> None:
    connections = Connections()
    assert connections.refused("b:1") is None
    client.failures = [
        errors.KafkaConnectionError("CERTIFICATE_VERIFY_FAILED"),
        errors.KafkaConnectionError("gone"),
        None,
    ]
    connections.make()
    connect(connections)
    assert isinstance(connections.refused("b:1"), SourceRejected)
    for _ in range(2):
        connect(connections)
        assert connections.refused("b:1") is None


def test_after_a_refused_login_at_its_first_contact_the_client_tries_no_more(client: type[Client]) -> None:
    connections = Connections()
    refusal = errors.SaslAuthenticationFailedError("wrong")
    client.failures = [refusal, refusal]
    connections.make()
    connect(connections, SimpleNamespace(node_id=1))
    assert connections.client._manager._auth_failures == {}
    connect(connections)
    assert connections.client._manager._auth_failures == {"bootstrap-0": refusal}


@pytest.mark.parametrize(("refused", "kind"), [(True, SourceRejected), (False, SourceUnavailable)])
def test_a_missing_token_is_a_refusal_or_trouble_of_the_provider(
    client: type[Client], refused: bool, kind: type[Exception]
) -> None:
    connections = Connections()
    client.failures = [TokenError("no", refused=refused)]
    connections.make()
    connect(connections)
    assert type(connections.refused("b:1")) is kind


def test_a_refusal_that_comes_with_the_end_of_the_connection_is_read(client: type[Client]) -> None:
    connections = Connections()
    end = errors.KafkaConnectionError("socket disconnected")
    client.reads = [(b"part", None), (b"last words", end), (b"", end)]
    connections.make()
    transport = asyncio.run(connections.client._manager._build_transport(NODE))
    assert [transport._sock_recv() for _ in range(3)] == [(b"part", None), (b"last words", None), (b"", end)]


def test_without_a_login_reading_is_left_as_it_is(client: type[Client]) -> None:
    connections = Connections()
    connections.make(security_protocol="PLAINTEXT")
    assert connections.client._manager._build_transport.__qualname__ == "Client._build_transport"
    assert connections.client.cluster.config["allow_auto_create_topics"] is False
