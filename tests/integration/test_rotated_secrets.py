"""A password is changed at the broker and in the secret's file while the service runs: it recovers without a restart."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from brokers import RABBITMQ_ARN, unique
from integration.harness import stack
from integration.harness.ledger import Ledger, ids_of, letters_in_topic
from integration.harness.service import Service
from secure_brokers import PASSWORD, SecureKafka, SecureRabbitMQ
from waiting import eventually

pytestmark = [
    pytest.mark.broker,
    pytest.mark.usefixtures("refused_connections"),
]

ARN = "arn:aws:secretsmanager:us-east-1:123456789012:secret:"
AUTHN = "EVENT_SOURCE_AUTHN_ERROR"
ROTATED = "rotated-sesame"


def write_secret(file: Path, user: str, password: str) -> None:
    """As rotation does it: the file is there or not, never half of it."""
    fresh = file.with_suffix(".new")
    fresh.write_text(json.dumps({"username": user, "password": password}))
    fresh.rename(file)


@pytest.mark.usefixtures("kafka_client")
def test_a_rotated_scram_password_is_read_anew_by_source_and_dead_letters(  # C.2, D.1.3
    secure_kafka: SecureKafka, ledger: Ledger, tmp_path: Path
) -> None:
    user, file = unique("user"), tmp_path / "login.json"
    secure_kafka.set_password(user, PASSWORD)
    secure_kafka.allow(f"User:{user}")
    write_secret(file, user, PASSWORD)
    topic, dead = secure_kafka.create_topic(), secure_kafka.create_topic()
    event = stack.kafka_event(
        secure_kafka.login_address,
        topic,
        dead_letters=dead,
        SourceAccessConfigurations=[
            {"Type": "SASL_SCRAM_512_AUTH", "URI": f"{ARN}login"},
            {"Type": "SERVER_ROOT_CA_CERTIFICATE", "URI": f"{ARN}authority"},
        ],
        MaximumRetryAttempts=0,
        FunctionResponseTypes=["ReportBatchItemFailures"],
    )
    secrets = {f"{ARN}login": {"File": file.name}, f"{ARN}authority": {"certificate": secure_kafka.authority_pem}}
    template = stack.template({"Orders": stack.function(ledger, event)}, Secrets=secrets, TimeScale=5)

    def produce() -> None:
        ledger.produce(secure_kafka, topic, 5, partitions=1)
        ledger.produce(secure_kafka, topic, 1, partitions=1, poison=1.0)

    def wait_until_done() -> None:
        ledger.wait_until_handled()
        eventually(lambda: set(ids_of(letters_in_topic(secure_kafka, dead))) == ledger.poison, what="the dead letters")

    with Service(tmp_path, template) as service:
        produce()
        wait_until_done()
        secure_kafka.set_password(user, ROTATED)
        secure_kafka.restart()  # Kafka ends no connection for a changed password
        state = service.wait_for_problem("Orders.Source", "Kafka at .* refuses", timeout=60)
        assert (state["StateTransitionReason"], state["LastProcessingResult"]) == (
            AUTHN,
            "PROBLEM: SASL authentication failed",
        )
        assert service.get("healthz")[0] == 200
        write_secret(file, user, ROTATED)
        produce()
        wait_until_done()
        state = service.state("Orders.Source")
        assert (state["StateTransitionReason"], state["Problem"]) == ("USER_INITIATED", "")
        assert service.stop() == 0
        assert service.problems() == []
        log = json.dumps(service.lines)
        assert PASSWORD not in log
        assert ROTATED not in log


def test_a_rotated_password_of_rabbitmq_is_read_anew_by_source_and_dead_letters(  # C.2, D.2
    secure_rabbitmq: SecureRabbitMQ, ledger: Ledger, tmp_path: Path
) -> None:
    user, file = unique("user"), tmp_path / "login.json"
    secure_rabbitmq.add_user(user, PASSWORD)
    write_secret(file, user, PASSWORD)
    queue = secure_rabbitmq.declare_queue(dead_letters=True)
    event = stack.mq_event(queue, SourceAccessConfigurations=[{"Type": "BASIC_AUTH", "URI": f"{ARN}login"}])
    template = stack.template(
        {"Tasks": stack.function(ledger, event)},
        endpoints={RABBITMQ_ARN: f"amqps://{secure_rabbitmq.tls_address}?cacertfile={secure_rabbitmq.authority_file}"},
        extensions={
            "Tasks": {
                "MaximumRetryAttempts": 0,
                "FunctionResponseTypes": ["ReportBatchItemFailures"],
                "OnFailure": f"amqp:////{queue}.dead",
            }
        },
        Secrets={f"{ARN}login": {"File": file.name}},
        TimeScale=5,
    )

    def publish() -> None:
        ledger.publish(secure_rabbitmq, queue, 5)
        ledger.publish(secure_rabbitmq, queue, 1, poison=1.0)

    def wait_until_done() -> None:
        ledger.wait_until_handled()
        eventually(lambda: secure_rabbitmq.depth(f"{queue}.dead") == len(ledger.poison), what="the dead letters")

    with Service(tmp_path, template) as service:
        publish()
        wait_until_done()
        secure_rabbitmq.run("change_password", user, ROTATED)
        secure_rabbitmq.run("close_all_user_connections", user, "a test asks for it")
        state = service.wait_for_problem("Tasks.Source", "RabbitMQ at .* refuses the credentials")
        assert state["StateTransitionReason"] == AUTHN
        assert service.get("healthz")[0] == 200
        write_secret(file, user, ROTATED)
        publish()
        wait_until_done()
        state = service.state("Tasks.Source")
        assert (state["StateTransitionReason"], state["Problem"]) == ("USER_INITIATED", "")
        assert service.stop() == 0
        assert service.problems() == []
        log = json.dumps(service.lines)
        assert PASSWORD not in log
        assert ROTATED not in log
