"""What a kernel with cgroups v2 makes of an environment's limits (E.3, A.4): `make cgroups` runs these on one of its own.

They run on any machine where the service finds a place for control groups, and are skipped elsewhere.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from handlers.rig import HANDLERS, Function, error_of, exited, is_running, wait_until_gone
from waiting import eventually

from poller.function_pools import FunctionPools
from poller.model import FunctionConfiguration
from poller.runtime.cgroup_place import LEAF, NoControlGroups, mount_of
from poller.runtime.control_groups import ControlGroup, find_control_groups
from poller.runtime.environment import ExecutionEnvironment
from poller.settings import Settings

NOBODY = 65534


@pytest.fixture(scope="session")
def groups():
    try:
        return find_control_groups()
    except NoControlGroups as reason:
        pytest.skip(str(reason))


@pytest.fixture(params=["poller", "aws"])
def function(request, groups):
    made = []

    def make(handler, **configuration):
        fn = Function(handler, runtime_client=request.param, timeout=120.0, **configuration)
        fn.environment = ExecutionEnvironment(fn.configuration, fn._log, init_timeout=120.0, control_groups=groups)
        made.append(fn)
        return fn

    yield make
    for one in made:
        one.environment.stop(grace=0)
    assert ours(groups) == []  # none is left, whatever happened


def ours(groups):
    return [path for path in groups.parent.iterdir() if path.name.startswith(f"poller-{os.getpid()}-")]


@pytest.fixture
def own_group(groups):
    """A group for another service, as systemd would give it one."""
    path = groups.parent / f"service-{time.monotonic_ns()}"
    path.mkdir()
    yield path
    ControlGroup(path).end()


def in_group(group, code, *, uid=0, **options):
    """Python in a control group, with the environment of these tests."""
    paths = os.pathsep.join(path for path in sys.path if path)
    enter = 'echo $$ > "$1/cgroup.procs"; shift; exec "$@"'
    return subprocess.Popen(
        ["/bin/sh", "-c", enter, "sh", group, sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": paths},
        text=True,
        stdout=subprocess.PIPE,
        **options,
    )


PLACE = """
from poller.runtime.control_groups import find_control_groups
from poller.runtime.cgroup_place import NoControlGroups
from pathlib import Path
try:
    groups = find_control_groups()
    groups.make("fn", 128).end()
    print(groups.parent, Path("/proc/self/cgroup").read_text().split("0::")[1].strip())
except NoControlGroups as reason:
    print(reason)
"""


def test_each_process_has_a_group_with_the_function_s_limits_before_its_first_event(function, groups):  # E.3
    fn = function("greedy.group", memory_size=200)
    text, _ = json.loads(fn.invoke().payload)
    (group,) = ours(groups)
    assert text.splitlines()[-1].endswith(f"/{group.name}")
    assert group.name.startswith(f"poller-{os.getpid()}-fn-")
    found = {name: (group / name).read_text().strip() for name in ("memory.max", "memory.oom.group", "pids.max")}
    assert found == {"memory.max": str(200 * 2**20), "memory.oom.group": "1", "pids.max": "1024"}


@pytest.mark.parametrize("function", ["poller"], indirect=True)
def test_python_on_pipes_is_in_its_group_before_the_handler_is_imported_and_sees_no_variable_of_that(function):
    found = json.loads(function("greedy.group_at_import").invoke().payload)
    assert "/poller-" in found["group"]
    assert found["variables"] == []


def test_what_grows_too_fast_for_any_look_is_killed_by_the_kernel_and_told_as_on_lambda(function):  # A.4
    fn = function("basic.use_memory")
    assert error_of(fn.invoke(1000)) == exited("with error: signal: killed")
    assert any(line.endswith("\nRuntime.OutOfMemory") for line in fn.lines)
    assert "Max Memory Used: 128 MB" in fn.report()
    assert fn.report().rstrip().endswith("Error Type: Runtime.OutOfMemory")
    assert json.loads(fn.invoke(20).payload) == 20 * 2**20  # in a new process
    assert fn.environment.cold_starts == 2


def test_a_child_that_grows_takes_its_environment_along(function):
    fn = function("basic.grow_in_child")
    assert error_of(fn.invoke()) == exited("with error: signal: killed")
    assert "Error Type: Runtime.OutOfMemory" in fn.report()


def test_a_process_that_is_killed_by_something_else_is_no_case_of_memory(function):
    fn = function("greedy.kill_itself")
    assert error_of(fn.invoke()) == exited("with error: signal: killed")
    assert fn.report().rstrip().endswith("Error Type: Runtime.ExitError")


def test_a_short_peak_is_in_the_report(function):
    fn = function("basic.use_memory", memory_size=400)
    fn.invoke(1)
    fn.invoke(150, request_id="id-2")
    fn.invoke(1, request_id="id-3")
    used = int(re.search(r"Max Memory Used: (\d+) MB", fn.report())[1])
    assert 150 < used < 250


def test_one_process_more_than_1024_is_refused_with_eagain_as_on_lambda(function):  # E.3
    fn = function("greedy.processes_until_refused", memory_size=1024)
    started, failed = json.loads(fn.invoke().payload)
    assert failed == "EAGAIN"
    assert 1000 < started < 1024  # the interpreter's own and its threads count


def test_a_process_that_left_group_session_and_variables_ends_with_its_environment(function):
    fn = function("greedy.daemon_without_variables")
    daemon = json.loads(fn.invoke().payload)
    assert is_running(daemon)
    fn.environment.stop(grace=0)
    assert not is_running(daemon)


def test_a_kill_from_another_thread_reaches_such_a_process_too(function):
    fn = function("greedy.daemon_without_variables")
    daemon = json.loads(fn.invoke().payload)
    fn.environment.kill()
    wait_until_gone(daemon)


@pytest.mark.parametrize("function", ["aws"], indirect=True)
def test_an_external_extension_is_in_the_group_and_its_memory_counts(function, groups, tmp_path):
    extension = tmp_path / "layer/extensions/greedy"
    extension.parent.mkdir(parents=True)
    extension.write_text(f"#!{sys.executable}\n{(HANDLERS / 'scripted_extension.py').read_text()}")
    extension.chmod(0o755)
    fn = function("greedy.group", layers=(tmp_path / "layer",), environment={"NOTE": str(tmp_path / "note")})
    fn.invoke()
    (group,) = ours(groups)
    processes = [int(pid) for pid in (group / "cgroup.procs").read_text().split()]
    assert len(processes) == 2
    assert any(b"greedy" in Path(f"/proc/{pid}/cmdline").read_bytes() for pid in processes)


def test_the_service_says_once_that_the_kernel_sees_to_it(groups, caplog, tmp_path):
    caplog.set_level("INFO")
    pools = FunctionPools(Settings(Reload="false"), tmp_path, None, None, groups)
    pools.start(list)
    pools.stop()
    assert [record.getMessage() for record in caplog.records if "MemorySize" in record.getMessage()] == [
        f"MemorySize is enforced by the kernel, with control groups in {groups.parent}"
    ]
    port = Settings(Debug="fn:5999", Reload="false")
    pool = FunctionPools(port, tmp_path, None, None, groups).make(
        FunctionConfiguration("fn", HANDLERS, "basic.count"), 1
    )
    assert pool._environments.control_groups is None


def test_a_service_alone_in_its_group_moves_itself_into_a_leaf(own_group):
    with in_group(own_group, PLACE) as service:
        said = service.stdout.read().split()
    assert said[0] == str(own_group)
    assert said[1].endswith(f"/{own_group.name}/{LEAF}")
    assert {path.name for path in own_group.iterdir() if path.is_dir()} == {LEAF}


def test_a_worker_finds_the_place_of_its_supervisor(own_group):
    worker = (
        f"import subprocess, sys\nsys.stdout.flush()\nsubprocess.run([sys.executable, '-c', {PLACE!r}], check=True)"
    )
    with in_group(own_group, PLACE + worker) as service:
        supervisor_s, worker_s = service.stdout.read().splitlines()
    assert supervisor_s == worker_s
    assert worker_s.startswith(f"{own_group} ")


def test_another_s_process_in_the_group_is_left_where_it_is(own_group):
    with in_group(own_group, "input()", stdin=subprocess.PIPE) as other:
        eventually(lambda: str(other.pid) in (own_group / "cgroup.procs").read_text().split())
        with in_group(own_group, PLACE) as service:
            assert "1 other processes are in the service's control group" in service.stdout.read()
        assert (own_group / "cgroup.procs").read_text().split() == [str(other.pid)]
        other.communicate("\n")


def test_a_service_without_rights_is_content_with_a_group_that_was_given_to_it(own_group):
    imports = "import os; import poller.runtime.control_groups"  # while it may read them
    code = f"{imports}\nos.setgid({NOBODY}); os.setuid({NOBODY})\n{PLACE}"
    with in_group(own_group, code) as service:
        assert service.stdout.read().strip() == f"the service may not write to its control group {own_group}"
    for path in (own_group, own_group / "cgroup.procs", own_group / "cgroup.subtree_control"):
        os.chown(path, NOBODY, NOBODY)
    with in_group(own_group, code) as service:
        assert service.stdout.read().split()[0] == str(own_group)


def test_what_a_killed_service_left_is_removed_at_the_next_start(own_group):
    code = (
        "import sys, time\nfrom handlers.rig import Function\nfrom poller.runtime.environment import ExecutionEnvironment\n"
        "from poller.runtime.control_groups import find_control_groups\n"
        "fn = Function('greedy.daemon_without_variables', timeout=100.0)\n"
        "fn.environment = ExecutionEnvironment(fn.configuration, fn._log, init_timeout=100.0, "
        "control_groups=find_control_groups())\n"
        "print(fn.invoke().payload.decode(), flush=True); time.sleep(600)"
    )
    with in_group(own_group, code) as killed:
        daemon = int(killed.stdout.readline())
        killed.send_signal(signal.SIGKILL)
    (left,) = own_group.glob("poller-*-fn-1")
    assert is_running(daemon)  # nothing else knows of it
    with in_group(own_group / LEAF, PLACE) as service:  # the group itself has children, so nothing can enter it
        assert service.stdout.read().split()[0] == str(own_group)
    assert not left.exists()
    assert not is_running(daemon)


def test_a_hierarchy_that_is_mounted_read_only_is_left_alone(own_group, tmp_path):
    point, _ = mount_of(Path("/proc/self/mountinfo").read_text())
    code = f"unshare -m sh -c 'mount -o remount,ro,bind {point} 2>/dev/null || exit 9; exec \"$@\"' sh"
    if shutil.which("unshare") is None:
        pytest.skip("there is no unshare")
    said = subprocess.run(
        ["sh", "-c", f'{code} "$@"', "sh", sys.executable, "-c", PLACE],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        check=False, capture_output=True, text=True,
    )  # fmt: skip
    if said.returncode == 9:
        pytest.skip("it cannot be mounted again here")
    assert "the service may not write to its control group" in said.stdout


def test_a_group_that_ends_kills_what_is_in_it_and_shows_what_it_cost(groups, capsys):
    with subprocess.Popen(["sleep", "600"]) as process:
        began = time.perf_counter()
        group = groups.make("fn", 128)
        made = time.perf_counter()
        group.add(process.pid)
        added = time.perf_counter()
        group.end()
        ended = time.perf_counter()
        assert process.wait() == -signal.SIGKILL
    assert not group.path.exists()
    with capsys.disabled():
        figures = [f"{1000 * (b - a):.1f} ms" for a, b in ((began, made), (made, added), (added, ended))]
        print("\na group: made in {}, joined in {}, ended with its process in {}".format(*figures))
