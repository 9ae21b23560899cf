"""Where the service finds a place for control groups, and what it makes there: on folders that look like the kernel's.

What the kernel then does is shown in tests/cgroups, on a kernel of its own.
"""

import os
import signal
import subprocess
import sys

import pytest

from poller.runtime import control_groups
from poller.runtime.cgroup_place import LEAF, NoControlGroups, find_place, mount_of, own_path
from poller.runtime.control_groups import ControlGroup, ControlGroups, count_of

HYBRID = """\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime shared:9 - cgroup2 cgroup2 rw
"""


class Machine:
    """A hierarchy below `root`, this process in its group `own`, and what /proc tells of that."""

    def __init__(self, folder, own="/app.slice/poller.service"):
        self.root = folder / "cgroup fs"
        self.proc = folder / "proc"
        self.systemd = folder / "systemd"
        (self.proc / "self").mkdir(parents=True)
        point = str(self.root).replace(" ", r"\040")
        (self.proc / "self/mountinfo").write_text(f"41 31 0:38 / {point} rw - cgroup2 cgroup2 rw\n")
        self.own = self.group(own)
        self.join(own)

    def join(self, own):
        (self.proc / "self/cgroup").write_text(f"1:name=systemd:/x\n0::{own}\n")

    def group(self, path, processes=None, controllers="cpu memory pids", children="", kind="domain"):
        group = self.root / path.strip("/")
        group.mkdir(parents=True, exist_ok=True)
        (group / "cgroup.procs").write_text("".join(f"{pid}\n" for pid in processes or [os.getpid()]))
        (group / "cgroup.controllers").write_text(controllers + "\n")
        (group / "cgroup.subtree_control").write_text(children + "\n")
        if kind:
            (group / "cgroup.type").write_text(kind + "\n")
        return group

    def parent_of(self, pid, child):
        task = self.proc / f"{pid}/task/{pid}"
        task.mkdir(parents=True)
        (task / "children").write_text(f"{child} ")
        (self.proc / f"{child}/task/{child}").mkdir(parents=True)

    def place(self, delegated=False):
        return find_place(self.proc, self.systemd, lambda group: delegated and group == self.own)

    def refusal(self):
        with pytest.raises(NoControlGroups) as refused:
            self.place()
        return str(refused.value)


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path)


def test_the_v2_hierarchy_and_one_s_group_in_it_are_found_among_others():
    assert own_path("4:memory:/a\n1:name=systemd:/b\n0::/c d/e:f\n") == "/c d/e:f"
    assert own_path("4:memory:/a\n") is None
    point, root = mount_of(HYBRID)
    assert (str(point), root) == ("/sys/fs/cgroup/unified", "/")
    assert mount_of(HYBRID.replace("cgroup2", "cgroup")) is None


def test_a_group_of_one_s_own_has_room_beside_a_leaf_for_the_service(machine):
    assert machine.place() == (machine.own, machine.own / LEAF)
    machine.group("/app.slice/poller.service", [os.getpid(), 4321])  # 4321 was started by this process
    machine.parent_of(os.getpid(), 4321)
    assert machine.place() == (machine.own, machine.own / LEAF)


def test_a_service_in_its_leaf_finds_the_place_again_also_as_a_worker_beside_others(machine):
    machine.group(f"/app.slice/poller.service/{LEAF}", [1, 2, os.getpid()])
    machine.join(f"/app.slice/poller.service/{LEAF}")
    machine.group("/app.slice/poller.service", [], children="memory pids")
    assert machine.place() == (machine.own, None)
    machine.group("/app.slice/poller.service", [], controllers="pids")
    assert machine.refusal() == f"cgroups v2 have no controller memory in {machine.own}"


def test_the_root_may_have_processes_and_children(tmp_path):
    machine = Machine(tmp_path, "/")
    assert machine.place().leaf is not None  # a container's root is none
    machine.group("/", [1, 2, os.getpid()])
    (machine.root / "cgroup.type").unlink()
    assert machine.place() == (machine.root, None)


def test_nobody_else_s_processes_are_moved(machine):
    machine.group("/app.slice/poller.service", [4321, os.getpid()])
    assert machine.refusal() == (
        f"1 other processes are in the service's control group {machine.own}, such as 4321: "
        "start it in one of its own (see docs/how-to/limit-functions.md)"
    )


def test_what_systemd_manages_is_left_to_it_unless_it_delegates(machine):
    machine.systemd.mkdir()
    reason = f"systemd has not delegated {machine.own} to the service (see docs/how-to/limit-functions.md)"
    assert machine.refusal() == reason
    assert machine.place(delegated=True) == (machine.own, machine.own / LEAF)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"controllers": "cpu pids"}, "cgroups v2 have no controller memory in {own}"),
        ({"controllers": ""}, "cgroups v2 have no controller memory and pids in {own}"),
        ({"kind": "threaded"}, "{own} is a control group of type threaded, not domain"),
        ({"kind": "domain invalid"}, "{own} is a control group of type domain invalid, not domain"),
    ],
)
def test_a_group_that_cannot_have_limited_children_is_told(machine, change, reason):
    machine.group("/app.slice/poller.service", **change)
    assert machine.refusal() == reason.format(own=machine.own)


def test_without_the_hierarchy_or_outside_of_what_is_mounted_there_is_no_place(machine):
    machine.join("/../other")
    assert machine.refusal() == f"the service's control group /../other is not to be seen in {machine.root}"
    mounted = machine.proc / "self/mountinfo"
    mounted.write_text(mounted.read_text().replace(" / ", " /a ", 1))
    machine.join("/ab")
    assert machine.refusal() == f"the service's control group /ab is not to be seen in {machine.root}"
    machine.join("/a/b")
    assert machine.refusal().endswith(f"in {machine.root}/b")
    mounted.write_text("")
    assert machine.refusal() == "this system has no cgroups v2"
    mounted.unlink()
    assert machine.refusal() == "this system has no cgroups v2"


def test_a_read_only_hierarchy_is_told(machine, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, _: path != machine.own / "cgroup.procs")
    assert machine.refusal() == f"the service may not write to its control group {machine.own}"


def test_a_process_joins_with_what_it_started_and_one_that_never_comes_is_tried_once(tmp_path, monkeypatch):
    (tmp_path / "cgroup.procs").write_text("")
    joined = []
    monkeypatch.setattr(control_groups, "write", lambda path, text: joined.append((path.name, int(text))))
    code = "import subprocess; p = subprocess.Popen(['sleep', '600']); print(p.pid, flush=True); p.wait()"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        child = int(process.stdout.readline())
        try:
            ControlGroup(tmp_path).add(process.pid)
        finally:
            os.kill(child, signal.SIGKILL)
    assert sorted(joined) == sorted([("cgroup.procs", process.pid), ("cgroup.procs", child)])


def test_events_of_memory_are_counted():
    events = "low 0\nhigh 0\nmax 7\noom 1\noom_kill 3\noom_group_kill 1\n"
    assert (count_of("oom_kill", events), count_of("max", events), count_of("sock_throttled", events)) == (3, 7, 0)


def test_a_group_that_the_kernel_does_not_let_us_limit_is_not_left(tmp_path):
    with pytest.raises(FileNotFoundError):  # a plain folder has no memory.max, and none is made
        ControlGroups(tmp_path).make("fn", 128)
    assert list(tmp_path.iterdir()) == []


def test_groups_of_services_that_are_gone_are_removed_and_those_of_others_stay(tmp_path):
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        gone.wait()
    leaf = tmp_path / LEAF
    leaf.mkdir()
    (leaf / "cgroup.procs").write_text("77\n")
    (tmp_path / "cgroup.procs").write_text(f"{os.getpid()}\n")
    for name in ("poller-77-fn-1", f"poller-{os.getpid()}-fn-1", "poller-x", "somebody-s"):
        (tmp_path / name).mkdir()
    for name in (f"poller-{gone.pid}-my-fn_1-12/made/by-the-function", "poller-78-fn-2"):
        (tmp_path / name).mkdir(parents=True)
    assert ControlGroups(tmp_path).remove_leftovers() == 2
    left = {"poller-77-fn-1", f"poller-{os.getpid()}-fn-1", "poller-x", "somebody-s", "cgroup.procs", LEAF}
    assert {path.name for path in tmp_path.iterdir()} == left


def test_a_group_that_is_gone_tells_nothing_and_can_be_killed_and_ended(tmp_path):
    group = ControlGroup(tmp_path / "gone")
    assert group.peak_memory() is None
    assert not group.out_of_memory()
    group.kill()
    group.end()
