"""Which Python a function's processes run on."""

import json
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from handlers.rig import Function

from poller.runtime import interpreter


@pytest.fixture
def path(tmp_path, monkeypatch):
    """An empty PATH to put programs into."""
    monkeypatch.setenv("PATH", str(tmp_path))
    interpreter.find_interpreter.cache_clear()
    yield tmp_path
    interpreter.find_interpreter.cache_clear()


RUNNING = f"{sys.version_info[0]}.{sys.version_info[1]}"


def program(file, text):
    file.write_text(f"#!/bin/sh\n{text}\n")
    file.chmod(file.stat().st_mode | stat.S_IXUSR)


def test_the_running_interpreter_serves_its_own_version_and_those_not_on_path(path):
    program(path / f"python{RUNNING}", "echo /other; echo 9.9")
    for runtime in (f"python{RUNNING}", "python3.99"):
        assert interpreter.find_interpreter(runtime) == (sys.executable, RUNNING)


def test_an_interpreter_on_path_serves_its_version(path):
    program(path / "python3.99", "echo /opt/python3.99; echo 3.99")
    assert interpreter.find_interpreter("python3.99") == ("/opt/python3.99", "3.99")


@pytest.mark.parametrize("text", ["exit 127", "echo nonsense", "echo"])
def test_a_stand_in_on_path_that_starts_nothing_is_passed_over(path, text):
    program(path / "python3.99", text)
    assert interpreter.find_interpreter("python3.99") == (sys.executable, RUNNING)


def test_the_interpreter_that_was_found_is_the_one_that_runs():
    function = Function("basic.environment", runtime=f"python{RUNNING}")
    result = function.invoke()
    function.environment.stop()
    stdlib = subprocess.run(
        [sys.executable, "-c", "import os; print(os.__file__)"], capture_output=True, text=True, check=True
    ).stdout.strip()
    assert str(Path(stdlib).parent) in json.loads(result.payload)["path"]
