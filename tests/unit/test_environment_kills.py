"""`kill -9` of an environment's process at each step of its protocol: nobody hangs, nothing is left, all are answered.

The process is `handlers/scripted_child.py`, which is killed where its script says. What has to hold is A.4 and E.3: each
invocation has one answer, no event is begun twice, a death costs one event at most, and no process stays.
"""

import json
import os
import sys
import tempfile
import threading
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest
from handlers.rig import HANDLERS, descriptors, is_running
from hypothesis import HealthCheck, event, example, given, settings
from hypothesis import strategies as st

from poller.model import FunctionConfiguration, Invocation
from poller.runtime import frames, launch
from poller.runtime.event_memory import LEAST
from poller.runtime.pool import FunctionPool

CHILD = HANDLERS / "scripted_child.py"
STEPS = ("init", "ready", "unclaimed", "read", "head", "half", "piece", "answered", "frozen", "end", "stay")
deaths = st.sampled_from(["", *(f"{step}:{number}" for step in STEPS for number in (1, 2, 3))])


class Answers:
    """All that was answered, in order."""

    def __init__(self):
        self.changed = threading.Condition()
        self.results = []

    def __call__(self, result):
        with self.changed:
            self.results.append(result)
            self.changed.notify_all()

    def wait(self, count):
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.results) >= count, timeout=30), "somebody waits for ever"


class Stream:
    """A caller that takes a response in pieces."""

    full = False

    def __init__(self):
        self.begun = 0
        self.taken = b""

    def attach(self, version, wake):
        pass

    def begin(self, content_type):
        self.begun += 1

    def take(self, piece):
        assert self.begun
        self.taken += piece


def processes_of(folder):
    """Living processes that have this folder in their environment: those of the pool and all that they started."""
    mark, found = f"FOLDER={folder}".encode(), []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if mark in (entry / "environ").read_bytes().split(b"\0") and is_running(int(entry.name)):
                    found.append(int(entry.name))
            except OSError:
                continue
    return found


@dataclass(frozen=True)
class Life:
    """What happens to one pool."""

    script: list[str]
    api: bool = False
    """Over Lambda's Runtime API, else over pipes."""
    streaming: bool = False
    """Over the API it answers in pieces."""
    taken: bool = False
    """Callers take pieces as they come."""
    events: int = 1
    concurrency: int = 1
    provisioned: int = 0
    freeze: bool = False
    reaped: bool = False
    """Each environment as soon as it is idle."""
    large: bool = False
    """Events go through the memory that is shared with the process."""
    one_by_one: bool = True
    """Else all events are there at once, and lie ahead."""
    stopped: bool = False
    """As soon as all events are handed over."""


lives = st.builds(
    Life,
    script=st.lists(deaths, min_size=1, max_size=4),
    api=st.booleans(),
    streaming=st.booleans(),
    taken=st.booleans(),
    events=st.integers(1, 7),
    concurrency=st.integers(1, 2),
    provisioned=st.integers(0, 2),
    freeze=st.booleans(),
    reaped=st.booleans(),
    large=st.booleans(),
    one_by_one=st.booleans(),
    stopped=st.sampled_from((False, False, True)),
)


def payload_of(life, name):
    return json.dumps(name + "." * LEAST if life.large else name).encode()


def run(life, folder):
    """The results of all its events, and what their callers took meanwhile."""
    streaming = {"STREAMING": "yes"} if life.streaming else {}
    configuration = FunctionConfiguration(
        "fn",
        Path(folder),
        "none.handler",
        "provided.al2023" if life.api else f"python{sys.version_info[0]}.{sys.version_info[1]}",
        timeout=20.0,
        environment={
            "SCRIPT": ",".join(life.script),
            "FOLDER": folder,
            "FRAMES": str(Path(frames.__file__).parent),
            **streaming,
        },
        reserved_concurrent_executions=life.concurrency,
    )
    bootstrap = Path(folder, "bootstrap")
    bootstrap.write_text(f"#!/bin/sh\nexec {sys.executable} -u {CHILD}\n")
    bootstrap.chmod(0o755)
    before = descriptors()
    pool = FunctionPool(
        configuration,
        log=lambda *_: None,
        idle_timeout=0.0 if life.reaped else 300.0,
        provisioned=min(life.provisioned, life.concurrency),
        freeze=life.freeze,
    )
    answers, streams = Answers(), {str(number): Stream() for number in range(life.events)}
    pool.start()
    try:
        for count, (name, stream) in enumerate(streams.items(), 1):
            taken_by = stream if life.taken else None
            payload, arn = payload_of(life, name), configuration.function_arn
            pool.submit(Invocation(name, payload, arn, response_stream=taken_by), answers, wait=True)
            if life.one_by_one:
                answers.wait(count)
        if not life.stopped:
            answers.wait(life.events)
    finally:
        pool.stop(grace=0.0 if life.stopped else 30.0)
    answers.wait(life.events)
    assert pool.stats().environments == 0
    assert processes_of(folder) == []
    assert descriptors() == before
    return answers.results, streams


@pytest.fixture(scope="module", autouse=True)
def scripted():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(launch, "BOOTSTRAP", CHILD)
        yield


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(lives)
@example(Life(["init"], provisioned=1))  # during its pre-warming
@example(Life(["init", "init"], events=2))  # in both of its inits
@example(Life(["frozen"] * 3, events=4, freeze=True))
@example(Life(["frozen"] * 3, events=2, freeze=True, provisioned=1))
@example(Life(["stay"], freeze=True, reaped=True))  # must be killed while it is reaped
@example(Life(["end"], events=2, reaped=True))
@example(Life(["unclaimed:2", "half:2", "answered:2"], events=7, one_by_one=False))  # while events lie ahead
@example(Life(["unclaimed:2"] * 3, events=7, one_by_one=False))
@example(Life(["init", "ready", "read", "half", "answered"], api=True, events=5))
@example(Life(["frozen", "stay"], api=True, events=3, freeze=True))
@example(Life(["head", "piece", "half", "answered"], api=True, streaming=True, events=5))
@example(Life(["head", "piece", "half", "answered"], api=True, streaming=True, taken=True, events=5))
@example(Life(["ready", "read"], api=True, streaming=True, taken=True, events=3))
@example(Life(["read:1"], events=3, provisioned=1, stopped=True))
@example(Life(["read:2", "unclaimed:2", "half:1", "answered:1"], events=7, large=True, one_by_one=False))
def test_whenever_a_process_is_killed_each_invocation_has_one_answer_and_nothing_is_left(life):
    with tempfile.TemporaryDirectory() as folder:
        results, streams = run(life, folder)
        started = sum(1 for entry in Path(folder).iterdir() if entry.name.startswith("process-"))
        noted = Path(folder, "begun")
        begun = Counter(noted.read_text().split() if noted.exists() else [])
    answered = Counter(result.request_id for result in results)
    assert answered == Counter(map(str, range(life.events)))
    assert set(begun.values()) <= {1}, "begun twice"
    well = [result for result in results if result.status == 200 and result.function_error is None]
    for result in results:
        whole, stream = payload_of(life, result.request_id), streams[result.request_id]
        assert stream.begun <= 1, "answered twice"
        assert whole.startswith(stream.taken)
        if result in well:
            assert (stream.taken if stream.begun else result.payload) == whole
    assert {result.request_id for result in well} <= set(begun)
    failed = [result for result in results if result.function_error is not None]
    steps = [entry.partition(":")[0] for entry in life.script[:started]]
    assert len(failed) <= len(steps) - sum(map(steps.count, ("", "end", "stay"))), "a death costs one event at most"
    # Of an event that is on its way when its process dies, nobody can say whether it was read; of one that was laid, all.
    unbegun = [result for result in failed if result.request_id not in begun]
    assert len(unbegun) <= sum(map(steps.count, ("init", "ready", "answered", "frozen"))), "it was not begun"
    if not life.stopped:
        assert {result.status for result in results} == {200}
    for step in steps:
        event(step or "lives")


def test_the_scripted_process_is_none_of_this_one():
    assert processes_of(os.environ.get("FOLDER", "none")) == []


@pytest.mark.parametrize("taken", [True, False])
def test_the_scripted_process_streams(tmp_path, taken):
    results, streams = run(Life([""], api=True, streaming=True, taken=taken), str(tmp_path))
    assert [result.streamed for result in results] == [True]
    assert (streams["0"].taken, results[0].payload) == ((b'"0"', b"") if taken else (b"", b'"0"'))
