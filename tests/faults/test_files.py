"""A `file:` destination that cannot be written: told, tried again, and nothing is committed before its letter.

Mappings with other destinations go on meanwhile. The file's own rules (half a line, rotation): tests/unit/test_file_destination.py.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from brokers import KafkaBroker
from faults.tally import Tally
from integration.harness import group, stack
from integration.harness.ledger import Ledger, ids_of, letters_in_file, wait_until_committed
from integration.harness.runs import PARTITIONS, reading_topic
from integration.harness.service import Service

pytestmark = pytest.mark.broker

GOOD = 20
UNPRIVILEGED = (
    # root may write anywhere, save without this capability
    ("setpriv", "--bounding-set=-dac_override", "--inh-caps=-dac_override") if os.geteuid() == 0 else ()
)


def fill_up(file: Path) -> None:
    file.symlink_to("/dev/full")


def make_room(file: Path) -> None:
    file.unlink()


def make_read_only(file: Path) -> None:
    file.parent.chmod(0o555)


def make_writable(file: Path) -> None:
    file.parent.chmod(0o755)


def remove_folder(file: Path) -> None:
    shutil.rmtree(file.parent)


def make_folder(file: Path) -> None:
    file.parent.mkdir()


TROUBLES = {
    "disk full": ("No space left on device", fill_up, make_room),
    "folder read-only": ("Permission denied", make_read_only, make_writable),
    "folder removed": ("No such file or directory", remove_folder, make_folder),
}
"""What is told, how it comes about, and how it ends."""


def test_a_file_that_cannot_be_written_holds_up_its_own_partition_only(
    kafka: KafkaBroker, ledgers: Callable[[str], Ledger], tmp_path: Path, tally: Tally
) -> None:
    books, topics, files, functions, extensions = {}, {}, {}, {}, {}
    for number, name in enumerate([*TROUBLES, "sound"]):
        function = f"Function{number}"
        books[name] = ledger = ledgers(name)
        topics[name] = topic = kafka.create_topic(1)
        files[name] = file = tmp_path / f"dead-{number}" / "letters"
        file.parent.mkdir()
        event = stack.kafka_event(
            kafka, topic, MaximumRetryAttempts=0, FunctionResponseTypes=["ReportBatchItemFailures"]
        )
        functions[function] = stack.function(ledger, event)
        extensions[function] = {"OnFailure": f"file:{file}"}
    with Service(tmp_path, stack.template(functions, extensions=extensions), wrapped=UNPRIVILEGED) as service:
        service.wait_until_ready()
        for name, (_, break_, _) in TROUBLES.items():
            break_(files[name])
            tally.fault(f"file of dead letters: {name}")
        for name, topic in topics.items():
            kafka.produce(topic, books[name].bodies(1, poison=1.0) + books[name].bodies(GOOD))
        for number, (told, _, _) in enumerate(TROUBLES.values()):
            mapping = f"Function{number}.Source"
            service.wait_for_log(f"cannot be written to the file .*: {told}", mapping=mapping)
            assert service.metric("on_failure_destination_delivery_error_count_total", mapping) >= 1
        wait_until_committed(kafka, topics["sound"], topics["sound"])
        assert {name: kafka.committed(topics[name], topics[name]) for name in TROUBLES} == {
            name: {} for name in TROUBLES
        }
        for name, (_, _, mend) in TROUBLES.items():
            mend(files[name])
        for topic in topics.values():
            wait_until_committed(kafka, topic, topic)
        assert service.stop() == 0
        assert service.problems() == []
    for name, ledger in books.items():
        letters = letters_in_file(files[name])
        assert ids_of(letters) == dict.fromkeys(ledger.poison, 1)
        assert ledger.missing() == set()
        assert ledger.duplicates() == 0
        tally.dead_letters += len(letters)


def test_two_services_share_one_file_of_dead_letters_and_no_line_is_torn(
    kafka: KafkaBroker, ledger: Ledger, tmp_path: Path, tally: Tally
) -> None:
    topic = kafka.create_topic(PARTITIONS)
    file = tmp_path / "letters"
    run = reading_topic(ledger, kafka, topic, on_failure=f"file:{file}", MaximumRetryAttempts=0, BatchSize=5)
    with run.service() as first, run.service() as second:
        group.wait_for_members(kafka, topic, 2)
        ledger.produce(kafka, topic, 400, poison=0.5, filler="x" * 20_000)
        wait_until_committed(kafka, topic, topic)
        for service in (first, second):
            assert service.metric("on_failure_destination_delivered_event_count_total", "Orders.Source") > 0
        assert (first.stop(), second.stop()) == (0, 0)
        assert first.problems() + second.problems() == []
    lines = file.read_text().splitlines()
    assert all(isinstance(json.loads(line), dict) for line in lines)
    assert set(ids_of(letters_in_file(file))) == ledger.poison
    assert ledger.missing() == set()
    tally.dead_letters += len(lines)
    tally.fault("two services write one file of dead letters")
