"""`poller dead-letters` against real brokers: found, shown, redriven once, purged."""

from __future__ import annotations

import json
import os
import signal
import struct
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pika
import pytest
from brokers import KafkaBroker, Produce, RabbitMQBroker, unique
from integration.harness import stack
from integration.harness.ledger import Ledger, wait_until_committed
from integration.harness.service import Service
from templates import PROVISIONED, document, write
from waiting import eventually

from poller.cli import main
from poller.cli_options import ExitCode
from poller.dead_letters.amqp_headers import exact_headers
from poller.dead_letters.letter import Verbatim
from poller.destinations.kafka import KafkaDestination
from poller.destinations.rabbitmq import RabbitMQDestination
from poller.model import DeadLetter, Discard, InvocationResult, Record
from poller.policy.error_headers import KafkaOrigin, RabbitMQOrigin
from poller.policy.invocation_records import RecordContext, dead_letters
from poller.sources import kafka_event, rabbitmq_event
from poller.sources.kafka_run import record_head, to_run

pytestmark = [
    pytest.mark.broker,
    # kafka-python leaves the sockets of connection attempts that failed to the garbage collector.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

FAILED = InvocationResult(
    "request-1", b'{"errorMessage":"no price","errorType":"ValueError"}', function_error="Unhandled"
)
Run = Callable[..., tuple[int, Any, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """A command in this process: exit code, the answer, what it said."""

    def call(action: str, *arguments: str) -> tuple[int, Any, str]:
        with monkeypatch.context() as patch:
            patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
            code = main(["dead-letters", action, *arguments, "--json"])
        out, err = capsys.readouterr()
        return code, json.loads(out) if out else None, err

    return call


def kafka_records(topic: str, *numbers: int, partition: int = 1, value: bytes | None = b"v-%d") -> list[Record]:
    """Records as the source hands them out."""
    count = len(numbers)
    return to_run(
        f"{topic}-{partition}",
        record_head(topic, partition),
        numbers,
        [(0, 1_764_064_741_304)] * count,
        [b"k-%d" % number for number in numbers],
        [None if value is None else value % number for number in numbers],
        [[("trace", b"\xff%d" % number), ("trace", b"2")] for number in numbers],
    ).records()


def letters(
    records: Sequence[Record], *, each_record: bool = True, result: InvocationResult = FAILED, **changes: Any
) -> list[DeadLetter]:
    """Letters as the poller writes them."""
    is_message = "::" in records[0].shard
    queue = records[0].shard.partition("::")[0]
    if is_message:
        head = rabbitmq_event.event_head(rabbitmq_event.RabbitMQSettings(queue=queue, event_source_arn="arn"))
        build = rabbitmq_event.build_event
    else:
        servers = [str(changes.pop("servers", "elsewhere:9092"))]
        head = kafka_event.event_head(kafka_event.KafkaSettings(bootstrap_servers=servers, topic="t", group_id=""))
        build = kafka_event.build_event
    context = RecordContext(
        function_name="orders",
        function_arn="arn:aws:lambda:us-east-1:123456789012:function:orders",
        mapping_uuid="0d0e",
        event_source_arn=None,
        origin=RabbitMQOrigin(queue, "/") if is_message else KafkaOrigin("elsewhere:9092"),
        build_event=lambda some: build(head, some),
    )
    discard = Discard(records, "RetryAttemptsExhausted", 3, result)
    return dead_letters(discard, context, now=changes.get("now", 1_764_064_800.0), each_record=each_record)


def bury(kafka: KafkaBroker, topic: str, some: Sequence[DeadLetter]) -> None:
    destination = KafkaDestination(kafka.address, topic)
    destination.send(some)
    destination.close()


class Buried:
    """A topic, and a dead-letter topic with ten letters about it."""

    def __init__(self, kafka: KafkaBroker, *, partitions: int = 1) -> None:
        self.topic = kafka.create_topic(partitions=3)
        self.dead = kafka.create_topic(partitions=partitions)
        self.url = f"kafka://{kafka.address}/{self.dead}"
        self._kafka = kafka
        bury(kafka, self.dead, letters(kafka_records(self.topic, *range(10))))

    def redriven(self) -> list[tuple[bytes, bytes]]:
        """Key and value of what came back."""
        return sorted((record.key, record.value) for record in self._kafka.read(self.topic))


@pytest.fixture
def buried(kafka: KafkaBroker) -> Buried:
    return Buried(kafka)


def pairs(numbers: Sequence[int]) -> list[tuple[bytes, bytes]]:
    return [(b"k-%d" % number, b"v-%d" % number) for number in numbers]


# --- Kafka -----------------------------------------------------------------------------------------------------------


def test_a_topic_s_letters_are_listed_with_origin_error_attempts_and_time(buried: Buried, run: Run) -> None:
    code, found, err = run("list", buried.url)
    assert (code, len(found)) == (ExitCode.OK, 10)
    assert found[3] == {
        "Letter": "0:3",
        "Origin": f"{buried.topic}-1 3",
        "Condition": "RetryAttemptsExhausted",
        "ErrorType": "ValueError",
        "ErrorMessage": "no price",
        "Attempts": 3,
        "Time": "2025-11-25T10:00:00.000Z",
        "Key": "k-3",
        "FunctionName": "orders",
        "RequestId": "request-1",
        "Records": 1,
        "Problem": None,
        "Redriven": False,
    }
    assert f"10 letters from the topic {buried.dead}" in err


def test_letters_are_filtered_by_error_time_and_key(kafka: KafkaBroker, buried: Buried, run: Run) -> None:
    timeout = InvocationResult("r", b'{"errorType":"Sandbox.Timedout"}', function_error="Unhandled")
    later = letters(kafka_records(buried.topic, 10, 11), result=timeout, now=1_764_070_000.0)
    bury(kafka, buried.dead, later)

    def names(*options: str) -> list[str]:
        return [letter["Letter"] for letter in run("list", buried.url, *options)[1]]

    assert names("--error", "timedout") == ["0:10", "0:11"]
    assert names("--since", "2025-11-25T11:00:00Z") == ["0:10", "0:11"]
    assert names("--until", "2025-11-25T11:00:00Z", "--key", "k-4") == ["0:4"]
    assert names("--key", "k-10", "--error", "ValueError") == []
    assert names("--limit", "2") == ["0:0", "0:1"]


def test_a_letter_is_shown_with_its_record(buried: Buried, run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    _, found, _ = run("show", buried.url, "0:7")
    assert found["Originals"] == [
        {
            "Topic": buried.topic,
            "Partition": 1,
            "Offset": 7,
            "Key": "k-7",
            "Headers": [{"trace": {"base64": "/zc="}}, {"trace": "2"}],
            "Value": "v-7",
        }
    ]
    assert main(["dead-letters", "show", buried.url, "0:7"]) == ExitCode.OK
    assert f"record     {buried.topic}-1 7\n  key      k-7" in capsys.readouterr().out
    for missing in ("0:99", "7:0", "x"):
        assert main(["dead-letters", "show", buried.url, missing]) == ExitCode.BAD_CONFIGURATION
        assert f"poller: {missing}: there is no such letter" in capsys.readouterr().err


def test_a_redriven_record_is_the_record_that_failed(kafka: KafkaBroker, buried: Buried, run: Run) -> None:
    code, sums, _ = run("redrive", buried.url, "--same-partition")
    assert (code, sums["Letters"], sums["Sent"], sums["Confirmed"], sums["Marked"]) == (ExitCode.OK, 10, 10, 10, 10)
    records = kafka.read(buried.topic)
    assert [(record.key, record.value) for record in records] == pairs(range(10))
    assert {record.partition for record in records} == {1}
    assert list(records[0].headers) == [("trace", b"\xff0"), ("trace", b"2")]


def test_a_dry_run_changes_nothing(kafka: KafkaBroker, buried: Buried, run: Run) -> None:
    before = len(kafka.read(buried.dead))
    code, sums, _ = run("redrive", buried.url, "--dry-run")
    assert (code, sums["Letters"], sums["Sent"], sums["Confirmed"]) == (ExitCode.OK, 10, 10, 0)
    assert (buried.redriven(), len(kafka.read(buried.dead))) == ([], before)


def test_nothing_is_redriven_twice(kafka: KafkaBroker, run: Run) -> None:
    buried = Buried(kafka, partitions=3)
    assert run("redrive", buried.url, "--key", "k-4")[1]["Letters"] == 1
    assert run("redrive", buried.url, "--limit", "3")[1]["Letters"] == 3
    assert len(run("list", buried.url)[1]) == 6
    assert run("redrive", buried.url)[1]["Letters"] == 6
    code, sums, _ = run("redrive", buried.url)
    assert (code, sums["Letters"]) == (ExitCode.OK, 0)
    assert buried.redriven() == sorted(pairs(range(10)))
    assert [letter["Redriven"] for letter in run("list", buried.url, "--all")[1]] == [True] * 10
    assert run("list", buried.url)[1] == []


def test_without_transactions_nothing_is_redriven_twice_either(buried: Buried, run: Run) -> None:
    for letters_left in (10, 0):
        code, sums, _ = run("redrive", buried.url, "--without-transactions")
        assert (code, sums["Letters"], sums["Marked"]) == (ExitCode.OK, letters_left, letters_left)
    assert buried.redriven() == pairs(range(10))


def test_what_the_poller_gave_up_goes_back_as_it_was(
    kafka: KafkaBroker, run: Run, ledger: Ledger, tmp_path: Path
) -> None:
    topic, dead = kafka.create_topic(partitions=2), kafka.create_topic()
    ledger.produce(kafka, topic, 60, partitions=2, poison=0.2)
    event = stack.kafka_event(
        kafka, topic, dead_letters=dead, MaximumRetryAttempts=0, FunctionResponseTypes=["ReportBatchItemFailures"]
    )
    with Service(tmp_path, stack.template({"Orders": stack.function(ledger, event)})) as service:
        wait_until_committed(kafka, topic, topic)
        assert service.stop() == 0
    before = {(record.partition, record.offset) for record in kafka.read(topic)}
    (template,) = tmp_path.glob("template-*.yaml")
    code, sums, _ = run("redrive", "Orders.Source", "--template", str(template), "--same-partition")
    assert len(ledger.poison) > 5
    assert (code, sums["Letters"], sums["Marked"]) == (ExitCode.OK, len(ledger.poison), len(ledger.poison))
    records = kafka.read(topic)
    known = {record.value: contents(record) for record in records if (record.partition, record.offset) in before}
    again = [record for record in records if (record.partition, record.offset) not in before]
    assert sorted(json.loads(record.value)["id"] for record in again) == sorted(ledger.poison)
    assert all(contents(record) == known[record.value] for record in again)


def contents(record: Any) -> tuple[Any, ...]:
    return record.partition, record.key, record.value, list(record.headers)


def test_what_is_no_dead_letter_is_listed_and_never_redriven(kafka: KafkaBroker, run: Run) -> None:
    dead = kafka.create_topic()
    kafka.produce(dead, [Produce(b"poison"), Produce(None, b"k"), Produce(b'{"requestContext":{}}')])
    url = f"kafka://{kafka.address}/{dead}"
    code, found, _ = run("list", url)
    assert (code, [letter["Origin"] for letter in found]) == (ExitCode.OK, [None] * 3)
    code, sums, _ = run("redrive", url)
    assert (code, sums["Sent"], len(sums["Left"])) == (ExitCode.OK, 0, 3)
    assert "where it came from is unknown" in sums["Left"][0]["Reason"]


def test_what_cannot_go_back_stays_and_holds_up_nobody(kafka: KafkaBroker, buried: Buried, run: Run) -> None:
    gone, narrow = unique("gone"), kafka.create_topic(configs={"max.message.bytes": "1000"})
    bury(kafka, buried.dead, letters(kafka_records(gone, 1)))
    bury(kafka, buried.dead, letters(kafka_records(narrow, 2, value=b"%d" + b"x" * 5000)))
    bury(kafka, buried.dead, letters(kafka_records(buried.topic, 11)))
    code, sums, _ = run("redrive", buried.url)
    assert (code, sums["Letters"], sums["Marked"]) == (ExitCode.FAILED, 11, 11)
    reasons = {left["Letter"]: left["Reason"] for left in sums["Left"]}
    assert set(reasons) == {"0:10", "0:11"}
    assert f"the topic {gone} does not exist" in reasons["0:10"]
    assert "refuses it for its size" in reasons["0:11"]
    assert buried.redriven() == sorted(pairs([*range(10), 11]))
    assert not kafka.has_topic(gone)


def test_a_letter_without_its_payload_takes_the_record_from_its_topic(kafka: KafkaBroker, run: Run) -> None:
    topic, dead = kafka.create_topic(partitions=2), kafka.create_topic()
    kafka.produce(topic, [Produce(b"value-%d" % number, b"k-%d" % number, partition=1) for number in range(3)])
    whole = letters(kafka_records(topic, 2, 50))
    bury(kafka, dead, [DeadLetter(letter.without_payload or b"", letter.key, letter.headers) for letter in whole])
    url = f"kafka://{kafka.address}/{dead}"
    code, sums, _ = run("redrive", url, "--same-partition")
    assert (code, sums["Letters"], sums["Marked"]) == (ExitCode.OK, 1, 1)
    assert [left["Reason"] for left in sums["Left"]] == [
        f"its payload was left out for its size, and {topic}-1 50 is no longer in its topic"
    ]
    assert [record.value for record in kafka.read(topic)] == [b"value-0", b"value-1", b"value-2", b"value-2"]


def test_a_redrive_that_is_killed_again_and_again_repeats_and_loses_nothing(
    kafka: KafkaBroker, buried: Buried, run: Run
) -> None:
    bury(kafka, buried.dead, letters(kafka_records(buried.topic, *range(10, 100))))
    for seen in (5, 25, 50, 75):
        with redrive_in_a_process(buried.url, "--rate", "15") as killed:
            eventually(lambda seen=seen: len(kafka.read(buried.topic)) >= seen, what=f"{seen} redriven records")
            os.kill(killed.pid, signal.SIGKILL)
    code, sums, _ = run("redrive", buried.url)
    assert (code, sums["Letters"]) == (ExitCode.OK, sums["Marked"])
    assert buried.redriven() == sorted(pairs(range(100)))


def test_a_second_redrive_ends_the_first_one(kafka: KafkaBroker, buried: Buried, run: Run) -> None:
    with redrive_in_a_process(buried.url, "--rate", "2") as first:
        eventually(lambda: kafka.read(buried.topic), what="the first redriven record")
        code, sums, _ = run("redrive", buried.url)
        assert (code, sums["Marked"]) == (ExitCode.OK, sums["Letters"])
        assert first.wait(30) == ExitCode.FAILED
    assert buried.redriven() == pairs(range(10))


def test_a_mapping_s_name_leads_to_its_letters(kafka: KafkaBroker, buried: Buried, run: Run, tmp_path: Path) -> None:
    # Another address of the same cluster: that it is the same one is for the cluster to say.
    destination = f"kafka://localhost:{kafka.address.rpartition(':')[2]}/{buried.dead}"
    readings = {
        "KafkaBootstrapServers": [kafka.address],
        "Topics": [buried.topic],
        "ProvisionedPollerConfig": PROVISIONED,
    }
    settings = {"EventSources": {"Telemetry.Readings": {"OnFailure": destination}}}
    template = write(tmp_path, document(readings=readings, settings=settings))
    code, sums, _ = run("redrive", "Telemetry.Readings", "--template", str(template))
    assert (code, sums["Letters"], sums["Marked"]) == (ExitCode.OK, 10, 10)
    assert buried.redriven() == pairs(range(10))


def test_a_redrive_that_was_killed_inside_a_transaction_has_done_nothing(
    kafka: KafkaBroker, buried: Buried, run: Run
) -> None:
    with redrive_in_a_process(buried.url, before="stop_before_commit()") as killed:
        assert killed.stdout is not None
        assert killed.stdout.readline() == "uncommitted\n"
        os.kill(killed.pid, signal.SIGKILL)
    code, sums, _ = run("redrive", buried.url)
    assert (code, sums["Letters"], sums["Marked"]) == (ExitCode.OK, 10, 10)
    assert buried.redriven() == pairs(range(10))


def test_purge_deletes_what_is_there(kafka: KafkaBroker, buried: Buried, run: Run) -> None:
    assert run("redrive", buried.url, "--limit", "4")[0] == ExitCode.OK
    code, answer, _ = run("purge", buried.url, "--yes")
    assert (code, answer) == (ExitCode.OK, {"Purged": 6})
    assert kafka.read(buried.dead) == []
    assert run("list", buried.url)[1] == []
    bury(kafka, buried.dead, letters(kafka_records(buried.topic, 20)))
    assert [letter["Origin"] for letter in run("list", buried.url)[1]] == [f"{buried.topic}-1 20"]


def test_a_compacted_topic_says_that_it_cannot_be_purged(
    kafka: KafkaBroker, capsys: pytest.CaptureFixture[str]
) -> None:
    dead = kafka.create_topic(configs={"cleanup.policy": "compact"})
    bury(kafka, dead, letters(kafka_records("orders", 1)))
    url = f"kafka://{kafka.address}/{dead}"
    assert main(["dead-letters", "purge", url, "--yes"]) == ExitCode.FAILED
    assert "is compacted, and of such a topic nothing can be deleted" in capsys.readouterr().err
    assert len(kafka.read(dead)) == 1


def test_a_missing_topic_is_told_and_not_created(kafka: KafkaBroker, capsys: pytest.CaptureFixture[str]) -> None:
    topic = unique("missing")
    for action in (["list"], ["redrive"], ["purge", "--yes"]):
        code = main(["dead-letters", action[0], f"kafka://{kafka.address}/{topic}", *action[1:]])
        assert (code, capsys.readouterr().err) == (
            ExitCode.FAILED,
            f"poller: the topic {topic} does not exist at {kafka.address}, or this login may not see it\n",
        )
    assert not kafka.has_topic(topic)


def redrive_in_a_process(*arguments: str, before: str = "") -> subprocess.Popen[str]:
    """The command in a process that can be killed."""
    code = f"""
import sys, threading
from kafka import KafkaProducer
def stop_before_commit():
    def commit(self):
        print("uncommitted", flush=True)
        threading.Event().wait()
    KafkaProducer.commit_transaction = commit
def stop_before_mark():
    from poller.dead_letters.rabbitmq_queue import RabbitMQLetters
    def mark(self, letters):
        print("unmarked", flush=True)
        threading.Event().wait()
    RabbitMQLetters.mark = mark
{before}
from poller.cli import main
sys.exit(main(["dead-letters", "redrive", *{list(arguments)!r}]))
"""
    return subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]
    )


# --- RabbitMQ --------------------------------------------------------------------------------------------------------


class Rejected:
    """A queue, and the queue behind its dead-letter exchange with five messages of it."""

    def __init__(self, rabbitmq: RabbitMQBroker, kind: str = "quorum") -> None:
        self.queue = rabbitmq.declare_queue(kind, dead_letters=True)
        self.dead = f"{self.queue}.dead"
        self.url = f"{rabbitmq.url}//{self.dead}"
        self._rabbitmq = rabbitmq
        for number in range(5):
            self.reject(number)

    def reject(self, number: int, **headers: Any) -> None:
        properties = {
            "message_id": f"m-{number}",
            "headers": {"trace": number, **headers},
            "content_type": "text/plain",
        }
        self._rabbitmq.publish(self.queue, [b"body-%d" % number], **properties)
        before = self._rabbitmq.depth(self.dead)
        with self._rabbitmq.channel() as channel:
            method, _, _ = eventually(lambda: _taken(channel.basic_get(self.queue)), what="the message")
            channel.basic_reject(method.delivery_tag, requeue=False)
        eventually(lambda: self._rabbitmq.depth(self.dead) > before, what="the dead letter")


def _taken(got: tuple[Any, Any, Any]) -> tuple[Any, Any, Any] | None:
    return None if got[0] is None else got


@pytest.fixture(params=["quorum", "classic"])
def rejected(rabbitmq: RabbitMQBroker, request: pytest.FixtureRequest) -> Rejected:
    return Rejected(rabbitmq, request.param)


def test_a_queue_s_letters_are_listed_by_what_the_broker_says(rejected: Rejected, run: Run) -> None:  # F.3
    code, found, err = run("list", rejected.url)
    assert (code, len(found)) == (ExitCode.OK, 5)
    assert {**found[0], "Time": None} == {
        "Letter": "1",
        "Origin": f"queue {rejected.queue}",
        "Condition": "rejected",
        "ErrorType": "rejected",
        "ErrorMessage": None,
        "Attempts": 1,
        "Time": None,
        "Key": "m-0",
        "FunctionName": None,
        "RequestId": None,
        "Records": 1,
        "Problem": None,
        "Redriven": False,
    }
    assert found[0]["Time"]
    assert f"5 letters from the queue {rejected.dead}" in err


def test_looking_takes_nothing_away_however_often(rabbitmq: RabbitMQBroker, run: Run) -> None:
    rejected = Rejected(rabbitmq)  # a quorum queue with the default delivery limit of 20
    for _ in range(30):
        assert len(run("list", rejected.url)[1]) == 5
    assert {letter["Key"] for letter in run("list", rejected.url)[1]} == {f"m-{number}" for number in range(5)}
    assert run("show", rejected.url, "1")[1]["Originals"][0]["Queue"] == rejected.queue


def test_a_redriven_message_is_the_message_that_was_rejected(
    rabbitmq: RabbitMQBroker, rejected: Rejected, run: Run
) -> None:
    code, sums, _ = run("redrive", rejected.url)
    assert (code, sums["Letters"], sums["Sent"], sums["Confirmed"], sums["Marked"]) == (ExitCode.OK, 5, 5, 5, 5)
    assert rabbitmq.depth(rejected.dead) == 0
    properties, body = rabbitmq.drain(rejected.queue)[0]
    assert (body, properties.message_id, properties.content_type) == (b"body-0", "m-0", "text/plain")
    assert properties.headers == {"trace": 0}


def test_headers_go_back_in_their_own_types(rabbitmq: RabbitMQBroker, run: Run) -> None:
    rejected = Rejected(rabbitmq)
    headers = {
        "byte": Verbatim(7, b"b\x07"),
        "fraction": Verbatim(2, b"d" + struct.pack(">d", 2.5)),
        "far": Verbatim(None, b"T" + struct.pack(">Q", 1_764_064_800_000)),
        "raw": Verbatim("\ufffd", b"S" + struct.pack(">I", 1) + b"\xff"),
    }
    with exact_headers():
        rejected.reject(5, **headers)
    assert run("redrive", rejected.url, "--key", "m-5")[1]["Marked"] == 1
    with exact_headers():
        ((properties, _),) = rabbitmq.drain(rejected.queue)
    found = properties.headers
    assert {name: found[name].encoded for name in headers} == {name: each.encoded for name, each in headers.items()}
    assert found["trace"] == 5


def test_a_filter_leaves_the_others_in_their_queue(rabbitmq: RabbitMQBroker, rejected: Rejected, run: Run) -> None:
    code, sums, _ = run("redrive", rejected.url, "--key", "m-3")
    assert (code, sums["Letters"], sums["Marked"]) == (ExitCode.OK, 1, 1)
    assert [body for _, body in rabbitmq.drain(rejected.queue)] == [b"body-3"]
    left = eventually(lambda: rabbitmq.depth(rejected.dead) == 4, what="the others")
    assert left
    assert [letter["Key"] for letter in run("list", rejected.url)[1]] == ["m-0", "m-1", "m-2", "m-4"]


def test_a_dry_run_of_a_queue_changes_nothing(rabbitmq: RabbitMQBroker, rejected: Rejected, run: Run) -> None:
    code, sums, _ = run("redrive", rejected.url, "--dry-run")
    assert (code, sums["Sent"], sums["Confirmed"]) == (ExitCode.OK, 5, 0)
    assert (rabbitmq.depth(rejected.queue), rabbitmq.depth(rejected.dead)) == (0, 5)


def test_what_has_no_queue_to_go_to_stays(rabbitmq: RabbitMQBroker, rejected: Rejected, run: Run) -> None:
    rabbitmq.publish(rejected.dead, [b"poison"])
    rabbitmq.delete_queue(rejected.queue)
    code, sums, _ = run("redrive", rejected.url)
    assert (code, sums["Letters"], len(sums["Left"])) == (ExitCode.FAILED, 0, 6)
    assert f"there is no queue {rejected.queue}" in sums["Left"][0]["Reason"]
    assert "where it came from is unknown" in sums["Left"][5]["Reason"]
    eventually(lambda: rabbitmq.depth(rejected.dead) == 6, what="the letters")


def test_on_failure_records_in_a_queue_go_back_where_they_tell(
    kafka: KafkaBroker, rabbitmq: RabbitMQBroker, run: Run
) -> None:
    topic, tasks, dead = kafka.create_topic(partitions=3), rabbitmq.declare_queue(), rabbitmq.declare_queue()
    settings = rabbitmq_event.RabbitMQSettings(queue=tasks, event_source_arn="arn")
    message = rabbitmq_event.to_record(
        pika.spec.Basic.Deliver("c", 1, redelivered=False, exchange="", routing_key=tasks),
        pika.BasicProperties(message_id="m-1", headers={"trace": "t", "n": 7}),
        b"task",
        shard=settings.shard,
        position=1,
        generation=0,
    )
    destination = RabbitMQDestination(rabbitmq.url, "", dead)
    destination.send(letters(kafka_records(topic, 5, 6), each_record=False, servers=kafka.address))
    destination.send(letters([message]))
    destination.close()
    code, sums, _ = run("redrive", f"{rabbitmq.url}//{dead}", "--origin", f"kafka://{kafka.address}")
    assert (code, sums["Letters"], sums["Sent"], sums["Confirmed"], sums["Marked"]) == (ExitCode.OK, 2, 3, 3, 2)
    assert sorted((record.key, record.value) for record in kafka.read(topic)) == pairs([5, 6])
    ((properties, body),) = rabbitmq.drain(tasks)
    assert (body, properties.message_id, properties.headers) == (b"task", "m-1", {"trace": "t", "n": 7})


def test_messages_whose_letters_lie_in_a_topic_go_back_to_their_queue_once(
    kafka: KafkaBroker, rabbitmq: RabbitMQBroker, run: Run
) -> None:
    tasks, dead = rabbitmq.declare_queue(), kafka.create_topic()
    message = rabbitmq_event.to_record(
        pika.spec.Basic.Deliver("c", 1, redelivered=False, exchange="", routing_key=tasks),
        pika.BasicProperties(message_id="m-1"),
        b"task",
        shard=f"{tasks}::/",
        position=1,
        generation=0,
    )
    bury(kafka, dead, letters([message]))
    url = f"kafka://{kafka.address}/{dead}"
    code, sums, _ = run("redrive", url)
    assert (code, sums["Letters"]) == (ExitCode.FAILED, 0)
    assert "give --origin amqp://" in sums["Left"][0]["Reason"]
    for count in (1, 0):
        code, sums, _ = run("redrive", url, "--origin", rabbitmq.url)
        assert (code, sums["Letters"], sums["Confirmed"], sums["Marked"]) == (ExitCode.OK, count, count, count)
    assert [body for _, body in rabbitmq.drain(tasks)] == [b"task"]


def test_a_redrive_of_a_queue_that_was_killed_repeats_one_message_at_most(
    rabbitmq: RabbitMQBroker, rejected: Rejected, run: Run
) -> None:
    with redrive_in_a_process(rejected.url, before="stop_before_mark()") as killed:  # sent, confirmed, not marked
        assert killed.stdout is not None
        assert killed.stdout.readline() == "unmarked\n"
        os.kill(killed.pid, signal.SIGKILL)
    eventually(lambda: rabbitmq.depth(rejected.dead) == 5, what="the letters of the killed one")
    code, sums, _ = run("redrive", rejected.url)
    assert (code, sums["Letters"], sums["Marked"]) == (ExitCode.OK, 5, 5)
    bodies = sorted(body for _, body in rabbitmq.drain(rejected.queue))
    assert bodies == sorted([b"body-0", *(b"body-%d" % number for number in range(5))])  # at least once


def test_purge_empties_the_queue(rabbitmq: RabbitMQBroker, rejected: Rejected, run: Run) -> None:
    code, answer, _ = run("purge", rejected.url, "--yes")
    assert (code, answer) == (ExitCode.OK, {"Purged": 5})
    assert rabbitmq.depth(rejected.dead) == 0


def test_a_missing_queue_and_a_refused_login_are_told_without_the_password(
    rabbitmq: RabbitMQBroker, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["dead-letters", "list", f"{rabbitmq.url}//{unique('missing')}"]) == ExitCode.FAILED
    assert "404 NOT_FOUND" in capsys.readouterr().err
    assert main(["dead-letters", "list", f"{rabbitmq.url.replace('guest:guest', 'guest:wrong')}//q"]) == ExitCode.FAILED
    err = capsys.readouterr().err
    assert "ACCESS_REFUSED" in err
    assert "wrong" not in err


@pytest.mark.usefixtures("refused_connections")
@pytest.mark.parametrize("target", ["kafka://127.0.0.1:1/letters", "amqp://guest:guest@127.0.0.1:1//letters"])
@pytest.mark.parametrize("action", ["list", "redrive"])
def test_an_unreachable_broker_is_told_with_its_address(
    action: str, target: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["dead-letters", action, target]) == ExitCode.FAILED
    assert "127.0.0.1:1" in capsys.readouterr().err
