"""What runs of a function: versions side by side, updates under load, and the concurrency that all versions share (A.2)."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from waiting import eventually

from poller.account.aliases import Alias
from poller.account.environments import Environments
from poller.model import FunctionConfiguration, Invocation, InvocationResult
from poller.policy.workers import Share
from poller.runtime.pool_stats import PoolStats

LATEST = FunctionConfiguration("f", Path("one"), "app.handler")
FIRST = replace(LATEST, version="1")
SECOND = replace(LATEST, version="2")


class Pool:
    """Stands for a version's pool: works when it is told to, and knows what it was given."""

    made: list[Pool]

    def __init__(self, configuration: FunctionConfiguration, account_concurrency: int = 1000, **_: object) -> None:
        self.configuration = configuration
        reserved = configuration.reserved_concurrent_executions
        self.limit = account_concurrency if reserved is None else reserved
        self.work: list[tuple[Invocation, Callable[[InvocationResult], None]]] = []
        self.answered = 0
        self.throttles = 0
        self.running = self.stopped = False
        self.provisioned = 0
        self.made.append(self)

    def start(self) -> None:
        self.running = True

    @property
    def busy(self) -> int:
        return len(self.work)

    def submit(self, invocation: Invocation, on_result: Callable[[InvocationResult], None], *, wait: bool) -> None:
        status = 500 if self.stopped or not self.running else 429
        if status == 500 or (not wait and len(self.work) >= self.limit) or not self.limit:
            self.throttles += status == 429
            on_result(InvocationResult(invocation.request_id, status=status))
        else:
            self.work.append((invocation, on_result))

    def end_one(self) -> None:
        invocation, on_result = self.work.pop(0)
        self.answered += 1
        on_result(InvocationResult(invocation.request_id, executed_version=self.configuration.version))

    def reserve(self, concurrency: int | None, account_concurrency: int) -> None:
        self.limit = account_concurrency if concurrency is None else concurrency

    def provision(self, provisioned: int) -> None:
        self.provisioned = provisioned

    def stats(self) -> PoolStats:
        return PoolStats(0, len(self.work), 0, 0, self.answered, 0, self.throttles, 0)

    def stop(self, grace: float = 0.0) -> None:
        assert not self.work, "work is in it"
        self.stopped = True


class World:
    def __init__(self, monkeypatch: pytest.MonkeyPatch, chance: random.Random | None = None) -> None:
        self.pools: list[Pool] = []
        monkeypatch.setattr(Pool, "made", self.pools, raising=False)
        monkeypatch.setattr("poller.account.environments.FunctionPool", Pool)
        self.environments = Environments(1000, Share(1, 1, {}, {}), chance=chance)
        self.finished = threading.Event()
        self.environments.on_finished.append(self.finished.set)
        self.answers: list[InvocationResult] = []
        self.environments.start()

    def put(self, *versions: FunctionConfiguration, reserved: int | None = None, **aliases: Alias) -> None:
        configurations = {item.version: replace(item, reserved_concurrent_executions=reserved) for item in versions}
        self.environments.put("f", configurations, aliases)

    def submit(self, qualifier: str = "", *, wait: bool = False) -> None:
        target = self.environments.target("f", qualifier)
        assert target is not None
        target.submit(Invocation(str(len(self.answers)), b"{}", "arn"), self.answers.append, wait=wait)

    def pool(self, version: str) -> Pool:
        """The newest of a version that accepts."""
        found = (pool for pool in self.pools[::-1] if pool.configuration.version == version)
        return next(pool for pool in found if pool.running and pool.limit)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch)


def test_a_published_version_has_a_pool_once_it_is_invoked(world: World) -> None:
    world.put(LATEST, FIRST, SECOND)
    assert [pool.configuration.version for pool in world.pools] == ["$LATEST"]
    world.submit("2")
    assert [pool.configuration.version for pool in world.pools] == ["$LATEST", "2"]
    world.pool("2").end_one()
    assert [item.executed_version for item in world.answers] == ["2"]


def test_there_is_no_target_for_a_version_that_is_not_there(world: World) -> None:
    world.put(LATEST, FIRST, live=Alias("live", "1", ""), lost=Alias("lost", "7", ""))
    found = [
        world.environments.target("f", name) is not None for name in ("", "$LATEST", "1", "live", "2", "lost", "x")
    ]
    assert found == [True, True, True, True, False, False, False]
    assert world.environments.target("g") is None


def test_after_an_update_the_old_pool_finishes_what_it_has_and_the_new_one_gets_the_rest(world: World) -> None:
    world.put(LATEST)
    world.submit()
    old = world.pool("$LATEST")
    world.put(replace(LATEST, code=Path("two")))
    world.submit()
    new = world.pool("$LATEST")
    assert new is not old
    assert (old.busy, new.busy) == (1, 1)
    assert world.environments.folders() == {"one", "two"}
    assert {id(pool) for pool in world.environments.pools()} == {id(old), id(new)}
    old.end_one()
    assert world.finished.wait(30)
    assert old.stopped
    assert not new.stopped
    assert world.environments.folders() == {"two"}
    assert world.environments.stats("f").invocations == 1


def test_an_invocation_that_is_just_being_handed_over_keeps_its_pool(world: World) -> None:
    world.put(LATEST)
    old = world.pool("$LATEST")
    entered = world.environments._functions["f"]._enter("$LATEST")
    figures, looks = old.stats, threading.Semaphore(0)
    late = [Invocation("late", b"{}", "arn")]

    def stats() -> PoolStats:
        found = figures()
        if late:
            old.submit(late.pop(), world.answers.append, wait=True)
            entered.entering -= 1
        looks.release()
        return found

    old.stats = stats  # type: ignore[method-assign]
    world.put(replace(LATEST, code=Path("two")))
    for _ in range(3):
        assert looks.acquire(timeout=30)
    assert not old.stopped
    old.end_one()
    assert world.finished.wait(30)
    assert [item.status for item in world.answers] == [200]


def test_an_update_of_the_aliases_leaves_the_pools_alone(world: World) -> None:
    world.put(LATEST, FIRST)
    world.submit("1")
    world.put(LATEST, FIRST, SECOND, live=Alias("live", "2", ""))
    assert len(world.pools) == 2
    assert not any(pool.stopped for pool in world.pools)


def test_who_holds_a_target_follows_the_alias(world: World) -> None:
    world.put(LATEST, FIRST, SECOND, live=Alias("live", "1", ""))
    target = world.environments.target("f", "live")
    assert target is not None
    for version in ("1", "2"):
        world.put(LATEST, FIRST, SECOND, live=Alias("live", version, ""))
        target.submit(Invocation("r", b"{}", "arn"), world.answers.append, wait=True)
        world.pool(version).end_one()
    assert [item.executed_version for item in world.answers] == ["1", "2"]


def test_an_alias_with_weights_leads_to_each_version_as_often_as_they_say(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, random.Random(7))
    world.put(LATEST, FIRST, SECOND, live=Alias("live", "1", "", {"2": 0.2}))
    for _ in range(1000):
        world.submit("live")
    counts = Counter({pool.configuration.version: pool.busy for pool in world.pools})
    assert counts["1"] + counts["2"] == 1000
    assert 150 < counts["2"] < 250


@pytest.mark.parametrize(("number", "version"), [(0.0, "2"), (0.19, "2"), (0.2, "1"), (0.999, "1")])
def test_the_choice_by_weights_is_a_function_of_a_number(number: float, version: str) -> None:
    assert Alias("live", "1", "", {"2": 0.2}).choose(number) == version
    assert Alias("live", "1", "").choose(number) == "1"
    assert Alias("live", "1", "", {"2": 1.0}).choose(number) == "2"
    assert Alias("live", "1", "", {"2": 0.0}).choose(number) == "1"


def test_a_deleted_function_finishes_what_it_has_and_answers_500_to_what_comes_late(world: World) -> None:
    world.put(LATEST)
    world.submit()
    target = world.environments.target("f")
    assert target is not None
    world.environments.remove("f")
    assert world.environments.target("f") is None
    target.submit(Invocation("late", b"{}", "arn"), world.answers.append, wait=True)
    eventually(lambda: [item.status for item in world.answers] == [500])
    world.pool("$LATEST").end_one()
    assert world.finished.wait(30)
    assert [item.status for item in world.answers] == [500, 200]
    eventually(lambda: not world.environments.folders())


def test_reserved_concurrency_is_that_of_all_versions_together(world: World) -> None:
    world.put(LATEST, FIRST, reserved=2)
    world.submit()
    world.submit("1")
    world.submit("1")
    world.submit()
    assert [item.status for item in world.answers] == [429, 429]
    assert world.environments.stats("f").throttles == 2
    world.pool("$LATEST").end_one()
    world.submit("1")
    assert world.pool("1").busy == 2


def test_a_batch_waits_for_what_other_versions_take_up(world: World) -> None:
    world.put(LATEST, FIRST, reserved=1)
    world.submit()
    world.submit("1", wait=True)
    world.submit("1", wait=True)
    latest = world.pool("$LATEST")
    assert [pool.busy for pool in world.pools] == [1]
    latest.end_one()
    assert world.pool("1").busy == 1
    world.pool("1").end_one()
    world.pool("1").end_one()
    assert [item.executed_version for item in world.answers] == ["$LATEST", "1", "1"]


def test_reserved_concurrency_holds_over_an_update(world: World) -> None:
    world.put(LATEST, reserved=1)
    world.submit()
    old = world.pool("$LATEST")
    world.put(replace(LATEST, code=Path("two")), reserved=1)
    world.submit()
    world.submit(wait=True)
    assert [item.status for item in world.answers] == [429]
    old.end_one()
    assert world.pool("$LATEST").configuration.code == Path("two")
    assert world.pool("$LATEST").busy == 1


@pytest.mark.parametrize(("reserved", "status"), [(None, 200), (2, 200), (0, 429)])
def test_what_waits_for_concurrency_goes_on_when_there_is_another_amount_of_it(
    world: World, reserved: int | None, status: int
) -> None:
    world.put(LATEST, FIRST, reserved=1)
    world.submit()
    world.submit("1", wait=True)
    world.environments.reserve("f", reserved)
    if status == 200:
        world.pool("1").end_one()
    assert [item.status for item in world.answers] == [status]


def test_what_waits_for_concurrency_is_answered_when_the_service_stops(world: World) -> None:
    world.put(LATEST, FIRST, reserved=1)
    world.submit()
    world.submit("1", wait=True)
    world.pools[0].work.clear()
    world.environments.stop(0)
    assert [item.status for item in world.answers] == [500]


def test_reserving_another_number_acts_at_once_and_on_later_updates(world: World) -> None:
    world.put(LATEST)
    world.environments.reserve("f", 0)
    world.submit()
    world.put(replace(LATEST, code=Path("two")))
    world.submit(wait=True)
    assert [item.status for item in world.answers] == [429, 429]
    world.environments.reserve("f", None)
    world.submit()
    assert world.pool("$LATEST").busy == 1


def test_what_is_provisioned_of_one_function_the_others_do_not_have(world: World) -> None:  # E.3, A.2
    environments = world.environments
    world.put(LATEST, FIRST)
    environments.put("g", {"$LATEST": replace(LATEST, function_name="g")}, {})
    assert not environments.at_account_limit("g")
    environments.provision("f", {"1": 1000})
    assert environments.at_account_limit("g")
    assert environments.at_account_limit("f")
    assert not environments.at_account_limit("f", "1")
    assert world.pool("1").provisioned == 1000
    environments.provision("f", {})
    assert not environments.at_account_limit("g")
    assert world.pool("1").provisioned == 0


def test_a_version_has_what_is_provisioned_of_it_whatever_other_versions_do(world: World) -> None:  # E.3, A.2
    environments = world.environments
    world.put(LATEST, FIRST)
    environments.put("g", {"$LATEST": replace(LATEST, function_name="g", reserved_concurrent_executions=998)}, {})
    environments.provision("f", {"1": 1})
    world.submit()
    assert environments.at_account_limit("f")  # the other one is the version's
    assert not environments.at_account_limit("f", "1")
    world.submit("1")
    assert environments.at_account_limit("f", "1")


def test_functions_without_a_reservation_share_what_the_others_leave(world: World) -> None:
    environments = world.environments
    world.put(LATEST, FIRST)
    environments.put("g", {"$LATEST": replace(LATEST, function_name="g", reserved_concurrent_executions=998)}, {})
    assert environments.unreserved() == 2
    world.submit()
    assert not environments.at_account_limit("f")
    world.submit("1")
    assert [environments.at_account_limit(name) for name in ("f", "g", "none")] == [True, False, False]


HANDLER = "def handler(event, context):\n    return {'code': %d, 'event': event}\n"


def test_no_invocation_is_lost_while_the_code_is_updated_under_load(tmp_path: Path) -> None:
    """Real processes: callers that never wait, and batches that do, over six updates."""
    environments = Environments(1000, Share(1, 1, {}, {}))
    folders = [tmp_path / str(number) for number in range(7)]
    for number, folder in enumerate(folders):
        folder.mkdir()
        (folder / "app.py").write_text(HANDLER % number)
    environments.put("f", {"$LATEST": replace(LATEST, code=folders[0], timeout=60.0)}, {})
    environments.start()
    target = environments.target("f")
    assert target is not None
    answers: list[InvocationResult] = []
    ending = threading.Event()
    sent = [0, 0]

    def load(number: int) -> None:
        free = threading.Semaphore(2)

        def on_result(result: InvocationResult) -> None:
            answers.append(result)
            free.release()

        while not ending.is_set():
            free.acquire()
            sent[number] += 1
            target.submit(Invocation(f"{number}-{sent[number]}", b"1", "arn"), on_result, wait=bool(number))
        for _ in range(2):
            free.acquire()

    threads = [threading.Thread(target=load, args=(number,)) for number in (0, 1)]
    for thread in threads:
        thread.start()
    for number, folder in enumerate(folders):
        if number:
            environments.put("f", {"$LATEST": replace(LATEST, code=folder, timeout=60.0)}, {})
        eventually(
            lambda wanted=b'{"code": %d,' % number: any(item.payload.startswith(wanted) for item in answers[-8:])
        )
    ending.set()
    for thread in threads:
        thread.join()
    assert [item for item in answers if item.status != 200 or item.function_error] == []
    assert len({item.request_id for item in answers}) == len(answers) == sum(sent)
    assert {str(folders[-1])} == eventually(
        lambda: environments.folders() == {str(folders[-1])} and environments.folders()
    )
    assert environments.stats("f").invocations == len(answers)
    environments.stop(0)


def test_the_pool_of_a_version_runs_real_handlers(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(HANDLER % 1)
    environments = Environments(1000, Share(1, 1, {}, {}))
    environments.put("f", {"$LATEST": LATEST, "1": replace(FIRST, code=tmp_path)}, {})
    environments.start()
    answers: list[Any] = []
    target = environments.target("f", "1")
    assert target is not None
    target.submit(Invocation("r", b"1", "arn"), answers.append, wait=False)
    [result] = eventually(lambda: answers)
    assert (result.executed_version, result.payload) == ("1", b'{"code": 1, "event": 1}')
    assert b"Version: 1" in result.log_tail
    environments.stop(0)
