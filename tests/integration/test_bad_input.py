"""What people get wrong, and what brokers hold: every case has its clear message, and loses nothing."""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from brokers import KafkaBroker, RabbitMQBroker, unique
from integration.harness import stack
from integration.harness.gateway import Gateway
from integration.harness.ledger import Ledger, ids_of, letters_in_file, wait_until_committed
from integration.harness.service import POLLER, Service, environment
from waiting import eventually

pytestmark = [
    pytest.mark.usefixtures("refused_connections"),
]

REPORT = {"FunctionResponseTypes": ["ReportBatchItemFailures"]}


# --- brokers that are not there, or not as the template says -------------------------------------------------------


@pytest.mark.broker
@pytest.mark.usefixtures("kafka_client")
def test_brokers_that_nobody_can_reach_are_told_tried_again_and_found_when_they_appear(
    kafka: KafkaBroker, rabbitmq: RabbitMQBroker, ledger: Ledger
) -> None:
    topic, queue = kafka.create_topic(), rabbitmq.declare_queue()
    ledger.produce(kafka, topic, 20, partitions=1)
    ledger.publish(rabbitmq, queue, 20)
    url = urlsplit(rabbitmq.url)
    with Gateway(kafka.address) as to_kafka, Gateway(f"{url.hostname}:{url.port}") as to_rabbitmq:
        functions = {
            "Orders": stack.function(ledger, stack.kafka_event(to_kafka.address, topic)),
            "Tasks": stack.function(ledger, stack.mq_event(queue)),
        }
        endpoint = f"amqp://{url.username}:{url.password}@{to_rabbitmq.address}"
        template = stack.template(functions, endpoints={stack.RABBITMQ_ARN: endpoint})
        with Service(ledger.path.parent, template) as service:
            service.wait_until_not_ready()
            assert service.get("healthz")[0] == 200  # it runs, and there is nothing that a restart would mend
            service.wait_for_problem("Orders.Source", f"no Kafka broker answers at {to_kafka.address}")
            service.wait_for_problem("Tasks.Source", f"no connection to RabbitMQ at {to_rabbitmq.address}")
            service.wait_for_log(r"RabbitMQ .* trying again in 0\.\d s", mapping="Tasks.Source")
            service.wait_for_log(r"RabbitMQ .* trying again in (0\.9|1\.\d) s", mapping="Tasks.Source")
            assert service.metric("mapping_enabled", "Orders.Source") == 0
            to_kafka.open()
            to_rabbitmq.open()
            service.wait_until_ready()
            ledger.wait_until_handled()
            assert service.stop() == 0
            assert service.problems() == []


@pytest.mark.broker
@pytest.mark.usefixtures("kafka_client")
def test_a_missing_topic_is_told_and_read_once_it_is_created(kafka: KafkaBroker, ledger: Ledger) -> None:
    topic = unique("missing")
    template = stack.template({"Orders": stack.function(ledger, stack.kafka_event(kafka, topic))})
    with Service(ledger.path.parent, template) as service:
        state = service.wait_for_problem("Orders.Source", f"topic {topic} does not exist on {kafka.address}")
        assert state["StateTransitionReason"] == "ESM_CONFIG_NOT_VALID"  # C.2
        assert service.readyz()[0] == 503
        assert not kafka.has_topic(topic)
        kafka.create_topic(name=topic)
        ledger.produce(kafka, topic, 10, partitions=1)
        ledger.wait_until_handled()
        assert service.state("Orders.Source")["StateTransitionReason"] == "USER_INITIATED"
        assert service.stop() == 0


@pytest.mark.broker
def test_a_missing_queue_is_told_and_read_once_it_is_declared(rabbitmq: RabbitMQBroker, ledger: Ledger) -> None:
    queue = unique("missing")
    template = stack.template(
        {"Tasks": stack.function(ledger, stack.mq_event(queue))}, endpoints={stack.RABBITMQ_ARN: rabbitmq.url}
    )
    with Service(ledger.path.parent, template) as service:
        state = service.wait_for_problem("Tasks.Source", f"queue '{queue}' in virtual host '/' does not exist")
        assert state["StateTransitionReason"] == "ESM_CONFIG_NOT_VALID"  # C.2
        with rabbitmq.channel() as channel:
            channel.queue_declare(queue, durable=True, arguments={"x-queue-type": "quorum"})
        ledger.publish(rabbitmq, queue, 10)
        ledger.wait_until_handled()
        service.wait_until_ready()
        assert service.stop() == 0


@pytest.mark.broker
def test_wrong_credentials_are_told_without_the_password_and_nothing_is_taken(
    rabbitmq: RabbitMQBroker, ledger: Ledger
) -> None:
    queue, user = rabbitmq.declare_queue(), unique("user")
    ledger.publish(rabbitmq, queue, 10)
    url = urlsplit(rabbitmq.url)
    template = stack.template(
        {"Tasks": stack.function(ledger, stack.mq_event(queue))},
        endpoints={stack.RABBITMQ_ARN: f"amqp://{user}:open-sesame@{url.hostname}:{url.port}"},
    )
    with Service(ledger.path.parent, template) as service:
        state = service.wait_for_problem(
            "Tasks.Source", f"RabbitMQ at {url.hostname}:{url.port} refuses the credential"
        )
        assert state["StateTransitionReason"] == "EVENT_SOURCE_AUTHN_ERROR"  # C.2
        assert rabbitmq.depth(queue) == 10
        if rabbitmq.container is not None:  # the login is given after all
            rabbitmq.container.run("rabbitmqctl", "add_user", user, "open-sesame")
            rabbitmq.container.run("rabbitmqctl", "set_permissions", user, ".*", ".*", ".*")
            ledger.wait_until_handled()
        assert service.stop() == 0
        assert "open-sesame" not in json.dumps(service.lines)


# --- handlers that fail, replies that nobody can read, records without anything in them ----------------------------


@dataclass
class Failing:
    """One service with a mapping for each kind of failing handler; all worked off."""

    folder: Path
    service: Service
    books: dict[str, Ledger] = field(default_factory=dict)

    def letters(self, name: str) -> list[Any]:
        return letters_in_file(self.folder / f"{name}.dead")


@pytest.fixture(scope="module")
def failing(
    kafka: KafkaBroker, rabbitmq: RabbitMQBroker, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Failing]:
    folder = tmp_path_factory.mktemp("failing")
    handlers = {
        "Broken": "broken.handler",
        "NoSuchFunction": "work.no_such_function",
        "NoJson": "work.answer_no_json",
        "Stranger": "work.name_a_stranger",
        "Good": "work.report",
    }
    books, functions, topics, extensions = {}, {}, {}, {}
    for name, handler in handlers.items():
        (folder / name).mkdir()
        books[name] = Ledger(folder / name)
        topics[name] = topic = kafka.create_topic()
        books[name].produce(kafka, topic, 5, partitions=1)
        event = stack.kafka_event(kafka, topic, MaximumRetryAttempts=1, **REPORT)
        functions[name] = stack.function(books[name], event, handler=handler)
        extensions[name] = {"OnFailure": f"file:{folder / name}.dead"}
    (folder / "Tasks").mkdir()
    tasks = books["Tasks"] = Ledger(folder / "Tasks")
    queue = rabbitmq.declare_queue(dead_letters=True)
    functions["Tasks"] = stack.function(tasks, stack.mq_event(queue))
    extensions["Tasks"] = {"MaximumRetryAttempts": 0, **REPORT}
    # Neither an id nor a body; one that only fails and so can not be named.
    rabbitmq.publish(queue, [b"", b"plain text", b'{"poison": true}'])
    template = stack.template(
        functions, extensions=extensions, endpoints={stack.RABBITMQ_ARN: rabbitmq.url}, TimeScale=10
    )
    with Service(folder, template) as service:
        for topic in topics.values():
            wait_until_committed(kafka, topic, topic)
        eventually(lambda: len(tasks.handlings()) == 3, what="the handling of three messages")
        eventually(lambda: rabbitmq.depth(f"{queue}.dead"), what="the rejection")
        yield Failing(folder, service, books)
        assert service.stop() == 0
        assert service.problems() == []


@pytest.mark.broker
@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        (
            "Broken",
            "Runtime.ImportModuleError",
            "Unable to import module 'broken': No module named 'a_library_that_nobo",
        ),
        ("NoSuchFunction", "Runtime.HandlerNotFound", "Handler 'no_such_function' missing on module 'work'"),
    ],
)
def test_a_handler_that_cannot_be_loaded_is_told_per_batch_and_its_records_are_dead_lettered(
    failing: Failing, name: str, error: str, message: str
) -> None:  # A.4
    told = failing.service.log(error, mapping=f"{name}.Source")
    assert len(told) == 2  # MaximumRetryAttempts 1
    assert message in told[0]["message"]
    (letter,) = failing.letters(name)
    assert set(ids_of([letter])) == failing.books[name].good
    assert letter.record["responseContext"]["functionError"] == "Unhandled"
    assert letter.record["requestContext"]["approximateInvokeCount"] == 2


@pytest.mark.broker
@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("NoJson", "the reply is not JSON: the whole batch counts as failed"),
        ("Stranger", 'itemIdentifier {"partition": "elsewhere-0", "offset": 7} is not in the batch: the whole batch'),
    ],
)
@pytest.mark.statement(36)
def test_a_reply_that_cannot_be_used_fails_the_whole_batch(failing: Failing, name: str, problem: str) -> None:
    """C.6, G 36."""
    book = failing.books[name]
    told = [
        line for line in failing.service.log("records from", mapping=f"{name}.Source") if problem in line["message"]
    ]
    assert len(told) == 2
    assert set(book.attempts().values()) == {2}
    (letter,) = failing.letters(name)
    assert set(ids_of([letter])) == book.good
    assert letter.record["responseContext"]["functionError"] is None  # C.6


@pytest.mark.broker
def test_a_failing_function_disturbs_no_other(failing: Failing) -> None:
    assert failing.books["Good"].missing() == set()
    assert failing.books["Good"].duplicates() == 0
    assert failing.letters("Good") == []
    assert failing.service.readyz()[0] == 200
    assert failing.service.get("healthz")[0] == 200
    assert failing.service.state("Broken.Source")["LastProcessingResult"] == "PROBLEM: Function call failed"  # C.2
    assert failing.service.state("Good.Source")["LastProcessingResult"] == "OK"


@pytest.mark.broker
def test_messages_without_a_body_or_an_id_are_handled(failing: Failing) -> None:  # D.2
    assert [one.body for one in failing.books["Tasks"].handlings()] == ["", "plain text", '{"poison": true}']


# --- before anything starts ----------------------------------------------------------------------------------------


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [POLLER, "run", *map(str, arguments)]
    return subprocess.run(command, env=environment(), text=True, capture_output=True, timeout=30, check=False)


def test_a_port_in_use_is_told_with_the_way_out(ledger: Ledger, tmp_path: Path) -> None:
    function = stack.function(ledger, stack.kafka_event("127.0.0.1:1", "orders"))
    template = tmp_path / "template.yaml"
    template.write_text(yaml.safe_dump(stack.template({"Orders": function})))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run(template, "--port", port)
    assert done.returncode == 4
    assert done.stderr == (
        f"poller: port {port} on 127.0.0.1 is in use by another program: "
        "take another with --port or POLLER_PORT (0 takes a free one)\n"
    )


def test_a_template_that_is_not_yaml_is_told_with_the_line(tmp_path: Path) -> None:
    template = tmp_path / "template.yaml"
    template.write_text("Resources:\n  Orders: [\n")
    done = run(template)
    assert done.returncode == 2
    assert "template.yaml" in done.stderr
    assert "line 3" in done.stderr
    assert "Traceback" not in done.stderr


def test_all_that_is_wrong_with_a_template_is_told_at_once(ledger: Ledger, tmp_path: Path) -> None:
    event = stack.kafka_event("127.0.0.1:1", "orders", BatchSize=0)
    functions = {
        "NoFolder": stack.function(ledger, event, CodeUri="nowhere"),
        "NoModule": stack.function(ledger, stack.kafka_event("127.0.0.1:1", "others"), handler="absent.handler"),
        "NoCode": {"Type": "AWS::Serverless::Function", "Properties": {"Runtime": "python3.13", "Handler": "a.b"}},
        "NoAddress": stack.function(ledger, stack.mq_event("tasks")),
    }
    template = tmp_path / "template.yaml"
    template.write_text(yaml.safe_dump(stack.template(functions)))
    done = run(template)
    assert done.returncode == 2
    assert done.stdout == ""
    for problem in (
        "Resources.NoFolder.Properties.CodeUri: there is no nowhere",
        "Resources.NoFolder.Properties.Events.Source.BatchSize: 0 is below 1",
        "Resources.NoModule.Properties.Handler: there is no absent.py in",
        "Resources.NoCode.Properties.CodeUri: is missing",
        "Resources.NoAddress.Properties.Events.Source.Broker: no address is known for arn:aws:mq:",
    ):
        assert problem in done.stderr
    assert "Traceback" not in done.stderr


def test_a_missing_handler_is_told_with_its_path(ledger: Ledger, tmp_path: Path) -> None:
    function = stack.function(ledger, stack.kafka_event("127.0.0.1:1", "orders"))
    del function["Properties"]["Handler"]
    template = tmp_path / "template.yaml"
    template.write_text(yaml.safe_dump(stack.template({"Orders": function})))
    done = run(template)
    assert done.returncode == 2
    assert "Resources.Orders.Properties.Handler: is missing" in done.stderr
