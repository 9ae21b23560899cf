"""Brokers with TLS, logins and access control: every way in, every refusal with the words of C.2, and the way back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pika
import pytest
import trustme
from brokers import RABBITMQ_ARN, unique
from certificates import chain, encrypted, pkcs8
from identity_provider import IdentityProvider
from integration.harness import stack
from integration.harness.ledger import Ledger, ids_of, letters_in_topic
from integration.harness.service import Service
from kafka.admin import ResourceType
from secure_brokers import PASSWORD, USER, SecureKafka, SecureRabbitMQ
from waiting import eventually

pytestmark = [
    pytest.mark.broker,
    pytest.mark.usefixtures("refused_connections"),
]

ARN = "arn:aws:secretsmanager:us-east-1:123456789012:secret:"
AUTHN, AUTHZ = "EVENT_SOURCE_AUTHN_ERROR", "EVENT_SOURCE_AUTHZ_ERROR"
LOGIN = {"username": "poller", "password": PASSWORD}


def access(login: str, secret: str, authority: str = "authority", **values: str) -> list[dict[str, str]]:
    """SourceAccessConfigurations of one way to log in."""
    return [
        {"Type": login, "URI": ARN + secret},
        {"Type": "SERVER_ROOT_CA_CERTIFICATE", "URI": ARN + authority},
        *({"Type": name, "URI": value} for name, value in values.items()),
    ]


def template(
    ledger: Ledger, events: Mapping[str, stack.Resource], secrets: Mapping[str, Any], **more: Any
) -> stack.Resource:
    """One function, `Orders`, with these events."""
    function = stack.function(ledger, {})
    function["Properties"]["Events"] = dict(events)
    return stack.template(
        {"Orders": function}, Secrets={ARN + name: dict(held) for name, held in secrets.items()}, TimeScale=5, **more
    )


def assert_no_secret_is_logged(service: Service) -> None:
    log = json.dumps(service.lines)
    assert PASSWORD not in log
    assert "PRIVATE KEY" not in log
    assert "eyJhbGciOi" not in log  # how every token begins


@pytest.mark.usefixtures("kafka_client")
def test_a_cluster_is_read_by_each_way_to_log_in_and_its_dead_letters_go_the_same_way(  # D.1.3, D.1.4
    secure_kafka: SecureKafka, ledger: Ledger
) -> None:
    identities = trustme.CA()
    own = secure_kafka.certificate
    keys = {
        "certificate": chain(own),
        "privateKey": encrypted(own, PASSWORD, "PBES2"),
        "privateKeyPassword": PASSWORD,
    }
    with IdentityProvider(identities) as provider:
        token = {
            "oauthTokenEndpointUrl": provider.url,
            "oauthClientId": "client",
            "oauthClientSecret": PASSWORD,
            "oauthIdpCaCertificate": identities.cert_pem.bytes().decode(),
        }
        ways = {
            "Plain": access("BASIC_AUTH", "login"),
            "Scram256": access("SASL_SCRAM_256_AUTH", "login"),
            "Scram512": access("SASL_SCRAM_512_AUTH", "login"),
            "Certificate": access("CLIENT_CERTIFICATE_TLS_AUTH", "keys"),
            "Token": access("OAUTHBEARER_AUTH", "token", OAUTHBEARER_SCOPE="read", OAUTHBEARER_LOGICAL_CLUSTER="lkc1"),
        }
        dead = {name: secure_kafka.create_topic() for name in ("Scram512", "Certificate", "Token")}
        events, poison = {}, {}
        for name, way in ways.items():
            topic = secure_kafka.create_topic()
            address = secure_kafka.certified_address if name == "Certificate" else secure_kafka.login_address
            events[name] = stack.kafka_event(
                address,
                topic,
                dead_letters=dead.get(name, ""),
                SourceAccessConfigurations=way,
                MaximumRetryAttempts=0,
                FunctionResponseTypes=["ReportBatchItemFailures"],
            )
            before = set(ledger.poison)
            ledger.produce(secure_kafka, topic, 20, partitions=1, poison=0.3 if name in dead else 0)
            poison[name] = ledger.poison - before
        secrets = {
            "login": LOGIN,
            "keys": keys,
            "token": token,
            "authority": {"certificate": secure_kafka.authority_pem},
        }
        with Service(ledger.path.parent, template(ledger, events, secrets)) as service:
            ledger.wait_until_handled()
            for name, topic in dead.items():
                assert poison[name]
                eventually(
                    lambda name=name, topic=topic: set(ids_of(letters_in_topic(secure_kafka, topic))) == poison[name],
                    what=f"the dead letters of {name}",
                )
            service.wait_until_ready()
            assert service.stop() == 0
            assert service.problems() == []
            assert_no_secret_is_logged(service)
        assert {request.form["scope"] for request in provider.requests} == {"read"}


@pytest.mark.usefixtures("kafka_client")
def test_what_a_cluster_refuses_is_told_in_aws_s_words_and_read_once_it_is_mended(  # C.2
    secure_kafka: SecureKafka, ledger: Ledger
) -> None:
    stranger = trustme.CA()
    foreign = stranger.issue_cert("poller.test", common_name="poller")
    user = unique("user")
    secure_kafka.set_password(user, "another one")
    secure_kafka.allow(f"User:{user}")
    ways = {
        "Password": access("SASL_SCRAM_512_AUTH", "other"),
        "Topic": access("SASL_SCRAM_512_AUTH", "login"),
        "Group": access("SASL_SCRAM_256_AUTH", "login"),
        "Authority": access("BASIC_AUTH", "login", authority="stranger"),
        "Certificate": access("CLIENT_CERTIFICATE_TLS_AUTH", "foreign"),
    }
    topics = {name: secure_kafka.create_topic() for name in ways}
    secure_kafka.deny(USER, ResourceType.TOPIC, topics["Topic"])
    secure_kafka.deny(USER, ResourceType.GROUP, topics["Group"])
    events = {
        name: stack.kafka_event(
            secure_kafka.certified_address if name == "Certificate" else secure_kafka.login_address,
            topics[name],
            SourceAccessConfigurations=way,
        )
        for name, way in ways.items()
    }
    secrets = {
        "login": LOGIN,
        "other": {"username": user, "password": PASSWORD},
        "authority": {"certificate": secure_kafka.authority_pem},
        "stranger": {"certificate": stranger.cert_pem.bytes().decode()},
        "foreign": {"certificate": chain(foreign), "privateKey": pkcs8(foreign)},
    }
    expected = {
        "Password": (AUTHN, "PROBLEM: SASL authentication failed"),
        "Topic": (AUTHZ, "PROBLEM: Cluster failed to authorize Lambda"),
        "Group": (AUTHZ, "PROBLEM: Cluster failed to authorize Lambda"),
        "Authority": (AUTHN, "PROBLEM: Lambda failed to authenticate server"),
        "Certificate": (AUTHN, "PROBLEM: Server failed to authenticate Lambda"),
    }
    mended = ("Password", "Topic", "Group")
    with Service(ledger.path.parent, template(ledger, events, secrets)) as service:

        def wait_until_told(*names: str) -> None:
            for name in names:
                state = service.wait_for_problem(f"Orders.{name}", "Kafka at .*(refuses|allow|certificate)")
                assert (state["StateTransitionReason"], state["LastProcessingResult"]) == expected[name], name

        wait_until_told(*mended)
        assert service.get("healthz")[0] == 200
        service.wait_for_log(r"trying again in 0\.\d s", mapping="Orders.Password")
        service.wait_for_log(r"trying again in (0\.9|1\.\d) s", mapping="Orders.Password")
        secure_kafka.set_password(user, PASSWORD)
        secure_kafka.undo_deny(USER, ResourceType.TOPIC, topics["Topic"])
        secure_kafka.undo_deny(USER, ResourceType.GROUP, topics["Group"])
        for name in mended:
            ledger.produce(secure_kafka, topics[name], 5, partitions=1)
        wait_until_told("Authority", "Certificate")
        ledger.wait_until_handled()
        for name in mended:
            state = service.wait_for_result(f"Orders.{name}", "OK")
            assert state["Problem"] == ""
            assert state["StateTransitionReason"] == "USER_INITIATED"
        assert service.stop() == 0
        assert service.problems() == []
        assert_no_secret_is_logged(service)


def test_a_queue_is_read_over_tls_in_its_virtual_host_and_refusals_are_told(  # D.2, C.2
    secure_rabbitmq: SecureRabbitMQ, ledger: Ledger, tmp_path: Path
) -> None:
    (tmp_path / "authority.pem").write_bytes(secure_rabbitmq.authority_file.read_bytes())
    user, queue = unique("user"), unique("queue")
    house = [{"Type": "VIRTUAL_HOST", "URI": "secure house"}]
    address = f"amqps://{secure_rabbitmq.tls_address}"
    ways = {"Good": (LOGIN, "?cacertfile=authority.pem"), "Authority": (LOGIN, "")}
    ways["Password"] = ({"username": user, "password": PASSWORD}, "?cacertfile=authority.pem")
    events, endpoints, secrets = {}, {}, {}
    with secure_rabbitmq.house() as channel:
        for name, (login, authority) in ways.items():
            arn = f"{RABBITMQ_ARN}-{name}"
            channel.queue_declare(f"{queue}-{name}", durable=True)
            channel.queue_declare(f"{queue}-{name}.dead", durable=True)
            endpoints[arn], secrets[name] = address + authority, login
            login_access = [{"Type": "BASIC_AUTH", "URI": ARN + name}, *house]
            events[name] = stack.mq_event(f"{queue}-{name}", broker_arn=arn, SourceAccessConfigurations=login_access)
    extensions = {
        f"Orders.{name}": {
            "MaximumRetryAttempts": 0,
            "FunctionResponseTypes": ["ReportBatchItemFailures"],
            "OnFailure": f"amqp:////{queue}-{name}.dead",
        }
        for name in ways
    }
    whole = template(ledger, events, secrets, endpoints=endpoints)
    whole["Metadata"]["Poller"]["EventSources"] = extensions
    with Service(tmp_path, whole) as service:
        told = service.wait_for_problem("Orders.Authority", "RabbitMQ at .* has a certificate .* unknown authority")
        assert told["StateTransitionReason"] == AUTHN
        told = service.wait_for_problem("Orders.Password", "RabbitMQ at .* refuses the credentials")
        assert told["StateTransitionReason"] == AUTHN
        secure_rabbitmq.add_user(user, PASSWORD)
        with secure_rabbitmq.house() as channel:
            for name in ("Good", "Password"):
                for body in [*ledger.bodies(5, prefix=name), *ledger.bodies(1, prefix=name, poison=1.0)]:
                    properties = pika.BasicProperties(message_id=json.loads(body)["id"])
                    channel.basic_publish("", f"{queue}-{name}", body, properties)
            ledger.wait_until_handled()
            for name in ("Good", "Password"):
                letters = f"{queue}-{name}.dead"
                eventually(
                    lambda letters=letters: channel.queue_declare(letters, passive=True).method.message_count,
                    what="a dead letter over TLS",
                )
        assert service.stop() == 0
        assert service.problems() == []
        assert_no_secret_is_logged(service)
