"""Which program serves a runtime: the very version if the machine has it, else the nearest of its language."""

import json
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from handlers.rig import Function

from poller.runtime import toolchains
from poller.runtime.toolchains import Found, Tool, find


@pytest.fixture
def path(tmp_path, monkeypatch):
    """An empty PATH to put programs into."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    toolchains.forget()
    yield tmp_path
    toolchains.forget()


RUNNING = f"{sys.version_info[0]}.{sys.version_info[1]}"


def program(file, text):
    file.write_text(f"#!/bin/sh\n{text}\n")
    file.chmod(file.stat().st_mode | stat.S_IXUSR)


def test_the_running_interpreter_serves_its_own_version_and_is_the_nearest_to_those_not_on_path(path):
    program(path / f"python{RUNNING}", "echo /other; echo 9.9")
    assert find(f"python{RUNNING}") == Found(Tool(sys.executable, RUNNING), exact=True)
    assert find("python3.99") == Found(Tool(sys.executable, RUNNING), exact=False)


def test_an_interpreter_on_path_serves_its_version(path):
    program(path / "python3.99", "echo /opt/python3.99; echo 3.99")
    assert find("python3.99") == Found(Tool("/opt/python3.99", "3.99"), exact=True)


def test_the_nearest_python_serves_a_version_that_is_missing(path):
    program(path / "python3.9", "echo /opt/python3.9; echo 3.9")
    program(path / "python3.15", "echo /opt/python3.15; echo 3.15")
    assert find("python3.8") == Found(Tool("/opt/python3.9", "3.9"), exact=False)
    assert find("python3.16") == Found(Tool("/opt/python3.15", "3.15"), exact=False)


@pytest.mark.parametrize("text", ["exit 127", "echo nonsense", "echo"])
def test_a_stand_in_on_path_that_starts_nothing_is_passed_over(path, text):
    program(path / "python3.99", text)
    assert find("python3.99") == Found(Tool(sys.executable, RUNNING), exact=False)


def test_node_and_java_are_found_by_what_they_say_of_themselves(path):
    assert find("nodejs22.x") is None
    assert find("java21") is None
    toolchains.forget()
    program(path / "node", "echo v20.11.1")
    program(path / "node24", "echo v24.0.0")
    program(path / "java", "echo 'openjdk version \"17.0.15\" 2025-04-15' >&2")
    assert find("nodejs20.x") == Found(Tool(str(path / "node"), "20"), exact=True)
    assert find("nodejs24.x") == Found(Tool(str(path / "node24"), "24"), exact=True)
    assert find("nodejs22.x") == Found(Tool(str(path / "node24"), "24"), exact=False)  # of two as near, the newer
    assert find("nodejs18.x") == Found(Tool(str(path / "node"), "20"), exact=False)
    assert find("java17") == Found(Tool(str(path / "java"), "17"), exact=True)
    assert find("java21") == Found(Tool(str(path / "java"), "17"), exact=False)


def test_an_operating_system_needs_nothing(path):
    assert find("provided.al2023") == Found(Tool("bootstrap", "al2023"), exact=True)


def test_the_machine_is_described_by_the_runtimes_that_it_has(path):
    program(path / "node", "echo v20.11.1")
    told = toolchains.machine().split(", ")
    assert {"nodejs20.x", "provided.al2", "provided.al2023"} <= set(told)
    assert "nodejs22.x" not in told
    assert not any(name.startswith("java") for name in told)


def test_the_interpreter_that_was_found_is_the_one_that_runs():
    function = Function("basic.environment", runtime=f"python{RUNNING}")
    result = function.invoke()
    function.environment.stop()
    stdlib = subprocess.run(
        [sys.executable, "-c", "import os; print(os.__file__)"], capture_output=True, text=True, check=True
    ).stdout.strip()
    assert str(Path(stdlib).parent) in json.loads(result.payload)["path"]
