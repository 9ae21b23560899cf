"""A function with one execution environment and its log, as the tests of the runtime use it."""

import json
import os
import select
import threading
from pathlib import Path

from waiting import eventually

from poller.model import FunctionConfiguration, Invocation
from poller.runtime.environment import ExecutionEnvironment

HANDLERS = Path(__file__).parent
PATIENCE = 30.0
"""Seconds that a busy machine may take for what takes milliseconds."""


class Function:
    """A function, one environment of it, and its log."""

    def __init__(self, handler, *, code=HANDLERS, init_timeout=10.0, **configuration):
        self.lines = []
        self.requests = set()
        self.logged = threading.Condition()
        self.configuration = FunctionConfiguration("fn", code, handler, **configuration)
        self.environment = ExecutionEnvironment(self.configuration, self._log, init_timeout=init_timeout)

    def _log(self, line, request_id):
        with self.logged:
            self.lines.append(line)
            self.requests.add(request_id)
            self.logged.notify_all()

    def invoke(self, event=None, *, request_id="id-1", timeout_cap=None):
        payload = event if isinstance(event, bytes) else json.dumps(event).encode()
        arn = self.configuration.function_arn
        return self.environment.invoke(Invocation(request_id, payload, arn, timeout_cap=timeout_cap))

    def wait_for_line(self, start):
        def find():
            return next((line for line in self.lines if line.startswith(start)), None)

        with self.logged:
            assert self.logged.wait_for(find, timeout=PATIENCE)
            return find()

    def report(self):
        return next(line for line in reversed(self.lines) if line.startswith("REPORT"))

    @property
    def pid(self):
        return self.environment._sandbox.dialogue.pid


def error_of(result):
    assert (result.status, result.function_error) == (200, "Unhandled")
    return json.loads(result.payload)


def exited(text, request_id="id-1"):
    return {"errorType": "Runtime.ExitError", "errorMessage": f"RequestId: {request_id} Error: Runtime exited {text}"}


def is_running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def state_of(pid):
    """The letter of /proc: `T` is stopped."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def group_of(pid):
    """The numbers of all processes in the group of this one."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[2]) == pid:
                found.append(int(entry.name))
    return found


def wait_until_gone(pid):
    """SIGKILL is sent; the kernel takes a moment for processes that are not ours to wait for."""
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        ended, _, _ = select.select([process], [], [], PATIENCE)
        assert ended, f"process {pid} is left"
    finally:
        os.close(process)


def descriptors():
    """Those that this process has open."""
    return {entry.name for entry in Path("/proc/self/fd").iterdir() if entry.exists()}


class Gate:
    """Handlers that run until their gate is opened: `gate.handler` waits for the file that its event names."""

    def __init__(self, folder):
        self.folder = folder
        (folder / "gate.py").write_text(
            "import os, time\n"
            "def handler(event, context):\n"
            "    open(event + '.entered', 'w').close()\n"
            "    while not os.path.exists(event):\n"
            "        time.sleep(0.002)\n"
            "    return os.getpid()\n"
        )

    def event(self, name):
        return str(self.folder / name)

    def entered(self, *names):
        eventually(lambda: all((self.folder / f"{name}.entered").exists() for name in names), what=f"all of {names}")

    def open(self, *names):
        for name in names:
            (self.folder / name).touch()
