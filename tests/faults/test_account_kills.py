"""`kill -9` of `poller run` between calls that make and change functions (A.7): what was answered is there again."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

from api_service import RUNTIME, aws_client
from botocore.exceptions import BotoCoreError
from packages import ROLE, describing
from waiting import eventually

POLLER = Path(sys.executable).with_name("poller")
KILLS = 4
SEED = 20_251_125


class Run:
    """`poller run` without a template, in one folder again and again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.process: subprocess.Popen[str] | None = None
        self.number = 0

    def start(self) -> str:
        """Gives the URL."""
        self.number += 1
        log = self.folder / f"log-{self.number}"
        environment = {key: value for key, value in os.environ.items() if not key.startswith("POLLER_")}
        with log.open("w") as file:
            self.process = subprocess.Popen(
                [POLLER, "run", "--port", "0"], cwd=self.folder, env=environment, stderr=file, text=True
            )
        found: Any = eventually(lambda: re.search(r"(http://[0-9.:]+)/metrics", log.read_text()))
        return str(found[1])

    def end(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)
        self.process.wait(60)


def test_a_service_that_is_killed_between_calls_has_all_that_was_answered(tmp_path: Path) -> None:
    chance = random.Random(SEED)
    run = Run(tmp_path)
    answered: dict[str, dict[str, str]] = {}
    """By function, of each version the hash of its code."""
    try:
        for number in range(KILLS):
            client = aws_client(run.start())
            _check(client, answered)
            process = run.process
            assert process is not None
            killer = threading.Timer(chance.uniform(0.05, 0.4), process.kill)
            killer.start()
            _change(client, number, answered)
            process.wait(60)
            killer.join()
            client.close()
        client = aws_client(run.start())
        _check(client, answered)
        name = min(answered)
        assert client.invoke(FunctionName=name, Qualifier="1")["Payload"].read()
        client.close()
    finally:
        if run.process is not None and run.process.poll() is None:
            run.end(signal.SIGTERM)
    assert run.process is not None
    assert run.process.returncode == 0
    assert answered


def _change(client: Any, number: int, answered: dict[str, dict[str, str]]) -> None:
    """Make functions and versions until the service is gone; what was answered is noted."""
    step = 0
    with suppress(BotoCoreError):  # the connection is refused or ends; what the service refuses is no such error
        while True:
            name = f"f{number}-{step}"
            code = describing(name)
            client.create_function(
                FunctionName=name,
                Role=ROLE,
                Runtime=RUNTIME,
                Handler="app.handler",
                Code={"ZipFile": code},
                Publish=True,
            )
            found = client.get_function_configuration(FunctionName=name, Qualifier="1")
            if _is_cut(found):
                return
            answered[name] = {"1": found["CodeSha256"]}
            client.update_function_code(FunctionName=name, ZipFile=describing(name + " again"))
            version = client.publish_version(FunctionName=name)
            if _is_cut(version):
                return
            answered[name][version["Version"]] = version["CodeSha256"]
            step += 1


def _is_cut(answer: dict[str, Any]) -> bool:
    """Whether the service was gone between the head of an answer and its body: botocore takes that for an empty one."""
    return not answer.keys() - {"ResponseMetadata"}


def _check(client: Any, answered: dict[str, dict[str, str]]) -> None:
    """Everything that was answered is there, and nothing is half made."""
    pages = client.get_paginator("list_functions").paginate(FunctionVersion="ALL")
    listed = [item for page in pages for item in page["Functions"]]
    found: dict[str, dict[str, str]] = {}
    for item in listed:
        found.setdefault(item["FunctionName"], {})[item["Version"]] = item["CodeSha256"]
    for name, versions in answered.items():
        assert versions.items() <= found[name].items()
    for name, versions in found.items():
        assert "$LATEST" in versions
        state = client.get_function_configuration(FunctionName=name)["State"]
        assert state == "Active", name
