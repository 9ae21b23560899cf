"""The real service in a process of its own: `poller run` on a template made for the test, and how to look at it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import yaml
from waiting import eventually

POLLER = Path(sys.executable).with_name("poller")
MARK = "POLLER_TEST_SERVICE"
"""Variable of every handler's process, so that those of one service can be found when their parent is gone."""

KAFKA_CLIENT = "SERVICES_KAFKA_CLIENT"
"""Variable of the tests' process that says with which client services read Kafka; the fixture `kafka_client` sets it.
Without the program's prefix: a command in this process would take it for a misspelt setting."""

LogLine = Mapping[str, Any]


class Service:
    """One `poller run`. Use it as a context: at the end it is killed if it still runs.

    Args:
        folder: for the template; several services may share one.
        template: of `stack.template`.
        wrapped: a command that runs it, such as `("setpriv", …)`.
        settings: variables such as POLLER_TIME_SCALE.
    """

    def __init__(
        self, folder: Path, template: Mapping[str, Any], *, wrapped: Sequence[str] = (), **settings: str
    ) -> None:
        self.lines: list[LogLine] = []
        """The log so far."""
        self._logged = threading.Condition()
        path = folder / f"template-{time.monotonic_ns()}.yaml"
        path.write_text(yaml.safe_dump(dict(template), sort_keys=False))
        self._process = subprocess.Popen(
            [*wrapped, POLLER, "run", path, "--port", "0"],
            env={**environment(), "POLLER_KAFKA_CLIENT": os.environ.get(KAFKA_CLIENT, "auto"), **settings},
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, name="log of a service", daemon=True)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self.kill()
        self._reader.join()
        assert self._process.stderr is not None
        self._process.stderr.close()

    @property
    def pid(self) -> int:
        return self._process.pid

    # --- its end -----------------------------------------------------------------------------------------------------

    def kill(self) -> None:
        """`kill -9`."""
        self._process.kill()
        self._process.wait()

    def signal(self, number: int = signal.SIGTERM) -> None:
        self._process.send_signal(number)

    def wait(self, timeout: float = 30.0) -> int:
        """Its exit status."""
        status = self._process.wait(timeout)
        self._reader.join()
        return status

    def stop(self, timeout: float = 30.0) -> int:
        """SIGTERM, and the exit status."""
        self.signal()
        return self.wait(timeout)

    def is_running(self) -> bool:
        return self._process.poll() is None

    # --- its log -----------------------------------------------------------------------------------------------------

    def _read(self) -> None:
        assert self._process.stderr is not None
        for text in self._process.stderr:
            try:
                line = json.loads(text)
            except ValueError:
                line = {"message": text.rstrip("\n"), "level": "", "logger": "not JSON"}
            with self._logged:
                self.lines.append(line)
                self._logged.notify_all()
        with self._logged:
            self._logged.notify_all()

    def log(self, pattern: str, *, since: int = 0, **fields: str) -> list[LogLine]:
        """Lines whose message has the pattern, and these fields, such as `mapping`."""
        wanted = re.compile(pattern)
        return [
            line
            for line in self.lines[since:]
            if wanted.search(line["message"]) and all(line.get(name) == value for name, value in fields.items())
        ]

    def wait_for_log(self, pattern: str, *, since: int = 0, timeout: float = 30.0, **fields: str) -> LogLine:
        """The first such line, from line `since` on."""
        deadline = time.monotonic() + timeout
        with self._logged:
            while not (found := self.log(pattern, since=since, **fields)):
                left = deadline - time.monotonic()
                if left <= 0 or not self._reader.is_alive():
                    raise AssertionError(f"no line with {pattern!r} {fields} in the log:\n{self.tail()}")
                self._logged.wait(min(left, 0.5))
        return found[0]

    def tail(self, count: int = 40) -> str:
        """The end of the log without the functions' own lines."""
        own = [line for line in self.lines if not line["logger"].startswith("poller.function")]
        return "\n".join(f"{line['level']} {line.get('mapping', '')} {line['message']}" for line in own[-count:])

    def problems(self) -> list[str]:
        """Lines that no run may show: faults of the program itself."""
        return [
            f"{line['message']}\n{line.get('exception', '')}"
            for line in self.lines
            if line["level"] == "ERROR" or "exception" in line or line["logger"] == "not JSON"
        ]

    # --- its HTTP endpoint -------------------------------------------------------------------------------------------

    @property
    def url(self) -> str:
        """Of its HTTP endpoint; waits until it is open."""
        message = self.wait_for_log("^serving ")["message"]
        address = re.search(r"http://[^/]+", message)
        assert address is not None
        return address[0]

    def get(self, path: str) -> tuple[int, str]:
        """Status and body."""
        try:
            with urllib.request.urlopen(f"{self.url}/{path}", timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def readyz(self) -> tuple[int, Mapping[str, Mapping[str, Any]]]:
        """Status, and the state of each mapping by name."""
        status, body = self.get("readyz")
        return status, {state["Mapping"]: state for state in json.loads(body)["mappings"]}

    def state(self, mapping: str) -> Mapping[str, Any]:
        return self.readyz()[1][mapping]

    def wait_until_ready(self, timeout: float = 30.0) -> None:
        self._wait_for_status(200, timeout)

    def wait_until_not_ready(self, timeout: float = 30.0) -> None:
        self._wait_for_status(503, timeout)

    def _wait_for_status(self, wanted: int, timeout: float) -> None:
        try:
            eventually(lambda: self.readyz()[0] == wanted, timeout=timeout, what=f"status {wanted} of /readyz")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.readyz()}\n{self.tail()}") from None

    def wait_for_problem(self, mapping: str, pattern: str, timeout: float = 30.0) -> Mapping[str, Any]:
        """The state of a mapping, once it says what is the matter."""

        def told() -> Mapping[str, Any] | None:
            state = self.state(mapping)
            return state if re.search(pattern, state["Problem"]) else None

        state = eventually(told, timeout=timeout, what=f"{pattern!r} as the problem of {mapping}")
        assert state is not None
        return state

    def wait_for_result(self, mapping: str, result: str = "OK") -> Mapping[str, Any]:
        """The state of a mapping, once that is what came of its last batch; a handler handles before it answers."""

        def told() -> Mapping[str, Any] | None:
            state = self.state(mapping)
            return state if state["LastProcessingResult"] == result else None

        state = eventually(told, what=f"{result!r} as the last result of {mapping}")
        assert state is not None
        return state

    def metric(self, name: str, mapping: str) -> float:
        """A counter or gauge of one mapping; 0 when it is not there."""
        found = re.search(
            rf'^poller_{name}{{[^}}]*mapping="{re.escape(mapping)}"[^}}]*}} (\S+)$',
            self.get("metrics")[1],
            re.MULTILINE,
        )
        return float(found[1]) if found else 0.0


PASSED_ON = {"POLLER_KAFKA_CLIENT"}
"""Settings that a whole run of tests may be made with."""


def environment() -> dict[str, str]:
    """This process's variables without settings of the program, save those that are for a whole run."""
    return {name: value for name, value in os.environ.items() if not name.startswith("POLLER_") or name in PASSED_ON}


def handler_processes(mark: str) -> list[int]:
    """Processes of handlers, and of what they started, that bear this mark and still run."""
    wanted = f"{MARK}={mark}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                variables = (entry / "environ").read_bytes().split(b"\0")
                state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
            except OSError:
                continue
            if state not in "ZX" and wanted in variables:
                found.append(int(entry.name))
    return found
