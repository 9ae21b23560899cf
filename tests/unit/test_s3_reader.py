"""Notifications of S3 from a queue or topic: acknowledged when what they start is on the disk, and not before."""

from __future__ import annotations

import threading

import pytest
from scripted import FakeClock
from trigger_rig import AsyncQueue, intake, notification

from poller.clock import SystemClock
from poller.errors import SourceUnavailable
from poller.sources.memory import MemoryTopic, MemoryTopicSource
from poller.sources.memory_queue import MemoryQueue, MemoryQueueSource
from poller.triggers.s3_reader import S3Reader


class Rig:
    """A reader of a queue, or of a topic with two partitions."""

    def __init__(self, *, topic: bool = False) -> None:
        self.disk, self.clock = AsyncQueue(), FakeClock()
        self.queue, self.topic = MemoryQueue(), MemoryTopic(partitions=2)
        source = MemoryTopicSource(self.topic) if topic else MemoryQueueSource(self.queue)
        self.reader = S3Reader(source, "the place", intake(self.disk), self.clock)  # type: ignore[arg-type]
        self.reader.open()

    def step(self, seconds: float = 0.0) -> None:
        self.clock.pass_(seconds)
        self.reader.step()

    @property
    def keys(self) -> list[str]:
        return [key for name, key in self.disk.keys if name == "Audit"]


def test_messages_start_functions_and_are_acknowledged() -> None:
    rig = Rig()
    rig.queue.publish(notification("a.jpg", "b.jpg"))
    rig.queue.publish(notification("c.jpg"))
    rig.step()
    assert rig.keys == ["a.jpg", "b.jpg", "c.jpg"]
    rig.reader.stop()
    rig.reader._close()
    assert not rig.queue.ready


def test_records_of_a_topic_start_functions_and_are_committed() -> None:
    rig = Rig(topic=True)
    rig.topic.produce(notification("a.jpg"), partition=0)
    rig.topic.produce(notification("b.jpg"), partition=1)
    rig.topic.produce(notification("c.jpg"), partition=1)
    rig.step()
    assert sorted(rig.keys) == ["a.jpg", "b.jpg", "c.jpg"]
    assert rig.topic.committed == {"topic-0": 1, "topic-1": 2}


def test_what_is_no_notification_goes_to_the_queue_s_dead_letters(caplog: pytest.LogCaptureFixture) -> None:
    rig = Rig()
    rig.queue.publish(b"nonsense")
    rig.queue.publish(notification("a.jpg"))
    rig.step()
    assert rig.keys == ["a.jpg"]
    assert [letter.body for letter in rig.queue.dead_letters] == [b"nonsense"]
    assert "the place holds what is no notification of S3" in caplog.text


def test_what_is_no_notification_on_a_topic_is_passed_over() -> None:
    rig = Rig(topic=True)
    rig.topic.produce(None)
    rig.topic.produce(notification("a.jpg"))
    rig.topic.produce(b"nonsense")
    rig.step()
    assert rig.keys == ["a.jpg"]
    assert rig.topic.committed == {"topic-0": 3}


@pytest.mark.parametrize("topic", [False, True])
def test_while_the_disk_does_not_work_nothing_is_acknowledged_and_nothing_lost(topic: bool) -> None:
    rig = Rig(topic=topic)
    rig.disk.left = 2
    for key in ("a.jpg", "b.jpg", "c.jpg"):
        rig.topic.produce(notification(key)) if topic else rig.queue.publish(notification(key))
    rig.step()
    assert rig.keys == ["a.jpg"]
    assert rig.reader.problem == "the disk is full"
    assert rig.topic.committed == ({"topic-0": 1} if topic else {})
    rig.disk.left = 100
    rig.step()
    assert rig.keys == ["a.jpg"], "not before its pause is over"
    rig.step(1)
    assert rig.keys == ["a.jpg", "b.jpg", "c.jpg"]
    assert rig.reader.problem == ""
    if topic:
        rig.topic.produce(notification("d.jpg"))
        rig.step()
        assert rig.keys[-1] == "d.jpg", "it was paused, and goes on"
        assert rig.topic.committed == {"topic-0": 4}


def test_held_records_of_a_partition_that_is_taken_away_are_left_to_its_next_owner() -> None:
    rig = Rig(topic=True)
    rig.disk.broken = True
    rig.topic.produce(notification("a.jpg"))
    rig.step()
    rig.reader._on_revoked(["topic-0"])
    rig.disk.broken = False
    rig.step(60)
    assert rig.keys == []
    assert rig.topic.committed == {}


def test_a_broker_that_is_lost_is_connected_to_again_and_what_was_not_acknowledged_comes_again() -> None:
    queue, disk, came = MemoryQueue(), AsyncQueue(), threading.Event()
    queue.outage = SourceUnavailable("the broker is away")

    def accept(function: str, qualifier: str, payload: bytes) -> str:
        came.set()
        return disk.accept(function, qualifier, payload)

    taking = intake(disk)
    taking._accept = accept
    reader = S3Reader(MemoryQueueSource(queue, waits=True), "the place", taking, SystemClock())  # type: ignore[arg-type]
    reader._reopening = type(reader._reopening)(first=0.01, cap=0.01)
    reader.start()
    queue.publish(notification("a.jpg"))
    queue.outage = None
    assert came.wait(30)
    assert reader.alive()
    reader.stop()
    assert ("Audit", "a.jpg") in disk.keys
    assert not queue.ready
