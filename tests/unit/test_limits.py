"""Who sees to an environment's limits: its control group, or the watch where the kernel refuses one (E.3)."""

import os
from pathlib import Path

import pytest

from poller.model import FunctionConfiguration
from poller.runtime import limits as module
from poller.runtime.limits import Limits
from poller.runtime.memory import MEGABYTE, Held

CONFIGURATION = FunctionConfiguration("fn", Path(), "a.b", memory_size=200)


class Group:
    """A control group that says what it is told to."""

    path = Path("/groups/one")

    def __init__(self, *, refuses=False):
        self.refuses = refuses
        self.pids = []
        self.kills = self.ends = 0
        self.peak = 90 * MEGABYTE
        self.oom = False

    def add(self, pid):
        if self.refuses:
            raise PermissionError(1, "Operation not permitted")
        self.pids.append(pid)

    def peak_memory(self):
        return self.peak

    def out_of_memory(self):
        return self.oom

    def kill(self):
        self.kills += 1

    def end(self):
        self.ends += 1


class Groups:
    def __init__(self, *groups):
        self.groups = list(groups)

    def make(self, function_name, memory_size):
        assert (function_name, memory_size) == ("fn", 200)
        if not self.groups:
            raise OSError(28, "No space left on device")
        return self.groups.pop(0)


class Dialogue:
    """One process and an extension: this one, twice, which is not ended."""

    pids = (os.getpid(), os.getpid())

    def __init__(self):
        self.kills = 0

    def kill(self):
        self.kills += 1

    def peak_memory(self):
        return 50 * MEGABYTE


@pytest.fixture(autouse=True)
def held(monkeypatch):
    """What looks at processes see; nothing is limited for real."""
    seen = {"held": Held(10, 1)}
    monkeypatch.setattr(module, "held_by", lambda *_: seen["held"])
    monkeypatch.setattr(module, "limit_file_size", lambda *_: None)
    return seen


def started(limits, dialogue):
    limits.prepare()
    limits.begin(dialogue)
    return limits


def test_with_a_group_nothing_is_looked_at_and_the_group_tells(held):
    group, dialogue = Group(), Dialogue()
    limits = started(Limits(CONFIGURATION, Groups(group)), dialogue)
    assert group.pids == list(dialogue.pids)
    assert limits.control_group == group.path
    held["held"] = Held(10**12, 10**6)
    limits.look(dialogue, None, 0.0)
    assert dialogue.kills == 0
    assert limits.peak_memory(dialogue) == 90 * MEGABYTE
    group.peak = 201 * MEGABYTE  # the kernel may be a little over
    group.oom = True
    limits.kill()
    limits.end()
    limits.end()
    assert (group.kills, group.ends) == (1, 1)
    assert limits.out_of_memory
    assert limits.control_group is None
    assert limits.peak_memory(None) == 200 * MEGABYTE


def test_the_next_process_has_a_group_of_its_own_and_nothing_of_the_last_one_s():
    first, second, dialogue = Group(), Group(), Dialogue()
    first.oom = True
    limits = started(Limits(CONFIGURATION, Groups(first, second)), dialogue)
    started(limits, dialogue)
    assert (first.ends, second.ends) == (1, 0)
    assert not limits.out_of_memory
    second.peak = None  # Linux before 5.19
    assert limits.peak_memory(dialogue) == 50 * MEGABYTE


@pytest.mark.parametrize("groups", [Groups(), Groups(Group(refuses=True))])
def test_a_process_that_the_kernel_gives_no_group_is_watched(groups, held, caplog):
    half_full = list(groups.groups)
    dialogue = Dialogue()
    limits = started(Limits(CONFIGURATION, groups), dialogue)
    assert "no control group for an environment, which is watched instead: [Errno" in caplog.text
    held["held"] = Held(200 * MEGABYTE, 1024)
    limits.look(dialogue, None, 0.0)
    assert dialogue.kills == 0
    held["held"] = Held(200 * MEGABYTE + 1, 1)
    limits.look(dialogue, None, 0.1)
    assert dialogue.kills == 1
    assert limits.out_of_memory
    assert limits.peak_memory(None) == 200 * MEGABYTE + 1
    for group in half_full:  # some may have joined: it ends with them, not before
        assert (group.kills, group.ends) == (1, 0)
        limits.end()
        assert group.ends == 1
    assert limits.out_of_memory


def test_where_only_extensions_are_in_the_group_the_process_s_own_memory_is_told():
    group = Group(refuses=True)
    group.peak = MEGABYTE
    dialogue = Dialogue()
    limits = started(Limits(CONFIGURATION, Groups(group)), dialogue)
    assert limits.peak_memory(dialogue) == 50 * MEGABYTE


def test_what_was_seen_of_one_process_is_not_done_to_the_next(tmp_path, held, monkeypatch):
    first, second = Dialogue(), Dialogue()
    limits = started(Limits(CONFIGURATION, None), first)
    started(limits, second)
    held["held"] = Held(201 * MEGABYTE, 1)
    monkeypatch.setattr(limits._storage, "look", lambda *_: 513 * MEGABYTE)
    limits.look(first, tmp_path, 0.0)  # it began before the second was started
    assert (first.kills, second.kills) == (0, 0)
    assert (limits.out_of_memory, limits.exceeded, limits.overfull) == (False, False, False)
    assert limits.peak_memory(None) == 0


def test_too_many_threads_are_no_case_of_memory(held, caplog):
    dialogue = Dialogue()
    limits = started(Limits(CONFIGURATION, None), dialogue)
    held["held"] = Held(10, 1025)
    limits.look(dialogue, None, 0.0)
    assert (dialogue.kills, limits.out_of_memory, limits.exceeded) == (1, False, True)
    assert "killed an environment that has 1025 processes and threads, more than 1024" in caplog.text
    held["held"] = None  # it is gone
    limits.look(dialogue, None, 0.1)
    assert dialogue.kills == 1


def test_a_folder_is_counted_whoever_sees_to_the_rest(tmp_path, monkeypatch):
    group, dialogue = Group(), Dialogue()
    limits = started(Limits(CONFIGURATION, Groups(group)), dialogue)
    monkeypatch.setattr(limits._storage, "look", lambda *_: 512 * MEGABYTE)
    limits.look(dialogue, tmp_path, 0.0)
    assert not limits.overfull
    monkeypatch.setattr(limits._storage, "look", lambda *_: 512 * MEGABYTE + 1)
    limits.look(dialogue, tmp_path, 0.1)
    assert limits.overfull
    assert (dialogue.kills, group.kills) == (1, 1)
