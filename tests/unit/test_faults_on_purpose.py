"""Faults that the settings ask for: seeded, so that a run repeats, and as a caller or a broker would see the real ones."""

import json
import re

import pytest
import templates
from async_rig import Rig as AsyncRig
from async_rig import in_file, lines
from builders import answer, record
from handlers.rig import HANDLERS, Function, error_of
from scripted import Rig, ScriptedSource
from unit.test_pool import Answers, submit
from waiting import eventually

from poller.assembly import faulty_destinations
from poller.async_invoke.configuration import AsyncConfiguration
from poller.clock import SystemClock
from poller.control_plane import ControlPlane
from poller.errors import ConfigError, DestinationError
from poller.faults.chance import Chance, InvocationFaults, draw
from poller.faults.destination import DroppingDestination
from poller.faults.duplicating import DuplicatingPolicy
from poller.faults.settings import EventSourceFaults, Faults, FunctionFaults, SlowDownFaults, unknown_names
from poller.function_pools import function_pools
from poller.metrics import Metrics
from poller.model import Batch, Complete, DeadLetter, FunctionConfiguration, InvocationResult, Retry
from poller.policy.reporting import Outcome
from poller.policy.retrying import RetryPolicy
from poller.runtime.environment import ExecutionEnvironment
from poller.settings import Settings
from poller.validation import parse


def kinds(seed=7, number=400, **faults):
    made = InvocationFaults(FunctionFaults(**faults), seed, "fn")
    return [made.next() for _ in range(number)]


def test_the_same_seed_makes_the_same_faults_and_another_one_others():
    wanted = {"Crash": 0.1, "Hang": 0.1, "SlowDown": SlowDownFaults(Rate=0.1, Seconds=2)}
    assert kinds(**wanted) == kinds(**wanted)
    assert kinds(**wanted) != kinds(seed=8, **wanted)


def test_each_fault_comes_as_often_as_asked_for_and_none_unless_asked_for():
    found = kinds(number=4000, Crash=0.2, Hang=0.1)
    assert abs(sum(fault is not None and fault.kind == "Crash" for fault in found) / 4000 - 0.2) < 0.03
    assert abs(sum(fault is not None and fault.kind == "Hang" for fault in found) / 4000 - 0.1) < 0.03
    assert {fault.afterwards for fault in found if fault} == {True, False}
    assert set(kinds()) == {None}
    assert all(0 <= draw(seed, "x", 1).share < 1 for seed in range(100))


@pytest.fixture
def function(monkeypatch):
    made = []

    def make(handler, *, fault, afterwards=True, seconds=0.0, **configuration):
        class Always(InvocationFaults):
            def next(self):
                found = super().next()
                return found._replace(afterwards=afterwards)

        slow = SlowDownFaults(Rate=1.0, Seconds=seconds) if fault == "SlowDown" else SlowDownFaults()
        faults = FunctionFaults(SlowDown=slow) if fault == "SlowDown" else FunctionFaults(**{fault: 1.0})
        fn = Function(handler, **configuration)
        fn.environment = ExecutionEnvironment(fn.configuration, fn._log, faults=Always(faults, 1, "fn"))
        made.append(fn)
        return fn

    yield make
    for one in made:
        one.environment.stop()


@pytest.mark.parametrize("afterwards", [False, True])
def test_a_crash_is_what_a_killed_process_is_and_its_handler_did_all_or_nothing(function, afterwards):  # A.4
    fn = function("writing.echo", fault="Crash", afterwards=afterwards)
    assert error_of(fn.invoke("done")) == {
        "errorType": "Runtime.ExitError",
        "errorMessage": "RequestId: id-1 Error: Runtime exited with error: signal: killed",
    }
    assert ("done" in fn.lines) is afterwards
    assert fn.report().endswith("\tStatus: error\tError Type: Runtime.ExitError")
    fn.invoke("again")
    assert fn.environment.cold_starts == 2  # the environment was reset, as after any crash


@pytest.mark.parametrize("afterwards", [False, True])
def test_a_hang_is_what_a_timeout_is(function, afterwards):  # A.4
    fn = function("writing.echo", fault="Hang", afterwards=afterwards, timeout=0.2)
    assert error_of(fn.invoke("done"))["errorType"] == "Sandbox.Timedout"
    assert ("done" in fn.lines) is afterwards


def test_a_slow_down_counts_as_time_of_the_invocation(function):
    result = function("basic.count", fault="SlowDown", seconds=0.05).invoke()
    assert result.function_error is None
    assert result.duration >= 0.05


def test_a_slow_down_beyond_the_timeout_times_out(function):
    fn = function("writing.echo", fault="SlowDown", seconds=30.0, timeout=0.1)
    assert error_of(fn.invoke("done"))["errorType"] == "Sandbox.Timedout"
    assert "done" not in fn.lines


def test_an_error_of_the_handlers_own_comes_before_a_crash(function):
    assert error_of(function("writing.fails", fault="Crash").invoke())["errorType"] == "ValueError"


def test_a_throttle_answers_429_and_runs_nothing(tmp_path, caplog):  # A.3
    settings = Settings(Faults=Faults(Functions={"fn": FunctionFaults(Throttle=1)}))
    pools = function_pools(settings, tmp_path)
    one, answers = pools.make(FunctionConfiguration("fn", HANDLERS, "basic.count"), 10), Answers()
    one.start()
    submit(one, answers, wait=True)
    assert answers.wait(1)[0].status == 429
    assert b"ConcurrentInvocationLimitExceeded" in answers.results[0].payload
    assert (one.stats().throttles, one.stats().cold_starts) == (1, 0)
    one.stop()
    assert [record.message for record in caplog.records] == ["faults are made on purpose: Throttle 1 of fn"]


def test_without_faults_nothing_is_said_and_nothing_stands_in_the_way(tmp_path, caplog):
    pools = function_pools(Settings(), tmp_path)
    assert pools.make(FunctionConfiguration("fn", HANDLERS, "basic.count"), 10)._faults_on_purpose is None
    assert not caplog.records


OK = InvocationResult("id", b"null")


def decide(policy, batch, failed=()):
    return policy.decide(batch, Outcome(list(failed)), OK, now=5.0, wall=5.0)


def test_a_batch_that_was_handled_well_is_delivered_once_more_and_then_done():
    policy = DuplicatingPolicy(RetryPolicy(), lambda: True)
    batch = Batch([record(1), record(2)], 1.0, attempt=3, event=b"{}")
    (retry,) = decide(policy, batch)
    assert isinstance(retry, Retry)
    (again,) = retry.batches
    assert (again.records, again.attempt, again.event, again.not_before) == (batch.records, 3, b"{}", 5.0)
    assert decide(policy, again) == [Complete(batch.records)]


def test_a_batch_that_failed_is_not_delivered_twice_on_top_of_its_retry():
    policy = DuplicatingPolicy(RetryPolicy(), lambda: pytest.fail("not asked"))
    records = [record(1)]
    (retry,) = decide(policy, Batch(records, 1.0), failed=records)
    assert retry.batches[0].attempt == 2


class Letters:
    def __init__(self):
        self.sent = []
        self.closed = False

    def send(self, letters):
        self.sent += letters

    def close(self):
        self.closed = True


def test_a_dropped_delivery_fails_whether_or_not_it_was_sent_and_loses_nothing_when_repeated():
    real = Letters()
    destination = DroppingDestination(real, 0.5, Chance(3, "d"))
    wanted = [DeadLetter(str(number).encode()) for number in range(60)]
    failures = set()
    for letter in wanted:
        while True:
            try:
                destination.send([letter])
            except DestinationError as error:
                failures.add(str(error))
            else:
                break
    assert set(real.sent) == set(wanted)
    assert len(real.sent) > len(wanted)  # confirmations were lost, too
    assert len(failures) == 2
    destination.close()
    assert real.closed


@pytest.mark.parametrize(
    ("faults", "told"),
    [
        ({"Functions": {"F": {"Crash": 1.5}}}, r"Faults.Functions.F.Crash: 1.5 is above 1"),
        ({"Functions": {"F": {"Crash": -0.5}}}, r"Crash: -0.5 is below 0"),
        ({"Functions": {"F": {"Crash": 0.6, "Hang": 0.6}}}, "1.2 together"),
        ({"Functions": {"F": {"Crush": 0.1}}}, "Crush: unknown property"),
        ({"Functions": {"F": {"SlowDown": {"Rate": 0.1, "Seconds": 901}}}}, "Seconds: 901 is above 900"),
        ({"Destinations": {"Drop": "often"}}, 'Drop: "often" is not a number'),
        ({"Seed": "x"}, 'Seed: "x" is not a whole number'),
    ],
)
def test_a_fault_that_makes_no_sense_is_refused(faults, told):
    with pytest.raises(ConfigError, match=re.escape(told)):
        parse(Settings, {"Faults": faults}, lambda field: field)


def test_faults_of_what_the_template_does_not_have_are_refused():
    faults = Faults(Functions={"Order": FunctionFaults()}, EventSources={"Orders.New": EventSourceFaults()})
    found = [str(problem) for problem in unknown_names(faults, ["Orders"], ["Orders.Old"], "Faults")]
    assert "Faults.Functions.Order: the template has none of that name (did you mean Orders?)" in found[0]
    assert "Faults.EventSources.Orders.New" in found[1]


def test_the_settings_faults_come_from_the_template(tmp_path):
    from poller.template import load

    (tmp_path / "app.py").write_text("def handler(event, context): ...\n")
    path = tmp_path / "template.yaml"
    path.write_text(
        "Metadata: {Poller: {Faults: {Seed: 7, Functions: {Orders: {Crash: 0.01}, Nobody: {Hang: 1}}}}}\n"
        "Resources:\n  Orders:\n    Type: AWS::Lambda::Function\n    Properties:\n      Code: .\n"
        "      Handler: app.handler\n      Runtime: python3.13\n"
    )
    with pytest.raises(ConfigError, match=r"Metadata.Poller.Faults.Functions.Nobody"):
        load(path)
    path.write_text(path.read_text().replace(", Nobody: {Hang: 1}", ""))
    faults = load(path).settings.Faults
    assert (faults.Seed, faults.Functions["Orders"].Crash) == (7, 0.01)
    assert json.dumps(faults.shown()) == '["Crash 0.01 of Orders"]'


@pytest.mark.parametrize("ordered", [True, False])
def test_nothing_of_a_batch_is_acknowledged_before_its_second_delivery_was_handled(ordered):
    rig = Rig(ordered=ordered, retry=DuplicatingPolicy(RetryPolicy(redelivers=not ordered), lambda: True))
    rig.poller.open()
    rig.arrive(0, 1)
    rig.step()
    first = rig.pool.calls[0][0].request_id
    rig.pool.answer(answer())
    rig.step()
    rig.step()
    assert rig.pool.running() == [[0, 1]]
    assert rig.pool.calls[0][0].request_id != first
    assert not any(rig.source.acknowledged)
    rig.pool.answer(answer())
    rig.step(1)
    assert rig.pool.running() == []
    assert rig.source.committed() == {"t-0": 2} if ordered else rig.source.settled() == [0, 1]


def test_a_mapping_is_delivered_twice_only_where_the_settings_say_so(tmp_path, caplog):
    caplog.set_level("INFO")
    faults = {"EventSources": {"Telemetry.Readings": {"DuplicateDelivery": 1}}}
    found = templates.load(tmp_path, templates.document(settings={"Faults": faults}))
    plane = ControlPlane(found, Metrics(), SystemClock())
    policies = {}
    for mapping in found.mappings:
        source = ScriptedSource(ordered=mapping.kind != "MQ")
        policies[mapping.name] = plane._assembly.change(mapping, source, None).plan.retry
    assert isinstance(policies["Tasks.Queue"], RetryPolicy)
    assert isinstance(policies["Telemetry.Readings"], DuplicatingPolicy)
    assert policies["Telemetry.Readings"].happens()
    assert "fault on purpose: a batch is delivered twice" in caplog.text


def test_a_record_whose_confirmation_is_dropped_reaches_its_destination_twice(tmp_path):  # B.3
    name = "one-OnSuccess/destination"
    seed = next(
        n for n in range(1000) if draw(n, name, 1) < (0.5,) and draw(n, name, 1).coin and draw(n, name, 2) >= (0.5,)
    )
    settings = Settings(Faults=Faults(Seed=seed, Destinations={"Drop": 0.5}))
    rig = AsyncRig(tmp_path)
    rig.invoker._faulty = faulty_destinations(settings)
    rig.add("one", AsyncConfiguration(on_success=in_file(tmp_path / "done")))
    rig.start()
    try:
        request_id = rig.accept("one", 7)
        eventually(lambda: len(lines(tmp_path / "done")) == 2)
        assert [line["requestContext"]["requestId"] for line in lines(tmp_path / "done")] == [request_id] * 2
        assert len(rig.attempts("one")) == 1
    finally:
        rig.stop()
