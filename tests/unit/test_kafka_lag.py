"""A Kafka consumer's lag is right whatever its client fetches at the moment (C.9)."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from poller.sources import kafka_lag
from poller.sources.kafka_lag import KafkaLag, Known


class Broker:
    def __init__(self, ends: dict[str, int]) -> None:
        self.ends = ends
        self.asked: list[list[str]] = []

    def __call__(self, partitions: Sequence[str]) -> dict[str, int]:
        self.asked.append(list(partitions))
        return {partition: self.ends[partition] for partition in partitions if partition in self.ends}


def test_a_partition_that_is_read_to_its_end_is_known_without_asking() -> None:  # C.9
    broker = Broker({"t-0": 9})
    assert KafkaLag(broker).of({"t-0": Known(7, 7)}, paused=()) == {"t-0": 0}
    assert broker.asked == []


@pytest.mark.parametrize(
    ("known", "paused"),
    [(Known(7, 8), ()), (Known(7, None), ()), (Known(7, 7), ("t-0",))],
    ids=["something lies in the client", "nothing was fetched yet", "paused"],
)
def test_of_any_other_the_broker_is_asked(known: Known, paused: tuple[str, ...]) -> None:  # C.9
    assert KafkaLag(Broker({"t-0": 20})).of({"t-0": known}, paused) == {"t-0": 13}


def test_what_the_broker_does_not_say_is_as_it_was_at_the_last_fetch() -> None:
    assert KafkaLag(Broker({})).of({"t-0": Known(7, 9), "t-1": Known(3, None)}, paused=()) == {"t-0": 2}


def test_a_partition_whose_position_is_not_known_yet_is_missing() -> None:
    assert KafkaLag(Broker({"t-0": 20})).of({"t-0": Known(None, 9)}, paused=()) == {}


def test_a_broker_that_gave_no_answer_is_not_asked_again_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(kafka_lag.time, "monotonic", lambda: now)
    broker = Broker({})
    lag = KafkaLag(broker)
    for _ in range(3):
        lag.of({"t-0": Known(7, 9)}, paused=())
    assert len(broker.asked) == 1, "each time would hold up the loop"
    now += 5
    broker.ends = {"t-0": 20}
    assert lag.of({"t-0": Known(7, 9)}, paused=()) == {"t-0": 13}


def test_who_does_not_want_to_ask_gets_what_the_broker_told_the_last_time() -> None:  # C.9
    broker = Broker({"t-0": 20})
    lag = KafkaLag(broker)
    lag.of({"t-0": Known(7, 9)}, paused=())
    broker.ends = {"t-0": 30}
    assert lag.of({"t-0": Known(8, 9)}, paused=(), ask=False) == {"t-0": 12}, "what was read since is not behind"
    assert lag.of({"t-0": Known(8, 25)}, paused=(), ask=False) == {"t-0": 17}, "unless a fetch is younger"
    assert len(broker.asked) == 1
    assert lag.of({"t-0": Known(8, 25)}, paused=()) == {"t-0": 22}


def test_of_what_the_broker_has_never_told_it_is_asked_all_the_same() -> None:  # C.9
    broker = Broker({"t-0": 20, "t-1": 50})
    lag = KafkaLag(broker)
    assert lag.of({"t-0": Known(7, 9)}, paused=(), ask=False) == {"t-0": 13}
    assert lag.of({"t-0": Known(7, 9), "t-1": Known(3, None)}, (), ask=False) == {"t-0": 13, "t-1": 47}
    assert len(broker.asked) == 2


def test_what_was_told_of_a_partition_does_not_outlast_the_need_for_it() -> None:  # C.9
    broker = Broker({"t-0": 20})
    lag = KafkaLag(broker)
    lag.of({"t-0": Known(7, 9)}, paused=())
    assert lag.of({"t-0": Known(9, 9)}, paused=(), ask=False) == {"t-0": 0}, "it is read to its end: made anew, say"
    broker.ends = {"t-0": 12}
    assert lag.of({"t-0": Known(9, 10)}, paused=(), ask=False) == {"t-0": 3}


def test_a_broker_that_gave_no_answer_leaves_nothing_of_the_one_before() -> None:
    broker = Broker({"t-0": 20})
    lag = KafkaLag(broker)
    lag.of({"t-0": Known(7, 9)}, paused=())
    broker.ends = {}
    assert lag.of({"t-0": Known(7, 9)}, paused=()) == {"t-0": 2}


def test_a_log_that_was_truncated_is_no_negative_lag() -> None:
    assert KafkaLag(Broker({"t-0": 2})).of({"t-0": Known(7, 9)}, paused=()) == {"t-0": 0}
