"""The AWS CLI, as a process of its own, makes, shows, changes and deletes mappings of real brokers (C.1, C.2)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from brokers import RABBITMQ_ARN, KafkaBroker, RabbitMQBroker
from e2e.aws_cli import Cli, aws_cli_or_skip
from integration.harness.ledger import Ledger
from integration.test_mapping_life import kafka_request, mq_request, serving
from waiting import eventually

pytestmark = [
    pytest.mark.broker,
    pytest.mark.usefixtures("refused_connections"),
]

MISSING = "(ResourceNotFoundException) when calling the {} operation: The resource you requested does not exist."


class Mappings(Cli):
    """The five calls, their answers read."""

    def call(self, operation: str, *arguments: str) -> dict[str, Any]:
        done = self(operation, *arguments)
        assert (done.returncode, done.stderr) == (0, "")
        return dict(json.loads(done.stdout))

    def state(self, uuid: str) -> str:
        return str(self.call("get-event-source-mapping", "--uuid", uuid)["State"])

    def wait(self, uuid: str, state: str) -> None:
        eventually(lambda: self.state(uuid) == state, what=f"the state {state}")


@pytest.mark.parametrize("broker", ["kafka", "rabbitmq"])
def test_a_mapping_is_made_shown_changed_and_deleted(
    request: pytest.FixtureRequest, ledger: Ledger, tmp_path: Path, broker: str
) -> None:
    program = aws_cli_or_skip()
    source = request.getfixturevalue(broker)
    if isinstance(source, KafkaBroker):
        topic = source.create_topic(1)
        ledger.produce(source, topic, 20, partitions=1)
        wanted, settings = kafka_request(source.address, topic), {}
    else:
        assert isinstance(source, RabbitMQBroker)
        queue = source.declare_queue("quorum")
        ledger.publish(source, queue, 20)
        wanted, settings = mq_request(queue), {"Endpoints": {RABBITMQ_ARN: source.url}}
    with serving(ledger, **settings) as (service, _):
        aws = Mappings(program, service.url, tmp_path)
        made = aws.call("create-event-source-mapping", "--cli-input-json", json.dumps(wanted))
        uuid = made["UUID"]
        assert made["State"] == "Creating"
        aws.wait(uuid, "Enabled")
        ledger.wait_until_handled()
        listed = aws.call("list-event-source-mappings", "--function-name", "Orders")["EventSourceMappings"]
        assert [item["UUID"] for item in listed] == [uuid]
        updated = aws.call("update-event-source-mapping", "--uuid", uuid, "--batch-size", "7", "--no-enabled")
        assert (updated["BatchSize"], updated["State"]) == (7, "Disabling")
        aws.wait(uuid, "Disabled")
        assert aws.call("delete-event-source-mapping", "--uuid", uuid)["State"] == "Deleting"
        eventually(
            lambda: MISSING.format("GetEventSourceMapping") in aws("get-event-source-mapping", "--uuid", uuid).stderr,
            what="the end of the mapping",
        )
        assert aws.call("list-event-source-mappings") == {"EventSourceMappings": []}
