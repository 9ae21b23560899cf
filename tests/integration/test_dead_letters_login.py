# ruff: noqa: F811 - a fixture of another file is imported by its name
"""`poller dead-letters` where brokers ask who is there: in by the mapping's own login, and refusals in words."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import pytest
import yaml
from integration.harness import stack
from integration.harness.ledger import Ledger
from integration.test_dead_letters import Run, contents, kafka_records, letters, run  # noqa: F401 - a fixture
from integration.test_security import LOGIN, access, template
from kafka.admin import ACL, ACLOperation, ACLPermissionType, ResourcePattern, ResourceType
from secure_brokers import PASSWORD, USER, SecureKafka, SecureRabbitMQ

from poller.cli_options import ExitCode
from poller.destinations.kafka import KafkaDestination

pytestmark = [
    pytest.mark.broker,
    pytest.mark.usefixtures("refused_connections"),
]


def test_the_letters_of_a_cluster_with_a_login_are_redriven_by_the_mapping_s_login(
    secure_kafka: SecureKafka,
    ledger: Ledger,
    tmp_path: Path,
    run: Run,
) -> None:
    topic, dead = secure_kafka.create_topic(partitions=3), secure_kafka.create_topic()
    destination = KafkaDestination(secure_kafka.login_address, dead, security=secure_kafka.security("SCRAM-SHA-512"))
    destination.send(letters(kafka_records(topic, *range(5))))
    destination.close()
    event = stack.kafka_event(
        secure_kafka.login_address,
        topic,
        dead_letters=dead,
        SourceAccessConfigurations=access("SASL_SCRAM_512_AUTH", "login"),
    )
    secrets = {"login": LOGIN, "authority": {"certificate": secure_kafka.authority_pem}}
    path = tmp_path / "template.yaml"
    path.write_text(yaml.safe_dump(template(ledger, {"Source": event}, secrets)))
    mapping = ["Orders.Source", "--template", str(path)]
    assert len(run("list", *mapping)[1]) == 5
    code, _, err = run("redrive", *mapping)  # no permission for the transactional id yet
    assert code == ExitCode.FAILED
    assert f"poller-redrive-{dead}" in err
    assert "--without-transactions" in err
    assert run("redrive", *mapping, "--without-transactions", "--limit", "1")[1]["Marked"] == 1
    pattern = ResourcePattern(ResourceType.TRANSACTIONAL_ID, f"poller-redrive-{dead}")
    with secure_kafka.admin() as admin:
        admin.create_acls([ACL(USER, "*", ACLOperation.WRITE, ACLPermissionType.ALLOW, pattern)])
    code, sums, _ = run("redrive", *mapping, "--same-partition")
    assert (code, sums["Letters"], sums["Confirmed"], sums["Marked"]) == (ExitCode.OK, 4, 4, 4)
    assert sorted(contents(record)[2] for record in secure_kafka.read(topic)) == [b"v-%d" % n for n in range(5)]

    path.write_text(
        yaml.safe_dump(template(ledger, {"Source": event}, secrets | {"login": {**LOGIN, "password": "wrong"}}))
    )
    for action in ("list", "redrive"):
        code, _, err = run(action, *mapping)
        assert (code, "refuses" in err, "wrong" in err) == (ExitCode.FAILED, True, False), err


def test_the_letters_of_a_queue_behind_tls_are_redriven(secure_rabbitmq: SecureRabbitMQ, run: Run) -> None:
    address = f"amqps://poller:{quote(PASSWORD)}@{secure_rabbitmq.tls_address}"
    authority = f"?cacertfile={secure_rabbitmq.authority_file}"
    with secure_rabbitmq.channel() as channel:
        channel.queue_declare("origin", durable=True)
        channel.queue_declare("dead", durable=True)
    assert run("list", f"{address}{authority}", "--queue", "dead")[:2] == (ExitCode.OK, [])
    code, sums, _ = run("redrive", f"{address}//dead{authority}")
    assert (code, sums["Letters"]) == (ExitCode.OK, 0)
    code, _, err = run("list", address, "--queue", "dead")
    assert (code, "CERTIFICATE_VERIFY_FAILED" in err, PASSWORD in err) == (ExitCode.FAILED, True, False), err
