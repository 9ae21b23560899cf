"""The whole program on real brokers: what is good is handled, what is poison ends in its dead-letter place, once.

One service with a mapping for each way to fail; it works everything off, then every test looks at its part.
"""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest
from brokers import KafkaBroker, Produce, RabbitMQBroker, unique
from contract.source_harnesses import KAFKA_CLIENTS
from integration.harness import stack
from integration.harness.ledger import (
    Ledger,
    ids_of,
    letters_in_file,
    letters_in_topic,
    read_letter,
    wait_until_committed,
)
from integration.harness.service import Service
from secure_brokers import CERTIFICATE
from waiting import eventually

pytestmark = [
    pytest.mark.broker,
    pytest.mark.secure(CERTIFICATE),
    pytest.mark.usefixtures("refused_connections"),
]

MB = 1024 * 1024


class Pipeline:
    """What every mapping reads and writes; `work_off` produces, runs the service, and leaves the results."""

    def __init__(self, kafka: KafkaBroker, rabbitmq: RabbitMQBroker, folder: Path) -> None:
        self.kafka, self.rabbitmq, self.folder = kafka, rabbitmq, folder
        self.books: dict[str, Ledger] = {}
        self.functions: dict[str, stack.Resource] = {}
        self.extensions: dict[str, dict[str, Any]] = {}
        self.topics: dict[str, str] = {}
        self.queues: dict[str, str] = {}
        self.targets: dict[str, str] = {}
        self._produce()

    def book(self, name: str) -> Ledger:
        path = self.folder / name
        path.mkdir()
        self.books[name] = Ledger(path, seed=len(self.books))
        return self.books[name]

    def from_topic(self, name: str, handler: str, *, partitions: int = 1, configs: Any = None, **event: Any) -> Ledger:
        book = self.book(name)
        self.topics[name] = topic = self.kafka.create_topic(partitions, name=unique(name), configs=configs)
        self.functions[name] = stack.function(book, stack.kafka_event(self.kafka, topic, **event), handler=handler)
        return book

    def from_queue(self, name: str, handler: str, kind: str = "quorum", **extensions: Any) -> Ledger:
        book = self.book(name)
        self.queues[name] = queue = self.rabbitmq.declare_queue(kind, dead_letters=True)
        self.functions[name] = stack.function(book, stack.mq_event(queue), handler=handler)
        self.extensions[name] = extensions
        return book

    def _produce(self) -> None:
        kafka, rabbitmq = self.kafka, self.rabbitmq
        dead = self.targets["Partial"] = kafka.create_topic(2, name=unique("Partial-dead"))
        partial = self.from_topic(
            "Partial",
            "work.report",
            partitions=4,
            dead_letters=dead,
            MaximumRetryAttempts=1,
            FunctionResponseTypes=["ReportBatchItemFailures"],
        )
        partial.produce(kafka, self.topics["Partial"], 1000, poison=0.02)

        self.targets["Bisect"] = str(self.folder / "bisect.jsonl")
        bisect = self.from_topic(
            "Bisect", "work.throw", partitions=2, MaximumRetryAttempts=1, BisectBatchOnFunctionError=True
        )
        self.extensions["Bisect"] = {"OnFailure": f"file:{self.targets['Bisect']}"}
        bisect.produce(kafka, self.topics["Bisect"], 200, partitions=2, poison=0.02)

        dead = self.targets["Mixed"] = kafka.create_topic(name=unique("Mixed-dead"))
        mixed = self.from_topic(
            "Mixed",
            "work.throw",
            partitions=3,
            dead_letters=dead,
            BatchSize=250,  # more than two partitions have, whichever come first
            MaximumBatchingWindowInSeconds=3,
            MaximumRetryAttempts=1,
            BisectBatchOnFunctionError=True,
        )
        self.extensions["Mixed"] = {"EventGrouping": "Poller", "ErrorHeaders": "spring"}
        mixed.produce(kafka, self.topics["Mixed"], 300, partitions=3, poison=0.02)

        queue = self.targets["Filter"] = rabbitmq.declare_queue()
        url = f"{rabbitmq.url}//{queue}"
        chosen = self.from_topic(
            "Filter",
            "work.report",
            MaximumRetryAttempts=0,
            FunctionResponseTypes=["ReportBatchItemFailures"],
            FilterCriteria={"Filters": [{"Pattern": json.dumps({"value": {"site": [{"prefix": "plant-"}]}})}]},
        )
        self.extensions["Filter"] = {"OnFailure": url}
        wanted = chosen.bodies(60, poison=0.1, site="plant-7")
        passed_over = [json.dumps({"id": f"passed-over-{number}", "site": "office"}).encode() for number in range(60)]
        mixed = [body for pair in zip(passed_over, wanted, strict=True) for body in pair]
        kafka.produce(self.topics["Filter"], [*mixed, *passed_over])

        dead = self.targets["Large"] = kafka.create_topic(name=unique("Large-dead"))
        large = self.from_topic(
            "Large", "work.report", dead_letters=dead, configs={"max.message.bytes": str(32 * MB)}, BatchSize=100
        )
        before, after = large.bodies(5), large.bodies(5)
        kafka.produce(
            self.topics["Large"],
            [*before, Produce(b"x" * (20 * MB), key=b"huge", headers=[("trace", b"h-1")]), *after],
        )

        empty = self.from_topic("Empty", "work.report", MaximumRetryAttempts=0)
        kafka.produce(
            self.topics["Empty"],
            [
                empty.bodies(1)[0],
                Produce(None, key=b"tombstone"),
                Produce(b"", key=b"empty"),
                b"plain text",
                empty.bodies(1)[0],
            ],
        )

        retries = {"MaximumRetryAttempts": 1, "FunctionResponseTypes": ["ReportBatchItemFailures"]}
        tasks = self.from_queue("Tasks", "work.report", **retries)
        tasks.publish(rabbitmq, self.queues["Tasks"], 400, poison=0.02)
        rabbitmq.publish(self.queues["Tasks"], [b"x" * (8 * MB)], message_id="huge")
        tasks.publish(rabbitmq, self.queues["Tasks"], 20)

        classic = self.from_queue("Classic", "work.report", "classic", **retries)
        classic.publish(rabbitmq, self.queues["Classic"], 100, poison=0.05)

        dead = self.targets["Letters"] = kafka.create_topic(name=unique("Letters-dead"))
        letters = self.from_queue("Letters", "work.report", **retries, OnFailure=f"kafka://{kafka.address}/{dead}")
        letters.publish(rabbitmq, self.queues["Letters"], 100, poison=0.05)
        rabbitmq.publish(self.queues["Letters"], [b""], message_id="empty")

    def work_off(self, kafka_client: str) -> None:
        template = stack.template(
            self.functions,
            extensions=self.extensions,
            endpoints={stack.RABBITMQ_ARN: self.rabbitmq.service_url},
            TimeScale=10,
        )
        with Service(self.folder, template, POLLER_KAFKA_CLIENT=kafka_client) as service:
            for topic in self.topics.values():
                wait_until_committed(self.kafka, topic, topic)
            for name, queue in self.queues.items():
                self.books[name].wait_until_handled()
                # What a consumer has and did not settle is not in the depth, so look where it ends.
                eventually(lambda name=name: self._dead(name) >= len(self.books[name].poison), what=f"dead of {name}")
                eventually(lambda queue=queue: not self.rabbitmq.depth(queue), what=f"an empty queue of {name}")
            # Looked at once a second by the pollers.
            eventually(lambda: not self._unfinished(service), what="nothing held")
            self.readyz = service.readyz()
            self.metrics = service.get("metrics")[1]
            self.metric = {
                name: {
                    metric: service.metric(f"{metric}_total", f"{name}.Source")
                    for metric in ("polled_event_count", "filtered_out_event_count", "committed_event_count")
                }
                for name in self.functions
            }
            assert service.stop() == 0
            assert service.problems() == []

    def _dead(self, name: str) -> int:
        if name in self.targets:
            return len(self.kafka.read(self.targets[name]))
        return self.rabbitmq.depth(f"{self.queues[name]}.dead") - (name == "Tasks")  # the message that is too large

    def _unfinished(self, service: Service) -> float:
        mappings = [f"{name}.Source" for name in self.functions]
        return sum(
            service.metric(name, mapping) for name in ("held_event_count", "sum_offset_lag") for mapping in mappings
        )


@pytest.fixture(scope="module", params=list(KAFKA_CLIENTS))
def pipeline(
    request: pytest.FixtureRequest,
    kafka: KafkaBroker,
    rabbitmq: RabbitMQBroker,
    tmp_path_factory: pytest.TempPathFactory,
) -> Pipeline:
    made = Pipeline(kafka, rabbitmq, tmp_path_factory.mktemp("pipeline"))
    made.work_off(request.param)
    return made


@pytest.mark.parametrize(
    "name", ["Partial", "Bisect", "Mixed", "Filter", "Large", "Empty", "Tasks", "Classic", "Letters"]
)
def test_every_good_record_is_handled(pipeline: Pipeline, name: str) -> None:
    assert pipeline.books[name].missing() == set()
    assert len(pipeline.books[name].good) > 0


# --- Kafka ---------------------------------------------------------------------------------------------------------


def test_exactly_the_poison_records_are_in_the_dead_letter_topic_and_each_once(pipeline: Pipeline) -> None:  # C.6
    letters = letters_in_topic(pipeline.kafka, pipeline.targets["Partial"])
    book = pipeline.books["Partial"]
    assert len(book.poison) > 5
    assert ids_of(letters) == dict.fromkeys(book.poison, 1)


def test_a_partial_response_spares_the_neighbours_a_second_handling(pipeline: Pipeline) -> None:  # C.6
    book = pipeline.books["Partial"]
    assert book.duplicates() == 0
    assert {book.attempts()[name] for name in book.poison} == {2}  # MaximumRetryAttempts 1


def test_records_of_a_partition_are_first_handled_in_order(pipeline: Pipeline) -> None:  # C.4
    for name in ("Partial", "Bisect", "Mixed", "Filter"):
        assert pipeline.books[name].out_of_order() == []


def test_a_dead_letter_in_a_topic_is_the_record_of_aws_with_headers_of_origin(pipeline: Pipeline) -> None:  # D.1.4, F.1
    topic = pipeline.topics["Partial"]
    letters = letters_in_topic(pipeline.kafka, pipeline.targets["Partial"])
    assert letters
    for letter in letters:
        ((shard, offset),) = letter.items
        record = letter.record
        assert record["requestContext"]["condition"] == "RetryAttemptsExhausted"
        assert record["requestContext"]["approximateInvokeCount"] == 2
        assert record["requestContext"]["functionArn"].endswith(":function:Partial:$LATEST")
        # C.6: used up through partial responses.
        assert record["responseContext"] == {"statusCode": 200, "executedVersion": "$LATEST", "functionError": None}
        assert record["KafkaBatchInfo"]["batchSize"] == 1
        assert record["KafkaBatchInfo"]["recordInfo"]["offset"] == str(offset)
        assert record["payload"]["eventSource"] == "SelfManagedKafka"
        assert letter.headers["__connect.errors.topic"] == topic
        assert f"{topic}-{letter.headers['__connect.errors.partition']}" == shard
        assert letter.headers["__connect.errors.offset"] == str(offset)
        assert letter.headers["__connect.errors.exception.class.name"] == "ReportBatchItemFailures"
        assert letter.headers["poller.errors.attempts"] == "2"
        assert letter.headers["poller.errors.timestamp"].endswith("Z")


def test_bisection_gives_up_exactly_the_poison_records_to_a_file(pipeline: Pipeline) -> None:  # C.4, D.1.4
    letters = letters_in_file(Path(pipeline.targets["Bisect"]))
    assert ids_of(letters) == dict.fromkeys(pipeline.books["Bisect"].poison, 1)
    assert pipeline.books["Bisect"].poison
    for letter in letters:
        assert letter.record["KafkaBatchInfo"]["batchSize"] == 1
        assert letter.record["responseContext"]["functionError"] == "Unhandled"
        assert letter.record["requestContext"]["approximateInvokeCount"] == 2


def test_one_event_of_a_poller_holds_records_of_several_partitions_and_each_is_kept_in_order(
    pipeline: Pipeline,
) -> None:  # D.1.1
    shards: dict[str, set[str]] = {}
    for handling in pipeline.books["Mixed"].handlings():
        shards.setdefault(handling.request, set()).add(handling.shard)
    assert max(map(len, shards.values())) == 3


def test_spring_s_headers_say_in_bytes_where_a_dead_letter_came_from(pipeline: Pipeline) -> None:  # F.2, C.4
    read = pipeline.kafka.read(pipeline.targets["Mixed"])
    letters = letters_in_topic(pipeline.kafka, pipeline.targets["Mixed"])
    assert ids_of(letters) == dict.fromkeys(pipeline.books["Mixed"].poison, 1)
    for one, letter in zip(read, letters, strict=True):
        headers = dict(one.headers)
        ((_, record),) = letter.record["payload"]["records"].items()
        partition, offset, time = (
            headers[f"kafka_dlt-original-{name}"] for name in ("partition", "offset", "timestamp")
        )
        assert struct.unpack(">iqq", partition + offset + time) == (
            record[0]["partition"],
            record[0]["offset"],
            record[0]["timestamp"],
        )
        assert headers["kafka_dlt-original-topic"].decode() == pipeline.topics["Mixed"]
        assert headers["kafka_dlt-original-consumer-group"].decode() == pipeline.topics["Mixed"]
        assert headers["kafka_dlt-original-timestamp-type"] == b"CreateTime"
        assert headers["kafka_dlt-exception-fqcn"] == b"ValueError"
        assert headers["kafka_dlt-exception-message"] == b"poison"


def test_filtered_out_records_are_never_handled_but_committed(pipeline: Pipeline) -> None:  # C.5
    book, metric = pipeline.books["Filter"], pipeline.metric["Filter"]
    assert set(book.attempts()) == book.good | book.poison
    assert metric["filtered_out_event_count"] == 120
    assert metric["polled_event_count"] == metric["committed_event_count"] == 180


def test_dead_letters_of_a_topic_can_go_to_a_queue(pipeline: Pipeline) -> None:
    messages = pipeline.rabbitmq.drain(pipeline.targets["Filter"])
    letters = [read_letter(body, properties.headers) for properties, body in messages]
    assert ids_of(letters) == dict.fromkeys(pipeline.books["Filter"].poison, 1)
    for (properties, _), letter in zip(messages, letters, strict=True):
        assert properties.delivery_mode == 2
        assert properties.headers["__connect.errors.connector.name"] == "Filter"
        # One letter a batch: its records stand in recordsInfo.
        assert letter.record["KafkaBatchInfo"]["batchSize"] == len(letter.items)
        (where,) = letter.record["KafkaBatchInfo"]["recordsInfo"].items()
        offsets = [offset for _, offset in letter.items]
        assert where[0] == f"{pipeline.topics['Filter']}-0"
        assert (where[1]["firstRecordOffset"], where[1]["lastRecordOffset"]) == (str(offsets[0]), str(offsets[-1]))


def test_a_record_of_20_mb_is_discarded_unhandled_and_its_neighbours_are_handled(pipeline: Pipeline) -> None:  # C.4
    (letter,) = letters_in_topic(pipeline.kafka, pipeline.targets["Large"])
    assert letter.record["requestContext"]["condition"] == "MaximumPayloadSizeExceeded"
    assert letter.record["requestContext"]["approximateInvokeCount"] == 0
    assert letter.record["responseContext"] is None
    assert letter.record["KafkaBatchInfo"]["recordInfo"]["offset"] == "5"
    assert letter.record["KafkaBatchInfo"]["payloadSize"] > 26 * MB
    # The topic takes 1 MB: the letter goes there without its payload, and the offset still leads to the record.
    assert "payload" not in letter.record
    assert letter.key == b"huge"
    assert letter.headers["trace"] == "h-1"
    assert letter.headers["__connect.errors.offset"] == "5"
    assert len(pipeline.books["Large"].handlings()) == 10


def test_tombstones_empty_values_and_null_keys_reach_the_handler(pipeline: Pipeline) -> None:  # D.1.1
    handlings = pipeline.books["Empty"].handlings()
    assert [handling.position for handling in handlings] == [0, 1, 2, 3, 4]
    assert [handling.body for handling in handlings[1:4]] == [None, "", "plain text"]


# --- RabbitMQ ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["Tasks", "Classic"])
def test_exactly_the_poison_messages_are_rejected_to_the_dead_letter_exchange(pipeline: Pipeline, name: str) -> None:
    book = pipeline.books[name]  # F.3, F.4
    dead = [
        (properties, body)
        for properties, body in pipeline.rabbitmq.drain(f"{pipeline.queues[name]}.dead")
        if properties.message_id != "huge"
    ]
    assert len(book.poison) > 1
    assert sorted(properties.message_id for properties, _ in dead) == sorted(book.poison)
    for properties, body in dead:
        assert json.loads(body)["id"] == properties.message_id  # the message itself, not a record about it
        (death,) = properties.headers["x-death"]
        assert (death["reason"], death["queue"], death["count"]) == ("rejected", pipeline.queues[name], 1)


@pytest.mark.parametrize("name", ["Tasks", "Classic", "Letters"])
def test_failed_messages_come_again_and_their_neighbours_do_not(pipeline: Pipeline, name: str) -> None:  # F.4
    book = pipeline.books[name]
    assert book.duplicates() == 0
    assert {book.attempts()[name] for name in book.poison} == {2}
    assert {one.redelivered for one in book.handlings() if one.id in book.good} == {False}
    assert sum(one.redelivered for one in book.handlings() if one.id in book.poison) == len(book.poison)


def test_a_message_that_no_event_can_hold_is_rejected_unhandled(pipeline: Pipeline) -> None:  # C.4
    queue = pipeline.queues["Tasks"]
    assert "x" * 100 not in {handling.body for handling in pipeline.books["Tasks"].handlings()}
    assert pipeline.metric["Tasks"]["polled_event_count"] == 421 + len(pipeline.books["Tasks"].poison)
    assert pipeline.rabbitmq.depth(queue) == 0


def test_given_up_messages_can_go_to_a_topic_as_records_about_them(pipeline: Pipeline) -> None:  # D.1.4's shape
    letters = letters_in_topic(pipeline.kafka, pipeline.targets["Letters"])
    assert ids_of(letters) == dict.fromkeys(pipeline.books["Letters"].poison, 1)
    for letter in letters:
        assert letter.record["RabbitMQBatchInfo"]["queue"] == pipeline.queues["Letters"]
        assert letter.headers["poller.errors.queue"] == pipeline.queues["Letters"]
    assert pipeline.rabbitmq.depth(f"{pipeline.queues['Letters']}.dead") == 0


def test_a_message_without_a_body_is_handled(pipeline: Pipeline) -> None:  # D.2
    assert [one.body for one in pipeline.books["Letters"].handlings()].count("") == 1


# --- how it looks while it runs ------------------------------------------------------------------------------------


def test_every_mapping_says_that_it_is_enabled_and_what_came_of_the_last_batch(pipeline: Pipeline) -> None:  # C.2
    status, states = pipeline.readyz
    assert status == 200
    assert {state["State"] for state in states.values()} == {"Enabled"}
    assert {state["Problem"] for state in states.values()} == {""}
    assert states["Tasks.Source"]["LastProcessingResult"] == "OK"


def test_lag_and_held_records_are_nothing_once_all_is_worked_off(pipeline: Pipeline) -> None:  # C.9
    for name in ("held_event_count", "max_offset_lag", "sum_offset_lag"):
        lines = [line for line in pipeline.metrics.splitlines() if line.startswith(f"poller_{name}{{")]
        assert len(lines) == len(pipeline.functions)
        assert {line.rpartition(" ")[2] for line in lines} == {"0.0"}
