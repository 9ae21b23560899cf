"""The sample's handlers, called as Lambda calls them, with events as brokers' event source mappings build them."""

from __future__ import annotations

import base64
import importlib.util
import json
import multiprocessing
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

FUNCTIONS = Path(__file__).parents[2] / "functions"
BROKER = "arn:aws:mq:us-east-1:000000000000:broker:tasks:b-00000000-0000-0000-0000-000000000000"
GOOD = {"device": "d1", "temperature": 20.5, "humidity": 40.0, "battery": 90.0, "time": "2026-01-01T00:00:00+00:00"}
INVOICE = {
    "invoice": "i1",
    "customer": "c1",
    "currency": "EUR",
    "vat_percent": "19.0",
    "lines": [
        {"article": "valve", "quantity": 3, "price": "0.35"},
        {"article": "hinge", "quantity": 1, "price": "9.99"},
    ],
}
UNSET = ["contentType", "contentEncoding", "headers", "priority", "correlationId", "replyTo", "expiration"]
UNSET += ["timestamp", "type", "userId", "appId", "clusterId"]
"""Basic properties that the messages here do not use: present, and null (D.2)."""

CONTEXT = SimpleNamespace(
    function_name="sample",
    function_version="$LATEST",
    memory_limit_in_mb="256",
    invoked_function_arn="arn:aws:lambda:us-east-1:123456789012:function:sample",
    aws_request_id="00000000-0000-0000-0000-000000000001",
)


def load(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Import functions/<name>/handler.py as a runtime does: with its folder first on the path."""
    monkeypatch.syspath_prepend(str(FUNCTIONS / name))
    spec = importlib.util.spec_from_file_location(f"{name}_handler", FUNCTIONS / name / "handler.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    # pydantic looks up annotations in the module that sys.modules has under its name.
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RESULTS_DIR", str(tmp_path / "results"))
    monkeypatch.setenv("PARTIAL_RESPONSE_SOURCE", BROKER)
    monkeypatch.setenv("POWERTOOLS_SERVICE_NAME", "sample")
    return tmp_path / "results"


@pytest.fixture
def telemetry(results: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    module = load("telemetry", monkeypatch)
    yield module
    module.aggregates().close()


@pytest.fixture
def tasks(results: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    module = load("tasks", monkeypatch)
    yield module
    module.ledger().close()


def kafka_event(*values: dict | bytes | None, first: int = 10, traced: bool = True) -> dict:
    # D.1.1
    records = []
    for offset, value in enumerate(values, first):
        body = json.dumps(value).encode() if isinstance(value, dict) else value
        records.append(
            {
                "topic": "telemetry",
                "partition": 2,
                "offset": offset,
                "timestamp": 1764064800000,
                "timestampType": "CREATE_TIME",
                "key": base64.b64encode(b"d1").decode(),
                "value": None if body is None else base64.b64encode(body).decode(),
                "headers": [{"trace": list(f"run-{offset}".encode())}] if traced else [],
            }
        )
    return {"eventSource": "SelfManagedKafka", "bootstrapServers": "kafka:9092", "records": {"telemetry-2": records}}


def rabbitmq_event(*messages: tuple[str | None, dict | bytes], broker: str = BROKER) -> dict:
    # D.2
    built = []
    for identity, content in messages:
        body = json.dumps(content).encode() if isinstance(content, dict) else content
        properties = dict.fromkeys(UNSET)
        properties |= {"messageId": identity, "deliveryMode": 2, "bodySize": len(body)}
        data = base64.b64encode(body).decode()
        built.append({"basicProperties": properties, "redelivered": False, "data": data})
    return {"eventSource": "aws:rmq", "eventSourceArn": broker, "rmqMessagesByQueue": {"tasks::/": built}}


def query(path: Path, text: str) -> list[tuple]:
    with closing(sqlite3.connect(path)) as database:
        return database.execute(text).fetchall()


def test_a_batch_of_good_readings_is_counted_per_device(telemetry, results):
    other = GOOD | {"device": "d2", "temperature": -3.0}
    reply = telemetry.handler(kafka_event(GOOD, GOOD | {"temperature": 22.5, "battery": 89.0}, other), CONTEXT)
    assert reply == {"batchItemFailures": []}
    assert query(results / "telemetry.sqlite", "SELECT * FROM devices ORDER BY device") == [
        ("d1", 2, 43.0, 20.5, 22.5, 80.0, 89.0),
        ("d2", 1, -3.0, -3.0, -3.0, 40.0, 90.0),
    ]


@pytest.mark.parametrize(
    "poison",
    [
        b"\xfe\xff no text",
        b"",
        b'{"device": "d1", "tempera',
        None,
        GOOD | {"humidity": 180.0},
        GOOD | {"temperature": "warm"},
        GOOD | {"time": "yesterday"},
        GOOD | {"time": "2026-01-01T00:00:00"},
        {key: value for key, value in GOOD.items() if key != "battery"},
    ],
    ids=["not text", "empty", "cut off", "tombstone", "impossible", "wrong type", "no time", "no zone", "missing"],
)
def test_a_poison_reading_is_named_and_its_neighbours_are_stored(telemetry, results, poison):
    # C.6: the item identifier of a Kafka record is its partition and offset.
    reply = telemetry.handler(kafka_event(GOOD, poison, GOOD), CONTEXT)
    assert reply == {"batchItemFailures": [{"itemIdentifier": {"partition": "telemetry-2", "offset": 11}}]}
    assert query(results / "telemetry.sqlite", "SELECT id FROM handled") == [("run-10",), ("run-12",)]


def test_a_batch_of_nothing_but_poison_is_named_rather_than_thrown(telemetry):
    reply = telemetry.handler(kafka_event(b"x", b"y"), CONTEXT)
    assert [item["itemIdentifier"]["offset"] for item in reply["batchItemFailures"]] == [10, 11]


def test_readings_that_come_again_are_counted_once(telemetry, results):
    # D.1.2: at least once.
    telemetry.handler(kafka_event(GOOD, GOOD), CONTEXT)
    telemetry.handler(kafka_event(GOOD, GOOD, GOOD), CONTEXT)
    assert query(results / "telemetry.sqlite", "SELECT readings FROM devices") == [(3,)]
    assert query(results / "telemetry.sqlite", "SELECT deliveries FROM handled") == [(2,), (2,), (1,)]


def test_a_record_without_a_trace_is_known_by_its_place(telemetry, results):
    telemetry.handler(kafka_event(GOOD, traced=False), CONTEXT)
    assert query(results / "telemetry.sqlite", "SELECT id FROM handled") == [("telemetry-2-10@1764064800000",)]


def test_a_batch_that_cannot_be_stored_fails_as_a_whole(telemetry, results):
    telemetry.handler(kafka_event(GOOD), CONTEXT)
    query(results / "telemetry.sqlite", "DROP TABLE devices")
    with pytest.raises(sqlite3.Error):
        telemetry.handler(kafka_event(GOOD, first=20), CONTEXT)
    assert query(results / "telemetry.sqlite", "SELECT id FROM handled") == [("run-10",)]


def test_an_invoice_comes_to_its_lines_plus_tax_rounded_half_up(tasks, results):
    # Three times 0.35, and 9.99: 11.04. With 19 % tax 13.1376.
    assert tasks.handler(rabbitmq_event(("m1", INVOICE)), CONTEXT) == {"batchItemFailures": []}
    assert query(results / "tasks.sqlite", "SELECT id, invoice, total FROM handled") == [("m1", "i1", "13.14")]


@pytest.mark.parametrize(
    "poison",
    [
        b"",
        b"\xff\xfe",
        b'{"invoice": "i',
        INVOICE | {"lines": []},
        INVOICE | {"currency": "XXX"},
        INVOICE | {"lines": [{"article": "valve", "quantity": -1, "price": "1.00"}]},
        INVOICE | {"lines": [{"article": "valve", "quantity": 1, "price": "1.001"}]},
    ],
    ids=["empty", "not text", "cut off", "no lines", "currency", "negative", "tenth of a cent"],
)
def test_a_poison_invoice_is_named_and_its_neighbours_are_stored(tasks, results, poison):
    # F.4: a partial response for RabbitMQ is an extension; its item identifier is the messageId.
    reply = tasks.handler(rabbitmq_event(("m1", INVOICE), ("m2", poison), ("m3", INVOICE)), CONTEXT)
    assert reply == {"batchItemFailures": [{"itemIdentifier": "m2"}]}
    assert query(results / "tasks.sqlite", "SELECT id FROM handled") == [("m1",), ("m3",)]


def test_on_aws_a_poison_invoice_fails_the_batch_because_a_reply_is_ignored_there(tasks, results):
    # D.2: no partial response, so naming the message in a reply would lose it.
    broker = "arn:aws:mq:eu-west-1:123456789012:broker:b:b-c8352341-ec91-4a78-ad9c-a43f23d325bb"
    event = rabbitmq_event(("m1", INVOICE), ("m2", b""), broker=broker)
    for _ in range(2):
        with pytest.raises(tasks.InvoicesRefused, match="1 of 2 messages"):
            tasks.handler(event, CONTEXT)
    assert query(results / "tasks.sqlite", "SELECT id, deliveries FROM handled") == [("m1", 2)]


def test_a_poison_message_without_an_identity_cannot_be_named_and_fails_the_batch(tasks):
    with pytest.raises(tasks.InvoicesRefused):
        tasks.handler(rabbitmq_event((None, b"")), CONTEXT)


def test_a_message_without_an_identity_is_known_by_its_content(tasks, results):
    for _ in range(2):
        tasks.handler(rabbitmq_event((None, INVOICE)), CONTEXT)
    assert query(results / "tasks.sqlite", "SELECT invoice, deliveries FROM handled") == [("i1", 2)]


def add_readings(folder: str) -> None:
    sys.path.insert(0, str(FUNCTIONS / "telemetry"))
    from aggregates import Aggregates, Stored

    with closing(Aggregates(folder)) as aggregates:
        aggregates.add([Stored(f"run-{n}", "d1", 1.0, 2.0, 3.0) for n in range(100)])


def test_environments_that_start_together_share_one_folder(tmp_path):
    # C.4: partitions in parallel, so several environments take their first batch at the same time.
    processes = [
        multiprocessing.get_context("spawn").Process(target=add_readings, args=(str(tmp_path),)) for _ in range(4)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
        process.close()
    assert query(tmp_path / "telemetry.sqlite", "SELECT readings FROM devices") == [(100,)]
    assert query(tmp_path / "telemetry.sqlite", "SELECT count(*), sum(deliveries) FROM handled") == [(100, 400)]
