"""The programs that are measured, each a process of its own: `poller run` with a template, and the bare loops."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from tests.brokers import free_port

ROOT = Path(__file__).parents[2]
FUNCTIONS = Path(__file__).with_name("functions")

START_TIMEOUT = 30.0
STOP_TIMEOUT = 20.0


class Measured:
    """A running process. Its log, stdout and stderr, goes to a file, as under a container engine."""

    def __init__(
        self,
        arguments: Sequence[str],
        folder: Path,
        environment: Mapping[str, str] | None = None,
        *,
        program: str = sys.executable,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.log = folder / "log"
        self.started = time.monotonic()
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [program, *arguments],
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": str(ROOT), **(environment or {})},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self.pid = self._process.pid
        self.name = Path(program).name

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def wait_for_log(self, text: str, times: int = 1, timeout: float = START_TIMEOUT) -> float:
        """Until the log has the text so often; seconds since the start. Looks every 2 ms."""
        deadline = self.started + timeout
        while self.log.read_bytes().count(text.encode()) < times:
            self.require_alive()
            if time.monotonic() > deadline:
                raise TimeoutError(f"{text!r} is not in the log after {timeout:g} s:\n{self._end_of_log()}")
            time.sleep(0.002)
        return time.monotonic() - self.started

    def wait_for_end(self, timeout: float) -> None:
        """Until it ends by itself, well."""
        try:
            status = self._process.wait(timeout)
        finally:
            self.stop()
        if status:
            raise RuntimeError(f"{self._process.args} failed, status {status}:\n{self._end_of_log()}")

    def require_alive(self) -> None:
        if self._process.poll() is not None:
            raise RuntimeError(f"{self._process.args} ended, status {self._process.returncode}:\n{self._end_of_log()}")

    def processor_seconds(self) -> float:
        """Of all its threads, without its children. By the clock that Linux has per process, to the nanosecond."""
        return time.clock_gettime((~self.pid << 3) | 2)

    def memory(self, name: str = "VmRSS") -> int:
        """Bytes resident, now or (VmHWM) at the peak."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(status.partition(f"{name}:")[2].split(maxsplit=1)[0]) * 1024

    def threads(self) -> int:
        return sum(1 for _ in Path(f"/proc/{self.pid}/task").iterdir())

    def stop(self) -> None:
        """SIGTERM, as an operator would; SIGKILL when that does not help."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(STOP_TIMEOUT)
            except subprocess.TimeoutExpired:
                self._process.kill()
        self._process.wait()

    def _end_of_log(self) -> str:
        return self.log.read_text(errors="replace")[-3000:]


class Floor(Measured):
    """A bare loop of `tests.bench.floor`."""

    def __init__(self, arguments: Sequence[str], folder: Path, *, handler: str, ledger: Path | None = None) -> None:
        environment = {"LEDGER": str(ledger)} if ledger else {}
        super().__init__(["-m", "tests.bench.floor", handler, *arguments], folder, environment)


class Service(Measured):
    """`poller run` on a template."""

    def __init__(
        self,
        template: Mapping[str, Any],
        folder: Path,
        *,
        environment: Mapping[str, str] | None = None,
        start: Sequence[str] = ("-m", "poller.cli"),
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "template.yaml"
        path.write_text(json.dumps(template, indent=1))
        self.port = free_port()
        super().__init__([*start, "run", str(path), "--port", str(self.port)], folder, environment)


# --- templates -----------------------------------------------------------------------------------------------------

_BROKER = "arn:aws:mq:us-east-1:000000000000:broker:bench:b-00000000-0000-0000-0000-000000000000"
_NO_LOGIN = [
    {"Type": "VPC_SUBNET", "URI": "subnet:subnet-00000000000000000"},
    {"Type": "VPC_SECURITY_GROUP", "URI": "security_group:sg-00000000000000000"},
]
_LOGIN = [{"Type": "BASIC_AUTH", "URI": "arn:aws:secretsmanager:us-east-1:000000000000:secret:bench-000000"}]


def kafka_event(address: str, topic: str, group: str, **properties: Any) -> dict[str, Any]:
    """An event of a function that reads a topic from its beginning."""
    fixed = {
        "KafkaBootstrapServers": [address],
        "Topics": [topic],
        "ConsumerGroupId": group,
        "StartingPosition": "TRIM_HORIZON",
        "SourceAccessConfigurations": _NO_LOGIN,
    }
    return {"Type": "SelfManagedKafka", "Properties": {**fixed, **properties}}


def rabbitmq_event(queue: str, **properties: Any) -> dict[str, Any]:
    """An event of a function that reads a queue; the template has to say where the broker is."""
    fixed = {"Broker": _BROKER, "Queues": [queue], "SourceAccessConfigurations": _LOGIN}
    return {"Type": "MQ", "Properties": {**fixed, **properties}}


def template(
    events: Mapping[str, Any],
    *,
    handler: str = "count",
    processes: int = 1,
    ledger: Path | None = None,
    rabbitmq: str | None = None,
) -> dict[str, Any]:
    """A template with one function."""
    function = {
        "CodeUri": str(FUNCTIONS),
        "Handler": f"handler.{handler}",
        "Runtime": f"python{sys.version_info[0]}.{sys.version_info[1]}",
        "Timeout": 30,
        "ReservedConcurrentExecutions": processes,
        "Environment": {"Variables": {"LEDGER": str(ledger)} if ledger else {}},
        "Events": dict(events),
    }
    return {
        "Transform": "AWS::Serverless-2016-10-31",
        "Metadata": {"Poller": {"Endpoints": {_BROKER: rabbitmq} if rabbitmq else {}}},
        "Resources": {"Bench": {"Type": "AWS::Serverless::Function", "Properties": function}},
    }
