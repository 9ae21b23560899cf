"""The AWS CLI in a virtual environment of its own: a package that it needs is not under one of our licences."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

REGION = "us-east-1"

PINS = Path(__file__).with_name("requirements.txt")
FOLDER = Path(__file__).parents[3] / "build" / "aws-cli"


class AwsCliUnavailable(Exception):  # noqa: N818 - reads as what it says
    """It could not be installed."""


def aws_cli() -> Path:
    """The program `aws`; installed on first use, and again when its pins have changed."""
    program, stamp = FOLDER / "bin" / "aws", FOLDER / "pins"
    if not (program.exists() and stamp.exists() and stamp.read_text() == PINS.read_text()):
        _run([sys.executable, "-m", "venv", "--clear", str(FOLDER)])
        pip = [str(FOLDER / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        _run([*pip, "--requirement", str(PINS)])
        stamp.write_text(PINS.read_text())
    return program


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise AwsCliUnavailable(f"{' '.join(command[:4])} …: {done.stderr.strip()}")


def aws_cli_or_skip() -> Path:
    """The same; where it cannot be installed the test is skipped, in CI it fails."""
    try:
        return aws_cli()
    except AwsCliUnavailable as error:
        if os.environ.get("CI"):
            pytest.fail(f"in CI every test has to run: {error}")
        pytest.skip(str(error))


class Cli:
    """`aws lambda …` against a service, in a folder of its own."""

    def __init__(self, program: Path, url: str, folder: Path) -> None:
        self._program = program
        self._folder = folder
        self._environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "AWS_ENDPOINT_URL_LAMBDA": url,
            "AWS_ACCESS_KEY_ID": "any",
            "AWS_SECRET_ACCESS_KEY": "any",
            "AWS_DEFAULT_REGION": REGION,
            "AWS_MAX_ATTEMPTS": "1",
            "NO_PROXY": "127.0.0.1",
        }

    def __call__(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self._program, "lambda", *arguments],
            cwd=self._folder,
            env=self._environment,
            text=True,
            capture_output=True,
            timeout=120,
            check=False,
        )

    def answer(self) -> str:
        """What was written to `answer.json`."""
        return (self._folder / "answer.json").read_text()
