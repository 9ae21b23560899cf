"""The sample's producers and its accounting: what needs no broker."""

from __future__ import annotations

import argparse
import itertools
import json
import sqlite3
from contextlib import closing
from decimal import ROUND_HALF_UP, Decimal

import pytest

from producers import facts, stored, tasks, telemetry
from producers.accounting import account, per_second
from producers.command import CommandError, ExitCode, Stop, deliver, finished, main, number
from producers.provision import shown

CONTENT = {"count": 2000, "poison": 0.01, "keys": 5, "seed": 7}


@pytest.mark.parametrize("content", [telemetry.readings, tasks.tasks])
def test_the_same_seed_gives_the_same_content(content):
    assert list(content("run", **CONTENT)) == list(content("run", **CONTENT))
    assert list(content("run", **CONTENT)) != list(content("run", **CONTENT | {"seed": 8}))


@pytest.mark.parametrize("content", [telemetry.readings, tasks.tasks])
def test_about_the_asked_share_is_poison(content):
    assert 5 < sum(message.poison for message in content("run", **CONTENT)) < 40
    assert not any(message.poison for message in content("run", **CONTENT | {"poison": 0}))
    assert all(message.poison for message in content("run", **CONTENT | {"poison": 1}))


@pytest.mark.parametrize("content", [telemetry.readings, tasks.tasks])
def test_a_count_of_0_is_endless(content):
    assert len(list(itertools.islice(content("run", **CONTENT | {"count": 0}), 3000))) == 3000


def test_every_reading_has_its_own_trace_and_one_of_the_devices():
    readings = list(telemetry.readings("run", **CONTENT))
    assert len({reading.trace for reading in readings}) == len(readings)
    assert {reading.device for reading in readings} == {f"device-{n:03d}" for n in range(5)}


def test_an_invoice_comes_to_the_total_that_the_producer_says():
    for task in tasks.tasks("run", **CONTENT | {"poison": 0}):
        invoice = json.loads(task.body)
        net = sum(line["quantity"] * Decimal(line["price"]) for line in invoice["lines"])
        gross = net * (1 + Decimal(invoice["vat_percent"]) / 100)
        assert Decimal(task.total) == gross.quantize(Decimal("0.01"), ROUND_HALF_UP)


ROW = {"at": 1.0, "deliveries": 1}


def test_an_account_puts_every_message_in_one_place():
    produced = {"a": False, "b": False, "c": True, "d": False, "e": False}
    found = account(produced, {"a": ROW, "b": ROW | {"deliveries": 2}, "other": ROW}, ["c", "older"], ["d", "a"])
    assert (found.produced, found.handled, found.dead_lettered, found.waiting, found.lost) == (5, 2, 1, 1, 1)
    assert found.repeated == 1
    assert not found.good


def test_a_broker_that_only_counts_what_waits_is_believed_up_to_what_is_missing():
    found = account({"a": False, "b": False}, {}, [], 5)
    assert (found.waiting, found.lost) == (2, 0)


def test_an_account_is_good_when_the_dead_are_exactly_the_poison():
    assert account({"a": False, "b": True}, {"a": ROW}, {"b"}, 0).good


@pytest.mark.parametrize(
    ("stored_rows", "dead", "complaint"),
    [
        ({"a": ROW, "b": ROW}, [], "1 handled although poison: b"),
        ({}, ["a", "b"], "1 dead-lettered although good: a"),
        ({"a": ROW | {"total": "9.99"}}, ["b"], "1 handled with a wrong result: a"),
    ],
)
def test_an_account_complains_of_what_is_in_the_wrong_place(stored_rows, dead, complaint):
    rows = {identity: {"total": "1.00"} | row for identity, row in stored_rows.items()}
    found = account({"a": False, "b": True}, rows, dead, 0, {"a": "1.00", "b": "1.00"})
    assert complaint in found.complaints
    assert found.lost == 0
    assert not found.good


def test_the_rate_counts_from_the_first_batch_to_the_last():
    assert per_second([1.0] * 100 + [2.0] * 100 + [3.0] * 100) == 100
    assert per_second([1.0, 1.0]) is None
    assert per_second([]) is None


def test_a_dead_letter_of_kafka_tells_the_trace_of_its_record():
    # D.1.1: header bytes are signed. D.1.4: the payload is the event of the one record.
    record = {"headers": [{"other": [1]}, {"trace": [114, 117, 110, 45, -61, -85]}]}
    assert list(facts.original_traces(json.dumps({"payload": {"records": {"t-0": [record]}}}).encode())) == ["run-ë"]


def test_a_dead_message_that_the_poller_did_not_reject_is_noticed():
    # F.3: x-death says queue and reason.
    letters = {
        "rejected": [{"queue": "tasks", "reason": "rejected", "count": 1}],
        "limit": [{"queue": "tasks", "reason": "delivery_limit", "count": 1}],
        "unmarked": [],
    }
    assert facts.not_rejected(letters, "tasks") == ["limit", "unmarked"]


def test_what_handlers_stored_is_read_for_one_run(tmp_path):
    with closing(sqlite3.connect(tmp_path / "tasks.sqlite")) as database:
        database.execute("CREATE TABLE handled (id, at, deliveries, total)")
        rows = [("run-000001", 1.0, 1, "2.00"), ("run-000002", 1.5, 2, "3.00"), ("rune-000001", 1.0, 1, "4.00")]
        database.executemany("INSERT INTO handled VALUES (?, ?, ?, ?)", rows)
        database.commit()
    sqlite3.connect(tmp_path / "telemetry.sqlite").close()
    found = facts.handled(str(tmp_path), "run")
    assert found["telemetry"] == {}
    assert {identity: row["total"] for identity, row in found["tasks"].items()} == {
        "run-000001": "2.00",
        "run-000002": "3.00",
    }
    assert stored.read(str(tmp_path / "nowhere"), "run") == {"telemetry": {}, "tasks": {}}


def test_messages_are_counted_as_they_are_confirmed_and_summed_up_in_a_line(capsys):
    kept = deliver("topic", iter(telemetry.readings("run", **CONTENT)), 2000, Stop())
    assert len(kept) == 2000
    poison = sum(reading.poison for reading in kept)
    assert f"topic: 2,000 confirmed ({poison} poison) in " in capsys.readouterr().err


def test_an_endless_producer_that_is_stopped_ended_well():
    stop = Stop()
    assert finished(10, 10, stop) is ExitCode.OK
    stop.set()
    assert finished(1, 0, stop) is ExitCode.OK
    assert finished(5, 10, stop) is ExitCode.INTERRUPTED


def test_an_error_is_one_line_and_an_exit_code(capsys, monkeypatch):
    monkeypatch.setattr(Stop, "listen", lambda self: None)

    def fail(arguments, stop):
        raise CommandError(ExitCode.MISSING, "no such topic")

    assert main(fail, argparse.Namespace()) == 4
    assert capsys.readouterr().err == "error: no such topic\n"


def test_a_number_out_of_range_is_refused_with_the_range():
    assert number(0, 1)("0.5") == 0.5
    with pytest.raises(argparse.ArgumentTypeError, match=r"1\.5 is not between 0 and 1"):
        number(0, 1)("1.5")
    with pytest.raises(argparse.ArgumentTypeError, match="-1 is not 0 or more"):
        number(0, kind=int)("-1")


def test_an_address_is_shown_without_its_login():
    assert shown("amqp://user:pass@host:5672/v") == "amqp://host:5672/v"
    assert shown("amqp://host") == "amqp://host"
    assert shown("user:pass@host") == "host"
