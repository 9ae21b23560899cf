"""Statements of part G on real brokers: the whole program, each statement with a mapping of its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from brokers import KafkaBroker, Produce, RabbitMQBroker, unique
from contract.source_harnesses import KAFKA_CLIENTS
from integration.harness import stack
from integration.harness.ledger import Ledger, letters_in_file, wait_until_committed
from integration.harness.service import Service
from waiting import eventually

pytestmark = [
    pytest.mark.broker,
    pytest.mark.usefixtures("refused_connections"),
]

SUCCESS = [None, {}, "", {"batchItemFailures": []}, {"batchItemFailures": None}]
FAILURE: list[dict[str, Any]] = [
    {"batchItemFailures": [{"itemIdentifier": ""}]},
    {"batchItemFailures": [{"itemIdentifier": None}]},
    {"batchItemFailures": [{"itemIdentifier": {"partition": "elsewhere-0", "offset": 0}}]},
    {"batchItemFailures": [{"id": {"partition": "elsewhere-0", "offset": 0}}]},
]
REPORT = ["ReportBatchItemFailures"]
FULL = {"MaximumBatchingWindowInSeconds": 300}
"""Batches are of exactly BatchSize, however the records arrive."""


class Statements:
    """One service on mappings that had work before it started; it runs until all of that is done."""

    def __init__(self, kafka: KafkaBroker, rabbitmq: RabbitMQBroker, folder: Path) -> None:
        self.kafka, self.rabbitmq, self.folder = kafka, rabbitmq, folder
        self.books: dict[str, Ledger] = {}
        self.topics: dict[str, str] = {}
        self.functions: dict[str, stack.Resource] = {}
        self.given_up = folder / "given-up.jsonl"

        blocked = self.from_topic("Blocked", "work.throw", partitions=2, BatchSize=2)
        del self.functions["Blocked"]["Properties"]["Events"]["Source"]["Properties"]["ProvisionedPollerConfig"]
        poison = blocked.bodies(1, poison=1.0)
        kafka.produce(self.topics["Blocked"], [Produce(body, partition=0) for body in [*poison, *blocked.bodies(5)]])
        self.behind = set(blocked.good)
        kafka.produce(self.topics["Blocked"], [Produce(body, partition=1) for body in blocked.bodies(6)])

        exhausted = self.from_topic("Exhausted", "work.throw", BatchSize=3, MaximumRetryAttempts=1, **FULL)
        kafka.produce(self.topics["Exhausted"], exhausted.bodies(3, poison=1.0))

        pattern = json.dumps({"value": {"kind": ["wanted"]}})
        chosen = self.from_topic("Filter", "work.report", FilterCriteria={"Filters": [{"Pattern": pattern}]})
        passed_over = json.dumps({"id": "passed over", "kind": "unwanted"}).encode()
        kafka.produce(self.topics["Filter"], [passed_over, b"plain text", *chosen.bodies(1, kind="wanted")])

        for name, replies in ("Success", SUCCESS), ("Failure", FAILURE):
            book = self.from_topic(
                name, "work.answer_as_told", BatchSize=2, MaximumRetryAttempts=1, FunctionResponseTypes=REPORT, **FULL
            )
            kafka.produce(self.topics[name], [body for reply in replies for body in book.bodies(2, reply=reply)])

        self.queue = rabbitmq.declare_queue()
        tasks = self.book("Tasks")
        event = stack.mq_event(self.queue, BatchSize=3, **FULL)
        self.functions["Tasks"] = stack.function(tasks, event, handler="work.throw_at_first")
        tasks.publish(rabbitmq, self.queue, 3)

    def book(self, name: str) -> Ledger:
        path = self.folder / name
        path.mkdir()
        self.books[name] = Ledger(path)
        return self.books[name]

    def from_topic(self, name: str, handler: str, *, partitions: int = 1, **event: Any) -> Ledger:
        book = self.book(name)
        self.topics[name] = topic = self.kafka.create_topic(partitions, name=unique(name))
        self.functions[name] = stack.function(book, stack.kafka_event(self.kafka, topic, **event), handler=handler)
        return book

    def run(self, kafka_client: str) -> None:
        template = stack.template(
            self.functions,
            extensions={"Exhausted": {"OnFailure": f"file:{self.given_up}"}},
            endpoints={stack.RABBITMQ_ARN: self.rabbitmq.url},
            TimeScale=10,
        )
        with Service(self.folder, template, POLLER_KAFKA_CLIENT=kafka_client) as service:
            for name in ("Exhausted", "Filter", "Success", "Failure"):
                wait_until_committed(self.kafka, self.topics[name], self.topics[name])
            topic, book = self.topics["Blocked"], self.books["Blocked"]
            (poison,) = book.poison
            eventually(lambda: book.attempts()[poison] >= 3, what="three attempts of the failing batch")
            eventually(lambda: f"{topic}-1" in self.kafka.committed(topic, topic), what="a commit of partition 1")
            eventually(lambda: not book.good - self.behind - book.handled(), what="the handling of partition 1")
            eventually(lambda: self.kafka.committed(topic, topic)[f"{topic}-1"] == 6, what="the end of partition 1")
            self.committed = self.kafka.committed(topic, topic)
            self.books["Tasks"].wait_for(6)
            assert service.stop() == 0
            assert service.problems() == []


@pytest.fixture(scope="module", params=list(KAFKA_CLIENTS))
def statements(
    request: pytest.FixtureRequest,
    kafka: KafkaBroker,
    rabbitmq: RabbitMQBroker,
    tmp_path_factory: pytest.TempPathFactory,
) -> Statements:
    made = Statements(kafka, rabbitmq, tmp_path_factory.mktemp("statements"))
    made.run(request.param)
    return made


@pytest.mark.statement(34)
def test_plain_text_passes_a_json_filter_on_the_value(statements: Statements) -> None:
    """G 34, C.5."""
    bodies = [one.body for one in statements.books["Filter"].handlings()]
    assert [json.loads(body)["id"] if body != "plain text" else body for body in bodies if body] == [
        "plain text",
        *statements.books["Filter"].good,
    ]


@pytest.mark.statement(35)
def test_replies_that_name_nothing_mean_success(statements: Statements) -> None:
    """G 35, C.6."""
    book = statements.books["Success"]
    assert len(book.good) == 2 * len(SUCCESS)
    assert set(book.attempts().values()) == {1}
    assert book.missing() == set()


@pytest.mark.statement(36)
def test_replies_that_name_nothing_known_retry_the_whole_batch(statements: Statements) -> None:
    """G 36, C.6. MaximumRetryAttempts is 1, so everything is handled twice."""
    book = statements.books["Failure"]
    assert len(book.good) == 2 * len(FAILURE)
    assert {name: book.attempts()[name] for name in book.good} == dict.fromkeys(book.good, 2)


@pytest.mark.statement(37)
def test_a_failing_batch_is_not_committed_what_is_behind_it_waits_and_other_partitions_go_on(
    statements: Statements,
) -> None:
    """G 37, D.1.2: on demand, so retried without end."""
    book, topic = statements.books["Blocked"], statements.topics["Blocked"]
    assert statements.committed == {f"{topic}-1": 6}
    assert {one.position for one in book.handlings() if one.shard == f"{topic}-0"} == {0}
    assert book.handled() == book.good - statements.behind


@pytest.mark.statement(38)
def test_retries_used_up_send_a_record_with_first_and_last_offset_of_the_partition(statements: Statements) -> None:
    """G 38, D.1.4."""
    (letter,) = letters_in_file(statements.given_up)
    assert letter.record["requestContext"]["condition"] == "RetryAttemptsExhausted"
    assert letter.record["requestContext"]["approximateInvokeCount"] == 2
    info = letter.record["KafkaBatchInfo"]
    assert info["batchSize"] == 3
    ((shard, extent),) = info["recordsInfo"].items()
    assert shard == f"{statements.topics['Exhausted']}-0"
    assert (extent["firstRecordOffset"], extent["lastRecordOffset"]) == ("0", "2")
    assert extent["firstRecordTimestamp"] <= extent["lastRecordTimestamp"]


@pytest.mark.statement(39)
def test_every_message_of_a_failed_batch_is_delivered_again_and_acknowledged_on_success(
    statements: Statements,
) -> None:
    """G 39, D.2."""
    book = statements.books["Tasks"]
    assert {name: book.attempts()[name] for name in book.good} == dict.fromkeys(book.good, 2)
    assert [one.redelivered for one in book.handlings()] == [False] * 3 + [True] * 3
    assert statements.rabbitmq.depth(statements.queue) == 0
