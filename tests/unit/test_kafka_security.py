"""One login and one TLS for both clients, and no secret in what is shown."""

from __future__ import annotations

import ssl
from dataclasses import replace

import pytest
from confluent_kafka import Consumer
from kafka import KafkaConsumer

from poller.sources.kafka_event import KafkaSettings
from poller.sources.kafka_librdkafka_options import consumer_options
from poller.sources.kafka_security import InvalidKeys, KafkaSecurity, kafka_python_options, librdkafka_options

# Made for these tests: nothing trusts it. The key's password is "open".
CERTIFICATE = """-----BEGIN CERTIFICATE-----
MIIBdjCCAR2gAwIBAgIUEkZX4XK/FFset69ne3v2ZYfzjNYwCgYIKoZIzj0EAwIw
EDEOMAwGA1UEAwwFdGVzdHMwIBcNMjYxMTI1MTAyMDU0WhgPMjEyNjExMDExMDIw
NTRaMBAxDjAMBgNVBAMMBXRlc3RzMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE
BBjSx1CgFiX+CrhVC0fpKxL3B25+jGcX6Ghhg11lQAPTRs+DHnAmo4BOVV9qT+7h
iA9puu+NwJih9v+Uw2PENqNTMFEwHQYDVR0OBBYEFOEAzkpUZkdR22EZ/7NowJb5
gdvvMB8GA1UdIwQYMBaAFOEAzkpUZkdR22EZ/7NowJb5gdvvMA8GA1UdEwEB/wQF
MAMBAf8wCgYIKoZIzj0EAwIDRwAwRAIgcJdNXR6rv9vQ852s7qwTbnKFi9vR9OEH
sy3bNXj5Q6oCIARw5YO2jqMnXYfAt0v+LjcMfl9uqFx+LlUu+mneHM3O
-----END CERTIFICATE-----"""
PRIVATE_KEY = """-----BEGIN ENCRYPTED PRIVATE KEY-----
MIHsMFcGCSqGSIb3DQEFDTBKMCkGCSqGSIb3DQEFDDAcBAhVym7n+csPsQICCAAw
DAYIKoZIhvcNAgkFADAdBglghkgBZQMEASoEEONMkx5o1eLz39sgkaDtWPIEgZDu
OSrndixH0SIo7TqP4/FYxbJpltrObTPHxLltGDB0LMdHCgnT1F4bV2SefOTmxQMU
BGidM1Vg87n6srBm05WJ0Ur8bXEgDpsGzHX6OoPIpJflL7SsCW+/1Dptn1C1pXr0
W6NfbMRBIR9Htb6AjkAuguFj6PDF4hSsUKQE2lbD5PoSQdHoIyz8YSUdLOtWfus=
-----END ENCRYPTED PRIVATE KEY-----"""

LOGIN = KafkaSecurity("SASL_SSL", "SCRAM-SHA-256", username="reader", password="hush")
MUTUAL = KafkaSecurity(
    "SSL",
    certificate_authority=CERTIFICATE,
    certificate=CERTIFICATE,
    private_key=PRIVATE_KEY,
    private_key_password="open",
)


def test_without_login_only_the_protocol_is_given() -> None:
    assert kafka_python_options(KafkaSecurity()) == {"security_protocol": "PLAINTEXT"}
    assert librdkafka_options(KafkaSecurity()) == {"security.protocol": "PLAINTEXT"}


def test_a_login_is_the_same_for_both_clients() -> None:
    # D.1.3: SASL_SCRAM_256_AUTH
    options = kafka_python_options(LOGIN)
    assert options.pop("ssl_context").check_hostname  # SASL goes over TLS only
    assert options == {
        "security_protocol": "SASL_SSL",
        "sasl_mechanism": "SCRAM-SHA-256",
        "sasl_plain_username": "reader",
        "sasl_plain_password": "hush",
    }
    assert librdkafka_options(LOGIN) == {
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": "SCRAM-SHA-256",
        "sasl.username": "reader",
        "sasl.password": "hush",
    }


def test_mutual_tls_is_the_same_for_both_clients() -> None:
    # D.1.3: CLIENT_CERTIFICATE_TLS_AUTH, SERVER_ROOT_CA_CERTIFICATE
    options = kafka_python_options(MUTUAL)
    context = options.pop("ssl_context")
    assert options == {"security_protocol": "SSL"}
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert [dict(pair for (pair,) in one["subject"])["commonName"] for one in context.get_ca_certs()] == ["tests"]
    assert librdkafka_options(MUTUAL) == {
        "security.protocol": "SSL",
        "ssl.ca.pem": CERTIFICATE,
        "ssl.certificate.pem": CERTIFICATE,
        "ssl.key.pem": PRIVATE_KEY,
        "ssl.key.password": "open",
    }


def test_tls_without_certificates_trusts_the_authorities_of_the_machine() -> None:
    security = KafkaSecurity("SASL_SSL", "PLAIN", username="reader", password="hush")
    assert kafka_python_options(security)["ssl_context"].verify_mode is ssl.CERT_REQUIRED
    assert set(librdkafka_options(security)) == {
        "security.protocol",
        "sasl.mechanism",
        "sasl.username",
        "sasl.password",
    }


def test_a_key_with_another_password_is_an_error_and_no_question_on_the_terminal() -> None:
    for password, text in {"": "there is no privateKeyPassword", "shut": "privateKeyPassword does not open"}.items():
        with pytest.raises(InvalidKeys, match=text):
            kafka_python_options(replace(MUTUAL, private_key_password=password))


@pytest.mark.parametrize("security", [LOGIN, MUTUAL])
def test_both_clients_know_all_of_these_options(security: KafkaSecurity) -> None:
    assert set(kafka_python_options(security)) <= set(KafkaConsumer.DEFAULT_CONFIG)
    settings = KafkaSettings(["127.0.0.1:1"], "orders", "group", security=security)
    Consumer(consumer_options(settings)).close()


def test_secrets_are_not_shown() -> None:
    assert "hush" not in repr(LOGIN)
    assert "PRIVATE KEY" not in repr(MUTUAL)
    assert "open" not in repr(MUTUAL)
